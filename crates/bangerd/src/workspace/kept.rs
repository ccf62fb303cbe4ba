//! What banger keeps of a prepared repository in the guest: its objects, its index, and a place to work. It
//! lies beside the workspace, so that the guest may do with its own git directory as it likes.

use banger_guest_protocol::ByteString;

use super::WorkspaceError;
use super::guest_git::GuestGit;
use crate::guest::SmallFile;

/// Where it lies.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The directory that the workspace is in.
    beside: ByteString,
    /// What is kept of the whole workspace, in it.
    name: ByteString,
    number: usize,
}

impl Kept {
    /// Of the repository with this number in a workspace: `/root/.banger-repo/0` for the first of
    /// `/root/repo`.
    pub(super) fn of(workspace: &ByteString, number: usize) -> Self {
        let path = workspace.as_bytes();
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = [b".banger-", &path[start..end]].concat();
        Self { beside: path[..start].to_vec().into(), name: name.into(), number }
    }

    /// Something in it.
    pub(super) fn path(&self, name: &str) -> ByteString {
        [self.beside.as_bytes(), &self.below(name)].concat().into()
    }

    fn below(&self, name: &str) -> Vec<u8> {
        [self.name.as_bytes(), format!("/{}/{name}", self.number).as_bytes()].concat()
    }

    /// Removes all that is kept of the workspace.
    ///
    /// # Errors
    ///
    /// When the guest does not do it.
    pub(super) async fn clear(&self, git: &GuestGit<'_>) -> Result<(), WorkspaceError> {
        git.remove_if_there(&[self.beside.as_bytes(), self.name.as_bytes()].concat().into()).await
    }

    /// Writes small files, and makes directories, in it.
    ///
    /// # Errors
    ///
    /// When the guest's disk is full, say.
    pub(super) async fn put_files(
        &self,
        git: &GuestGit<'_>,
        files: impl IntoIterator<Item = (&str, Option<&[u8]>)>,
    ) -> Result<(), WorkspaceError> {
        let below = |(path, content): (&str, Option<&[u8]>)| (self.below(path), content.map(<[u8]>::to_vec));
        let files: Vec<SmallFile> = files.into_iter().map(below).collect();
        git.at(self.beside.clone()).put_files(&files).await
    }

    /// Keeps all objects that the repository has now. Copies them as links where that is possible: then they
    /// take no room.
    ///
    /// # Errors
    ///
    /// When the guest's disk is full, say.
    pub(super) async fn keep_objects(&self, git: &GuestGit<'_>) -> Result<(), WorkspaceError> {
        let to = self.path("objects");
        let copy = |how: &'static [u8]| {
            let git = git.clone();
            let to = to.clone();
            async move { git.program(&[b"cp", how, b"--", b".git/objects", to.as_bytes()]).await }
        };
        if copy(b"-al").await.is_ok() {
            return Ok(());
        }
        git.remove(&to).await?;
        copy(b"-a").await
    }

    /// Keeps the repository's index as that of the prepared state. By it git knows which files were written
    /// since, without reading them: the time of the copy is the index's own.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be copied: without it, the base would lack all that it names.
    pub(super) async fn keep_index(&self, git: &GuestGit<'_>) -> Result<(), WorkspaceError> {
        let to = self.path("index");
        let copied = git.program(&[b"cp", b"-p", b"--", b".git/index", to.as_bytes()]).await;
        // An index without entries is not there.
        if copied.is_err() && git.program(&[b"test", b"!", b"-e", b".git/index"]).await.is_ok() {
            return Ok(());
        }
        copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_beside_the_workspace() {
        for (workspace, kept) in [
            ("/root/repo", "/root/.banger-repo/1/index"),
            ("/src", "/.banger-src/1/index"),
            ("/a/b/", "/a/.banger-b/1/index"),
        ] {
            assert_eq!(Kept::of(&workspace.into(), 1).path("index"), kept.into());
        }
    }
}
