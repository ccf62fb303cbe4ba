//! Putting a git repository into the guest.
//!
//! 1. `POST /v1/workspace/begin` ([`Begin`]) makes an empty staging directory beside the place where the
//!    repository is to be.
//! 2. `POST /v1/files/unpack` fills it: the working tree and the small files of `.git`.
//! 3. `POST /v1/workspace/finish` with a stream of [`Record`]s as its body makes the object pack and the
//!    index, and moves the directory to its place. The answer is a [`FinishEvent`] on each line, and begins
//!    before the records have ended: large files take their time, and the host wants to know that they do.
//!
//! A blob that lies in the working tree as well travels once: the pack's record of it is a reference to the
//! file ([`Record::PackFile`]), which the agent copies in as [`stored`] blocks. The host has seen the same
//! bytes, so it knows every checksum, and an emulated guest neither hashes nor deflates anything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Decoder, Encoder};

use crate::ByteString;
use crate::messages::GuestError;

/// Largest payload of a record, in bytes.
pub const RECORD_MAX_LEN: usize = 64 * 1024;

const HEADER_LEN: usize = 5;

/// Asks for a staging directory. What an earlier import left behind is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Where the repository is to be: an absolute path.
    pub path: ByteString,
    /// What is there may be replaced. An empty directory may always.
    pub replace: bool,
}

/// The staging directory, and what the image brings for the work after the import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub staging: ByteString,
    /// `git` is on PATH.
    pub git: bool,
    /// `mise` is on PATH.
    pub mise: bool,
}

/// The first record of a [`Record`] stream: what the rest is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// As [`Begun`] named it.
    pub staging: ByteString,
    pub path: ByteString,
    pub replace: bool,
    /// The repository's directory inside `staging`, for a submodule; empty for the repository itself.
    pub inside: ByteString,
    /// Checksum in hexadecimal that names the pack; none when there are no objects.
    pub pack: Option<String>,
    pub object_format: ObjectFormat,
    /// Move the directory to its place afterwards.
    pub publish: bool,
}

/// The hash that names a repository's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectFormat {
    #[default]
    Sha1,
    Sha256,
}

impl ObjectFormat {
    /// Length of an object's id, in bytes.
    pub fn id_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// An entry of the repository's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// As git has it: 0o100644, 0o100755, 0o120000, 0o160000.
    pub mode: u32,
    /// The file in the working tree has the content that `id` names: the agent notes its size and times, and
    /// git need not read it.
    pub clean: bool,
    pub skip_worktree: bool,
    pub intent_to_add: bool,
    /// As long as the repository's [`ObjectFormat`] says.
    pub id: Vec<u8>,
    /// Relative to the working tree's root.
    pub path: ByteString,
}

/// One step of making the pack and the index. They come in this order: one `Finish`, the pack from its first
/// byte to its last, its `PackIndex`, the index entries sorted by path, `End`. Without an `End` the host
/// broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Finish(Finish),
    /// The pack goes on with these bytes.
    Pack(Bytes),
    /// The pack goes on with the content of this file of the working tree, as [`stored`] blocks without
    /// zlib's header and checksum.
    PackFile {
        len: u64,
        path: ByteString,
    },
    /// The pack's `.idx` file goes on with these bytes.
    PackIndex(Bytes),
    Entry(IndexEntry),
    End,
}

/// How it goes with the [`Record`]s. The last one is `Done` or `Failed`; without it the guest broke off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum FinishEvent {
    /// So much of the pack is written by now.
    Written {
        bytes: u64,
    },
    Done,
    Failed(GuestError),
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("record of unknown kind {0}")]
    UnknownKind(u8),
    #[error("record of {len} bytes, at most {RECORD_MAX_LEN} are allowed")]
    TooLong { len: usize },
    #[error("malformed record of kind {kind}")]
    Payload { kind: u8 },
    #[error("malformed first record")]
    Finish(#[source] serde_json::Error),
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
}

mod kind {
    pub(super) const FINISH: u8 = 0;
    pub(super) const PACK: u8 = 1;
    pub(super) const PACK_FILE: u8 = 2;
    pub(super) const PACK_INDEX: u8 = 3;
    pub(super) const ENTRY: u8 = 4;
    pub(super) const END: u8 = 5;
}

const CLEAN: u8 = 1;
const SKIP_WORKTREE: u8 = 2;
const INTENT_TO_ADD: u8 = 4;

/// [`Decoder`] and [`Encoder`] of [`Record`]s: `length: u32 little-endian`, `kind: u8`, then `length` bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordCodec;

impl Decoder for RecordCodec {
    type Item = Record;
    type Error = RecordError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Record>, RecordError> {
        let Some(header) = src.get(..HEADER_LEN) else { return Ok(None) };
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = header[4];
        if kind > kind::END {
            return Err(RecordError::UnknownKind(kind));
        }
        if len > RECORD_MAX_LEN {
            return Err(RecordError::TooLong { len });
        }
        if src.len() < HEADER_LEN + len {
            src.reserve(HEADER_LEN + len - src.len());
            return Ok(None);
        }
        src.advance(HEADER_LEN);
        let mut payload = src.split_to(len).freeze();
        let malformed = RecordError::Payload { kind };
        Ok(Some(match kind {
            kind::FINISH => Record::Finish(serde_json::from_slice(&payload).map_err(RecordError::Finish)?),
            kind::PACK => Record::Pack(payload),
            kind::PACK_INDEX => Record::PackIndex(payload),
            kind::PACK_FILE => {
                let len = payload.try_get_u64_le().map_err(|_| malformed)?;
                Record::PackFile { len, path: payload.to_vec().into() }
            }
            kind::ENTRY => Record::Entry(get_entry(&mut payload).ok_or(malformed)?),
            _ => Record::End,
        }))
    }
}

fn get_entry(payload: &mut Bytes) -> Option<IndexEntry> {
    let mode = payload.try_get_u32_le().ok()?;
    let flags = payload.try_get_u8().ok()?;
    let id_len = usize::from(payload.try_get_u8().ok()?);
    if payload.len() < id_len {
        return None;
    }
    let id = payload.split_to(id_len).to_vec();
    Some(IndexEntry {
        mode,
        clean: flags & CLEAN != 0,
        skip_worktree: flags & SKIP_WORKTREE != 0,
        intent_to_add: flags & INTENT_TO_ADD != 0,
        id,
        path: payload.to_vec().into(),
    })
}

impl Encoder<&Record> for RecordCodec {
    type Error = RecordError;

    fn encode(&mut self, record: &Record, dst: &mut BytesMut) -> Result<(), RecordError> {
        match record {
            Record::Finish(finish) => {
                let json = serde_json::to_vec(finish).map_err(RecordError::Finish)?;
                put(dst, kind::FINISH, &[&json])
            }
            Record::End => put(dst, kind::END, &[]),
            Record::Pack(bytes) => put(dst, kind::PACK, &[bytes]),
            Record::PackIndex(bytes) => put(dst, kind::PACK_INDEX, &[bytes]),
            Record::PackFile { len, path } => {
                put(dst, kind::PACK_FILE, &[&len.to_le_bytes(), path.as_bytes()])
            }
            Record::Entry(entry) => {
                let flag = |set: bool, flag: u8| if set { flag } else { 0 };
                let flags = flag(entry.clean, CLEAN)
                    | flag(entry.skip_worktree, SKIP_WORKTREE)
                    | flag(entry.intent_to_add, INTENT_TO_ADD);
                let id_len =
                    u8::try_from(entry.id.len()).map_err(|_| RecordError::Payload { kind: kind::ENTRY })?;
                let mode = entry.mode.to_le_bytes();
                put(dst, kind::ENTRY, &[&mode, &[flags, id_len], &entry.id, entry.path.as_bytes()])
            }
        }
    }
}

fn put(dst: &mut BytesMut, kind: u8, parts: &[&[u8]]) -> Result<(), RecordError> {
    let len = parts.iter().map(|part| part.len()).sum();
    if len > RECORD_MAX_LEN {
        return Err(RecordError::TooLong { len });
    }
    dst.reserve(HEADER_LEN + len);
    dst.put_u32_le(len as u32);
    dst.put_u8(kind);
    parts.iter().for_each(|part| dst.put_slice(part));
    Ok(())
}

/// Deflate's stored blocks: the one way to put bytes into a zlib stream without compressing them. Both sides
/// lay them out alike, so that the host knows offsets and checksums of a pack that the guest writes.
pub mod stored {
    /// What a zlib stream of stored blocks begins with.
    pub const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];

    /// Every block but the last holds this many bytes.
    pub const BLOCK_LEN: usize = 65535;

    pub const BLOCK_HEADER_LEN: usize = 5;

    /// What comes before a block of `len` bytes.
    pub fn block_header(len: u16, last: bool) -> [u8; BLOCK_HEADER_LEN] {
        let [low, high] = len.to_le_bytes();
        [u8::from(last), low, high, !low, !high]
    }

    /// The length of the block that begins at `offset` of `total` bytes, and whether it is the last. No bytes
    /// at all are one empty block.
    pub fn block_at(offset: u64, total: u64) -> (u16, bool) {
        let rest = total.saturating_sub(offset);
        let len = rest.min(BLOCK_LEN as u64);
        (len as u16, len == rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            Just(Record::End),
            bytes().prop_map(|bytes| Record::Pack(bytes.into())),
            bytes().prop_map(|bytes| Record::PackIndex(bytes.into())),
            (any::<u64>(), bytes()).prop_map(|(len, path)| Record::PackFile { len, path: path.into() }),
            (any::<u32>(), any::<[bool; 3]>(), any::<[u8; 20]>(), bytes()).prop_map(
                |(mode, [clean, skip_worktree, intent_to_add], id, path)| Record::Entry(IndexEntry {
                    mode,
                    clean,
                    skip_worktree,
                    intent_to_add,
                    id: id.to_vec(),
                    path: path.into(),
                })
            ),
            (bytes(), any::<bool>()).prop_map(|(path, replace)| Record::Finish(Finish {
                staging: "/root/.x".into(),
                path: path.into(),
                replace,
                inside: ByteString::default(),
                pack: None,
                object_format: ObjectFormat::Sha256,
                publish: true,
            })),
        ]
    }

    proptest! {
        #[test]
        fn records_survive_any_cut(records in proptest::collection::vec(any_record(), 0..8), cut in 1_usize..50) {
            let mut wire = BytesMut::new();
            records.iter().for_each(|record| RecordCodec.encode(record, &mut wire).unwrap());
            let (mut pending, mut seen) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(cut) {
                pending.extend_from_slice(piece);
                while let Some(record) = RecordCodec.decode(&mut pending).unwrap() {
                    seen.push(record);
                }
            }
            prop_assert!(pending.is_empty());
            prop_assert_eq!(seen, records);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut pending = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = RecordCodec.decode(&mut pending) {}
        }
    }

    #[test]
    fn blocks_cover_everything_once() {
        for total in [0_u64, 1, 65534, 65535, 65536, 131_070, 131_071] {
            let (mut offset, mut blocks) = (0, 0);
            loop {
                let (len, last) = stored::block_at(offset, total);
                offset += u64::from(len);
                blocks += 1;
                if last {
                    break;
                }
                assert_eq!(usize::from(len), stored::BLOCK_LEN);
            }
            assert_eq!((offset, blocks), (total, total.div_ceil(65535).max(1)));
        }
    }
}
