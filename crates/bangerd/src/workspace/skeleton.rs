//! The small files of the guest's `.git`: made here, so that none of the host's ever leaves it. No remote, no
//! hook, no credential, no alternate can slip through, for nothing is copied.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use banger_guest_protocol::ByteString;
use banger_guest_protocol::import::ObjectFormat;

use super::object::ObjectId;

/// What the guest's repository begins with.
pub(super) struct Skeleton<'a> {
    pub(super) format: ObjectFormat,
    pub(super) commit: Option<ObjectId>,
    /// The branch that is checked out; none for a detached HEAD.
    pub(super) branch: Option<&'a OsStr>,
    /// More branches at the same commit.
    pub(super) other_branches: Vec<&'a OsStr>,
    /// The commits whose parents are left out.
    pub(super) shallow: Vec<ObjectId>,
    /// Full name and object.
    pub(super) tags: &'a [(ByteString, ObjectId)],
    pub(super) config: &'a [(String, String)],
    /// What is ignored, beyond what the repository itself says.
    pub(super) excludes: &'a ByteString,
    /// Some of its files are left out of the working tree.
    pub(super) is_sparse: bool,
}

/// A file of `.git`, relative to it; none for a directory.
pub(super) type GitFile = (Vec<u8>, Option<Vec<u8>>);

/// All of them, directories before what is in them.
pub(super) fn git_files(skeleton: &Skeleton<'_>) -> Vec<GitFile> {
    let dirs = ["objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags", "info"];
    let mut files: Vec<GitFile> = dirs.iter().map(|dir| (dir.as_bytes().to_vec(), None)).collect();
    let head = match (skeleton.branch, &skeleton.commit) {
        (Some(branch), _) => [b"ref: refs/heads/", branch.as_bytes(), b"\n"].concat(),
        (None, Some(commit)) => format!("{commit}\n").into_bytes(),
        // Detached at nothing: git knows no such thing, so it is a branch that is yet to be born.
        (None, None) => b"ref: refs/heads/main\n".to_vec(),
    };
    files.push((b"HEAD".to_vec(), Some(head)));
    files.push((b"config".to_vec(), Some(config(skeleton).into_bytes())));
    if !skeleton.excludes.as_bytes().is_empty() {
        files.push((b"info/exclude".to_vec(), Some(skeleton.excludes.as_bytes().to_vec())));
    }
    if let Some(commit) = &skeleton.commit {
        let branches = skeleton.branch.iter().chain(&skeleton.other_branches);
        for branch in branches {
            let path = [b"refs/heads/", branch.as_bytes()].concat();
            files.push((path, Some(format!("{commit}\n").into_bytes())));
        }
    }
    if !skeleton.tags.is_empty() {
        let line = |(name, id): &(ByteString, ObjectId)| {
            [id.to_string().as_bytes(), b" ", name.as_bytes(), b"\n"].concat()
        };
        files.push((b"packed-refs".to_vec(), Some(skeleton.tags.iter().flat_map(line).collect())));
    }
    if !skeleton.shallow.is_empty() {
        let lines: String = skeleton.shallow.iter().map(|commit| format!("{commit}\n")).collect();
        files.push((b"shallow".to_vec(), Some(lines.into_bytes())));
    }
    files
}

fn config(skeleton: &Skeleton<'_>) -> String {
    let version = match skeleton.format {
        ObjectFormat::Sha1 => 0,
        ObjectFormat::Sha256 => 1,
    };
    let mut text =
        format!("[core]\n\trepositoryformatversion = {version}\n\tbare = false\n\tlogallrefupdates = true\n");
    if skeleton.is_sparse {
        // Without it git would not see a file that takes the place of one that was left out.
        text.push_str("\tsparseCheckout = true\n");
    }
    if skeleton.format == ObjectFormat::Sha256 {
        text.push_str("[extensions]\n\tobjectformat = sha256\n");
    }
    text.push_str(&lines(skeleton.config));
    text
}

/// Settings as a configuration file of git's has them.
pub(super) fn lines(settings: &[(String, String)]) -> String {
    let mut text = String::new();
    for (key, value) in settings {
        if let Some((section, name)) = key.split_once('.') {
            text.push_str(&format!("[{section}]\n\t{name} = {}\n", quoted(value)));
        }
    }
    text
}

/// A value that means itself, whatever is in it.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use banger_host::command::Command;

    use super::*;

    async fn write(skeleton: &Skeleton<'_>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        for (path, content) in git_files(skeleton) {
            let path = dir.path().join(".git").join(OsStr::from_bytes(&path));
            match content {
                None => std::fs::create_dir(path).unwrap(),
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, content).unwrap();
                }
            }
        }
        dir
    }

    async fn ask(dir: &tempfile::TempDir, args: &[&str]) -> String {
        let output = Command::new("git").args(args).cwd(dir.path()).run().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn git_takes_it_for_a_repository() {
        let name = "A \"quoted\" \\ name; # with\ta tab\nand a line".to_owned();
        let config = vec![("user.name".to_owned(), name.clone()), ("core.autocrlf".into(), "input".into())];
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let skeleton = Skeleton {
                format,
                commit: None,
                branch: Some(OsStr::new("feature/x")),
                other_branches: Vec::new(),
                shallow: Vec::new(),
                tags: &[],
                config: &config,
                excludes: &Vec::new().into(),
                is_sparse: false,
            };
            let dir = write(&skeleton).await;
            assert_eq!(ask(&dir, &["symbolic-ref", "HEAD"]).await, "refs/heads/feature/x\n");
            assert_eq!(ask(&dir, &["config", "user.name"]).await, format!("{name}\n"));
            assert_eq!(ask(&dir, &["config", "core.autocrlf"]).await, "input\n");
            assert_eq!(ask(&dir, &["status", "--porcelain"]).await, "");
        }
    }
}
