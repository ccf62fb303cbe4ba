//! What a command or script of the host's user names in the working tree, and what that names in turn.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::git::path_of;

use super::host_obeys::inside;

/// So much of a script is read.
const SCRIPT_BYTES: u64 = 64 << 10;

/// More scripts than this are not followed.
const MAX_SCRIPTS: usize = 256;

/// By these names a file is a script, whether it can be executed or not.
const SCRIPTS: [&str; 13] =
    ["sh", "bash", "zsh", "fish", "py", "rb", "pl", "js", "mjs", "cjs", "ts", "php", "lua"];

/// Adds what the scripts among the places name, and what that names.
pub(super) fn follow(root: &Path, configured: &mut Vec<(ByteString, String)>) {
    let mut known: HashSet<ByteString> = configured.iter().map(|(place, _)| place.clone()).collect();
    let mut at = 0;
    while at < configured.len().min(MAX_SCRIPTS) {
        let (place, why) = configured[at].clone();
        at += 1;
        let path = root.join(place.as_os_str());
        let script = read_script(&path);
        let dir = path.parent().unwrap_or(root);
        let named = places(&[root, dir], root, &script);
        let scripts = named.into_iter().filter(|named| is_script(&root.join(named.as_os_str())));
        // A shell reads what it sources, whatever that is called.
        let sourced = places(&[root, dir], root, &sourced(&script));
        for named in scripts.chain(sourced) {
            if known.insert(named.clone()) {
                configured.push((named, why.clone()));
            }
        }
    }
}

/// What a shell script reads as a part of itself.
fn sourced(script: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = script.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let is_sourcing = |word: &[u8]| {
        matches!(
            word,
            b"." | b"source" | b"source_env" | b"source_env_if_exists" | b"dotenv" | b"dotenv_if_exists"
        )
    };
    let sourced = words.windows(2).filter(|pair| is_sourcing(pair[0])).map(|pair| pair[1]);
    sourced.collect::<Vec<_>>().join(&b' ')
}

/// A script names data as well, which nothing runs.
fn is_script(path: &Path) -> bool {
    let named = path.extension().is_some_and(|extension| SCRIPTS.iter().any(|known| extension == *known));
    let executable = |path: &Path| {
        path.symlink_metadata().is_ok_and(|found| {
            found.is_symlink() || (found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
    };
    named || executable(path)
}

/// The beginning of a file; nothing of one that is none, or that cannot be read.
pub(super) fn read_script(path: &Path) -> Vec<u8> {
    let mut script = Vec::new();
    if path.metadata().is_ok_and(|found| found.is_file())
        && let Ok(file) = File::open(path)
    {
        // What was read of it counts.
        let _ = file.take(SCRIPT_BYTES).read_to_end(&mut script);
    }
    script
}

/// The files that a command names in the working tree, taken apart as a shell would, from each of the
/// directories `dirs`, and from those into which it changes.
pub(super) fn places(dirs: &[&Path], root: &Path, text: &[u8]) -> Vec<ByteString> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;|&()<>=!:,".contains(byte);
    let words: Vec<&[u8]> = text.split(is_between).filter(|word| !word.is_empty()).collect();
    let entered = words.windows(2).filter(|pair| matches!(pair[0], b"cd" | b"pushd" | b"-C"));
    let entered: Vec<PathBuf> =
        entered.map(|pair| expand(root, pair[1])).filter(|dir| dir.is_dir()).collect();
    let dirs = dirs.iter().copied().chain(entered.iter().map(PathBuf::as_path));
    let mut found: Vec<ByteString> =
        dirs.clone().flat_map(|dir| words.iter().flat_map(move |word| place(dir, root, word))).collect();
    // A name with spaces and the like.
    for whole in dirs.map(|dir| expand(dir, text)).filter(|whole| whole.is_file()) {
        found.extend(inside(root, &whole));
    }
    found.sort();
    found.dedup();
    found
}

/// A word without a slash is a file if there is one; one with a slash need not be there yet. What begins with
/// a variable, or leads out of a directory that is not known (`$(dirname "$0")/../../x`), is looked for from
/// the root and from `dir`.
fn place(dir: &Path, root: &Path, word: &[u8]) -> Vec<ByteString> {
    let path = expand(dir, word);
    if !word.contains(&b'/') {
        return if path.is_file() { inside(root, &path) } else { Vec::new() };
    }
    let is_known = !word.starts_with(b"$") && (!word.starts_with(b"/") || path.exists());
    let rest: Vec<&[u8]> = word
        .split(|byte| *byte == b'/')
        .skip(1)
        .skip_while(|part| matches!(*part, b"" | b"." | b".."))
        .collect();
    let mut found = if word.starts_with(b"$") { Vec::new() } else { inside(root, &path) };
    if !is_known && !rest.is_empty() {
        let rest = path_of(&rest.join(&b'/'));
        found.extend(inside(root, &root.join(&rest)));
        // From the root anything may be made by the patch; from here it must be there.
        let here = dir.join(rest);
        found.extend(if here.is_file() { inside(root, &here) } else { Vec::new() });
    }
    found
}

pub(super) fn expand(dir: &Path, word: &[u8]) -> PathBuf {
    let home = word.strip_prefix(b"~/").zip(std::env::var_os("HOME"));
    home.map_or_else(|| dir.join(path_of(word)), |(rest, home)| Path::new(&home).join(path_of(rest)))
}
