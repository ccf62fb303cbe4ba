//! Kernel and images for homes: built by banger itself, once for a state of the recipes, and hard-linked from
//! then on.
//!
//! They live in `$XDG_CACHE_HOME/banger-e2e` and can be removed at any time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::home::Home;

/// What a home begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Default kernel, minimal image.
    Minimal,
    /// Those, and the golden image.
    Golden,
    /// Those of the minimal one, and the image with Docker.
    Docker,
}

/// What a seed's content depends on, relative to the workspace.
const RECIPES: &[&str] = &[
    "crates/banger-host/src/debian.rs",
    "crates/banger-host/src/debian",
    "crates/banger-host/src/ext4.rs",
    "crates/banger-host/src/kernel_image.rs",
    "crates/banger-host/src/initramfs.rs",
    "crates/banger-host/src/modules.rs",
    "crates/banger-host/src/tar_source.rs",
    "crates/banger-tar/src",
    "crates/bangerd/src/catalog/catalog.json",
    "crates/bangerd/src/image/pull.rs",
    "crates/bangerd/src/kernel/make.rs",
    "crates/bangerd/src/store/mod.rs",
];

/// Names of the kernel and the image that every seed has.
pub const KERNEL: &str = "debian-6.12";
pub const MINIMAL: &str = "debian-trixie-minimal";

impl Seed {
    /// The image that its VMs get unless told otherwise.
    pub fn image(self) -> &'static str {
        match self {
            Self::Minimal => MINIMAL,
            Self::Golden => "debian-trixie",
            Self::Docker => "debian-trixie-docker",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Golden => "golden",
            Self::Docker => "docker",
        }
    }
}

/// Where seeds and homes are. They must be on one filesystem.
pub fn cache_dir() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    cache.expect("$XDG_CACHE_HOME or $HOME is set").join("banger-e2e")
}

/// Puts a seed's kernel and images into a state directory, building the seed if need be.
///
/// # Panics
///
/// When it cannot be built.
pub fn plant(seed: Seed, state: &Path) {
    let grown = match std::env::var_os("BANGER_E2E_SEED") {
        Some(dir) => PathBuf::from(dir),
        None => grown(seed),
    };
    std::fs::create_dir_all(state).expect("a state directory");
    rustix::fs::chmod(state, 0o700.into()).expect("a private state directory");
    for dir in ["images", "kernels"] {
        link_tree(&grown.join(dir), &state.join(dir));
    }
    std::fs::copy(grown.join("banger.db"), state.join("banger.db")).expect("a copy of the store");
}

/// The directory of a finished seed.
fn grown(seed: Seed) -> PathBuf {
    let cache = cache_dir();
    std::fs::create_dir_all(&cache).expect("a cache directory");
    let name = format!("{}-{}", recipes_key(), seed.word());
    let lock = File::create(cache.join(format!("{}.lock", seed.word()))).expect("a lock for the seed");
    flock(&lock, FlockOperation::LockExclusive).expect("our turn to look for the seed");
    let finished = cache.join(&name);
    if finished.is_dir() {
        return finished;
    }
    remove_others(&cache, seed);
    let home = match seed {
        Seed::Minimal => Home::bare(),
        Seed::Golden | Seed::Docker => Home::new(),
    };
    let limit = Duration::from_secs(900);
    if seed == Seed::Minimal {
        home.banger("kernel pull").args([KERNEL]).limit(limit).ok();
    }
    home.banger("image pull").args([seed.image()]).limit(limit).ok();
    // The last one to close the store leaves one file of it.
    home.banger("daemon stop").ok();
    std::fs::rename(home.state(), &finished).expect("a place for the seed");
    finished
}

/// Seeds of other recipes have had their time: they are large.
fn remove_others(cache: &Path, seed: Seed) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(&format!("-{}", seed.word())) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn recipes_key() -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the workspace");
    let mut hash = Sha256::new();
    for recipe in RECIPES {
        feed(&workspace.join(recipe), &mut hash);
    }
    hex::encode(&hash.finalize()[..6])
}

fn feed(path: &Path, hash: &mut Sha256) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a directory of recipes").flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().for_each(|path| feed(path, hash));
    } else {
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        hash.update(text);
    }
}

fn link_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory of the seed's");
    rustix::fs::chmod(to, 0o700.into()).expect("a private directory");
    for entry in std::fs::read_dir(from).expect("the seed").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            link_tree(&path, &to);
        } else {
            std::fs::hard_link(&path, &to).expect("a link to the seed's file");
        }
    }
}
