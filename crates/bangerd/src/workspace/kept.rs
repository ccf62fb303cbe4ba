//! What banger keeps of a prepared repository in the guest: its objects, its index, and a place to work. It lies beside the
//! workspace, so that the guest may do with its own git directory as it likes.

use banger_guest_protocol::ByteString;

use super::WorkspaceError;
use super::guest_git::GuestGit;

/// Copies the objects as links where that is possible: then they take no room.
const KEEP_OBJECTS: &str = r#"
    if [ -e "$1/objects" ] || [ -L "$1/objects" ]; then rm -rf -- "$1/objects" || exit; fi
    [ -d "$1" ] || mkdir -p -- "$1" || exit
    cp -al .git/objects "$1/objects" 2>/dev/null && exit
    rm -rf -- "$1/objects" && cp -a .git/objects "$1/objects"
"#;

/// Where it lies.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    dir: ByteString,
}

impl Kept {
    /// Of the repository with this number in a workspace: `/root/.banger-repo/0` for the first of `/root/repo`.
    pub(super) fn of(workspace: &ByteString, number: usize) -> Self {
        let path = workspace.as_bytes();
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let number = number.to_string();
        let dir = [&path[..start], b".banger-", &path[start..end], b"/", number.as_bytes()].concat();
        Self { dir: dir.into() }
    }

    /// Something in it.
    pub(super) fn path(&self, name: &str) -> ByteString {
        [self.dir.as_bytes(), b"/", name.as_bytes()].concat().into()
    }

    /// Keeps all objects that the repository has now.
    ///
    /// # Errors
    ///
    /// When the guest's disk is full, say.
    pub(super) async fn keep_objects(&self, git: &GuestGit<'_>) -> Result<(), WorkspaceError> {
        git.program(&[b"sh", b"-c", KEEP_OBJECTS.as_bytes(), b"sh", self.dir.as_bytes()]).await
    }

    /// Keeps an index as that of the prepared state. By it git knows which files were written since, without reading them.
    pub(super) async fn keep_index(&self, git: &GuestGit<'_>, index: &ByteString) {
        let to = self.path("index");
        let keep: [&[u8]; 8] =
            [b"install", b"-D", b"-p", b"-m", b"600", b"--", index.as_bytes(), to.as_bytes()];
        // An index without entries is not there, and without this one every file is read by the next export. The time of the copy
        // is the index's own: by that git knows which files may have been written since without its looking.
        let _ = git.program(&keep).await;
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
