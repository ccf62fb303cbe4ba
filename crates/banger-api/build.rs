//! Puts the git commit into the build, so that a CLI and a daemon of different builds notice each other.

use std::path::Path;

fn main() {
    let git = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git");
    println!("cargo:rerun-if-changed={}", git.join("HEAD").display());
    println!("cargo:rerun-if-changed={}", git.join("refs/heads").display());
    println!("cargo:rustc-env=BANGER_COMMIT={}", commit(&git).unwrap_or_else(|| "unknown".into()));
}

/// Reads what HEAD points at. Not `git rev-parse`: a source tree can be built where git is not installed.
fn commit(git: &Path) -> Option<String> {
    // A source tree without git has no commit to name; that is what None says. So below.
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let hash = match head.trim().strip_prefix("ref: ") {
        Some(reference) => {
            // A reference that has no file is a packed one.
            std::fs::read_to_string(git.join(reference)).ok().or_else(|| packed(git, reference))?
        }
        None => head,
    };
    hash.trim().get(..12).map(str::to_owned)
}

fn packed(git: &Path, reference: &str) -> Option<String> {
    // See above.
    let packed = std::fs::read_to_string(git.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| line.strip_suffix(reference)?.strip_suffix(' ').map(str::to_owned))
}
