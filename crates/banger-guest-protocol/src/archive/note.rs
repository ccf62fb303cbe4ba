use banger_tar::pax::{decimal, put_record};
use bytes::BufMut;
use tar::EntryType;

use super::encode::put_extension;

/// What the packing side has to say besides. Travels as a global PAX header, which other readers of tar
/// ignore. Paths are those in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Neither file, directory nor symlink, so it stayed behind.
    Skipped { path: Vec<u8> },
    /// A directory where another file system is mounted. What is in it stayed behind.
    Mount { path: Vec<u8> },
    /// It was there when its directory was listed, and gone when it was to be read.
    Vanished { path: Vec<u8> },
    /// It is not in the archive, and should be.
    Unread { path: Vec<u8>, reason: String },
    /// Of the file that this follows only the first bytes are its own; the rest was made up.
    Cut { path: Vec<u8>, len: u64, reason: String },
    /// The rest could not be packed, and why. The archive has no end after that.
    Failed { reason: String },
}

const SKIPPED: &[u8] = b"BANGER.skipped";
const MOUNT: &[u8] = b"BANGER.mount";
const VANISHED: &[u8] = b"BANGER.vanished";
const UNREAD: &[u8] = b"BANGER.unread";
const CUT: &[u8] = b"BANGER.cut";
const FAILED: &[u8] = b"BANGER.failed";
const LEN: &[u8] = b"BANGER.len";
const REASON: &[u8] = b"BANGER.reason";

/// Appends a note.
pub fn put_note(out: &mut impl BufMut, note: &Note) {
    let mut records = Vec::new();
    let (key, value, reason) = match note {
        Note::Skipped { path } => (SKIPPED, &path[..], None),
        Note::Mount { path } => (MOUNT, &path[..], None),
        Note::Vanished { path } => (VANISHED, &path[..], None),
        Note::Unread { path, reason } => (UNREAD, &path[..], Some(reason)),
        Note::Cut { path, reason, .. } => (CUT, &path[..], Some(reason)),
        Note::Failed { reason } => (FAILED, reason.as_bytes(), None),
    };
    put_record(&mut records, key, value);
    if let Note::Cut { len, .. } = note {
        put_record(&mut records, LEN, len.to_string().as_bytes());
    }
    if let Some(reason) = reason {
        put_record(&mut records, REASON, reason.as_bytes());
    }
    put_extension(out, EntryType::XGlobalHeader, &records);
}

/// The note in a global header; none when it has another use.
pub(super) fn read(records: &[(&[u8], &[u8])]) -> Option<Note> {
    let value = |wanted: &[u8]| records.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let reason = || text(value(REASON).unwrap_or_default());
    records.iter().find_map(|(key, about)| {
        let path = about.to_vec();
        Some(match *key {
            SKIPPED => Note::Skipped { path },
            MOUNT => Note::Mount { path },
            VANISHED => Note::Vanished { path },
            UNREAD => Note::Unread { path, reason: reason() },
            CUT => Note::Cut { path, len: decimal(value(LEN)?)?, reason: reason() },
            FAILED => Note::Failed { reason: text(about) },
            _ => return None,
        })
    })
}
