use std::future::Future;

use tokio::runtime::Handle;

use super::WorkspaceError;

/// Does work that hashes files and lists directories between its awaits in a thread of its own: the runtime's
/// few workers answer everybody else meanwhile.
///
/// # Errors
///
/// Those of the work.
pub(super) async fn off_the_workers<T: Send + 'static>(
    work: impl Future<Output = Result<T, WorkspaceError>> + Send + 'static,
) -> Result<T, WorkspaceError> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await.map_err(|_| WorkspaceError::Cut)?
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use banger_host::command::Command;
    use banger_host::git::Git;

    use crate::workspace::patch::{BlobId, ChangeKind, FileChange, FileMode};
    use crate::workspace::{Filters, dirty_overlap};

    /// So much to hash that a worker would be away for a good while.
    const FILE_BYTES: usize = 96 << 20;

    /// One worker, and somebody else who wants it every millisecond.
    #[tokio::test]
    async fn whole_files_are_hashed_while_the_one_worker_does_something_else() {
        let dir = tempfile::tempdir().unwrap();
        Command::new("git").args(["init", "-q"]).cwd(dir.path()).run().await.unwrap();
        std::fs::write(dir.path().join("large"), vec![b'x'; FILE_BYTES]).unwrap();
        let beats = Rc::new(Cell::new(0));
        let counted = beats.clone();
        let heart = async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                counted.set(counted.get() + 1);
            }
        };
        let change = FileChange {
            path: "large".into(),
            kind: ChangeKind::Modified,
            old_id: Some(BlobId::Sha1([7; 20])),
            renamed_from: None,
            old_mode: Some(FileMode::Regular),
            new_mode: Some(FileMode::Regular),
            new_id: Some(BlobId::Sha1([8; 20])),
            added: 1,
            removed: 1,
            binary: false,
        };
        let host = Git::new(dir.path());
        tokio::select! {
            overlap = dirty_overlap(&host, std::slice::from_ref(&change), Filters::Off) => {
                assert!(overlap.unwrap().is_some());
            }
            () = heart => {}
        }
        assert!(beats.get() > 10, "the worker was away: {} beats", beats.get());
    }
}
