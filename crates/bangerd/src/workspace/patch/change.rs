use std::fmt;

use banger_guest_protocol::ByteString;

/// What happens to one file. A change of type (a file becomes a symlink) is a deletion and an addition of one
/// path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub kind: ChangeKind,
    /// Where the file is afterwards; for a deletion, where it was.
    pub path: ByteString,
    /// Where the file was, of a renamed one only.
    pub renamed_from: Option<ByteString>,
    /// `None` if there was no such file, and in a pure rename, which does not say.
    pub old_mode: Option<FileMode>,
    /// `None` if there is no such file afterwards, and in a pure rename, which does not say.
    pub new_mode: Option<FileMode>,
    /// `None` if there was no such file, and where the content stays as it is.
    pub old_id: Option<BlobId>,
    /// `None` if there is no such file afterwards, and where the content stays as it is.
    pub new_id: Option<BlobId>,
    /// Lines; 0 for binary content.
    pub added: u64,
    /// Lines; 0 for binary content.
    pub removed: u64,
    /// The content is in a binary section, whatever it is.
    pub binary: bool,
}

impl FileChange {
    /// A commit of another repository in the place of a file (a submodule).
    pub fn is_gitlink(&self) -> bool {
        [self.old_mode, self.new_mode].contains(&Some(FileMode::Gitlink))
    }

    /// Where the file was before, if there was one.
    pub fn old_path(&self) -> Option<&ByteString> {
        match self.kind {
            ChangeKind::Added => None,
            ChangeKind::Deleted | ChangeKind::Modified => Some(&self.path),
            ChangeKind::Renamed => self.renamed_from.as_ref(),
        }
    }

    /// Where the file is afterwards, if there is one.
    pub fn new_path(&self) -> Option<&ByteString> {
        (self.kind != ChangeKind::Deleted).then_some(&self.path)
    }

    /// The patch names blobs, so that it must hold content, too.
    pub(super) fn has_index(&self) -> bool {
        self.old_id.is_some() || self.new_id.is_some()
    }

    /// An empty file comes or goes: git prints no content for it.
    pub(super) fn is_of_empty_file(&self) -> bool {
        match self.kind {
            ChangeKind::Added => self.new_id.is_some_and(BlobId::is_empty_blob),
            ChangeKind::Deleted => self.old_id.is_some_and(BlobId::is_empty_blob),
            ChangeKind::Modified | ChangeKind::Renamed => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Deleted,
    Modified,
    /// With or without a change of content or mode.
    Renamed,
}

/// All the modes that a tree can hold for what is not a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileMode {
    Regular,
    Executable,
    Symlink,
    Gitlink,
}

impl FileMode {
    /// Reads the six digits that git prints.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        match digits {
            b"100644" => Some(Self::Regular),
            b"100755" => Some(Self::Executable),
            b"120000" => Some(Self::Symlink),
            b"160000" => Some(Self::Gitlink),
            _ => None,
        }
    }

    /// Only the executable bit may change within one entry of a patch.
    pub(super) fn is_same_type(self, other: Self) -> bool {
        let is_file = |mode| matches!(mode, Self::Regular | Self::Executable);
        self == other || (is_file(self) && is_file(other))
    }
}

/// The id of a blob (of a commit, for a gitlink), in the repository's hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobId {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

const EMPTY_SHA1: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
const EMPTY_SHA256: &str = "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813";

impl BlobId {
    /// Reads all the hexadecimal digits of an id, lower case as git prints them.
    pub(super) fn parse(digits: &[u8]) -> Option<Self> {
        match digits.len() {
            40 => hex(digits).map(Self::Sha1),
            64 => hex(digits).map(Self::Sha256),
            _ => None,
        }
    }

    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Sha1(bytes) => bytes == [0; 20],
            Self::Sha256(bytes) => bytes == [0; 32],
        }
    }

    pub(super) fn is_sha256(self) -> bool {
        matches!(self, Self::Sha256(_))
    }

    fn is_empty_blob(self) -> bool {
        self.to_string() == if self.is_sha256() { EMPTY_SHA256 } else { EMPTY_SHA1 }
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        f.write_str(&hex::encode(bytes))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
