//! Repositories of many files, to copy into VMs.

use std::path::Path;

use crate::error::BenchError;
use crate::home::command;

const FILES_PER_DIR: usize = 100;

/// Makes one there, in directories of 100 files; all committed. `content` makes each file's bytes of its
/// number.
pub(crate) fn make(
    root: &Path,
    files: usize,
    mut content: impl FnMut(usize) -> Vec<u8>,
) -> Result<(), BenchError> {
    for number in 0..files {
        let dir = root.join(format!("directory-{}", number / FILES_PER_DIR));
        let file = number % FILES_PER_DIR;
        if file == 0 {
            std::fs::create_dir(&dir).map_err(BenchError::file("make", &dir))?;
        }
        let path = dir.join(format!("file-{file}"));
        std::fs::write(&path, content(number)).map_err(BenchError::file("write", &path))?;
    }
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"];
    git(root, &["init", "--quiet"])?;
    git(root, &["add", "--all"])?;
    git(root, &[&identity[..], &["commit", "--quiet", "--message", "bench"]].concat())?;
    Ok(())
}

/// What git answers there.
pub(crate) fn git(root: &Path, args: &[&str]) -> Result<Vec<u8>, BenchError> {
    let line = format!("git {}", args.join(" "));
    let output = command(Path::new("git")).arg("-C").arg(root).args(args).output();
    let output = output.map_err(|source| BenchError::Spawn { line: line.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BenchError::Failed { line, status: output.status, stderr })
}
