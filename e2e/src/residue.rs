use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::home::Home;
use crate::owned::owned_by;

/// How long the daemon may take to clean up after somebody who did not wait for it.
const LIMIT: Duration = Duration::from_secs(15);

impl Home {
    /// Insists that no VM has left anything: no row, no process, no file, no socket. Asking starts a daemon
    /// if there is none, as any command does.
    #[track_caller]
    pub fn assert_no_residue(&self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let residue = self.residue();
            if residue.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {residue:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is there and should not be, in words.
    #[track_caller]
    pub fn residue(&self) -> Vec<String> {
        let mut residue: Vec<String> =
            self.vms().iter().map(|vm| format!("row of VM {}", vm.spec.name)).collect();
        let daemon = self.daemon().pid;
        let own = std::process::id();
        for process in owned_by(self.root()) {
            if process.pid != daemon && process.parent != own {
                residue.push(format!("process {}: {}", process.pid, process.line));
            }
        }
        residue.extend(
            entries(&self.state().join("vms")).iter().map(|path| format!("VM directory {}", path.display())),
        );
        residue.extend(self.half_made());
        let mut sockets = Vec::new();
        collect_sockets(self.root(), &mut sockets);
        sockets.retain(|path| *path != self.socket());
        residue.extend(sockets.iter().map(|path| format!("socket {}", path.display())));
        residue
    }

    /// What builds have left that is no image and no kernel.
    #[track_caller]
    pub fn half_made(&self) -> Vec<String> {
        let mut half_made = Vec::new();
        for (dir, list) in [("images", "image list -q"), ("kernels", "kernel list -q")] {
            let finished = self.banger(list).ok().text().lines().count();
            // Beside the directories lie the records of images that are used in place.
            let mut found = entries(&self.state().join(dir));
            found.retain(|path| path.is_dir());
            if found.len() != finished {
                half_made.push(format!("{finished} finished {dir}, and these files: {found:?}"));
            }
        }
        half_made
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn collect_sockets(dir: &Path, sockets: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_sockets(&entry.path(), sockets),
            Ok(kind) if kind.is_socket() => sockets.push(entry.path()),
            _ => {}
        }
    }
}
