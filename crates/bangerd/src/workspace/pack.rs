//! A pack of objects, laid out while their bytes go by.
//!
//! Every object is whole (no deltas) and stored (not deflated): the guest then copies bytes, and neither
//! hashes nor deflates, which an emulated processor does slowly. `git gc` in the guest makes it small when
//! somebody wants that.

use banger_guest_protocol::import::ObjectFormat;
use banger_guest_protocol::import::stored::{self, ZLIB_HEADER};
use banger_host::git::ObjectKind;

use super::object::{Hasher, ObjectId};

const SIGNATURE: &[u8; 4] = b"PACK";
const VERSION: u32 = 2;
const INDEX_SIGNATURE: [u8; 4] = [0xFF, b't', b'O', b'c'];
/// Offsets from here on are kept in the index's table of large ones.
const LARGE_OFFSET: u64 = 1 << 31;

/// An object that is in the pack.
#[derive(Clone, Copy, Debug)]
struct Placed {
    id: ObjectId,
    crc32: u32,
    offset: u64,
}

/// Keeps the books of a pack: checksums and offsets.
pub(super) struct PackWriter {
    format: ObjectFormat,
    hasher: Hasher,
    offset: u64,
    placed: Vec<Placed>,
}

/// An object on its way into the pack. Unless [`PackWriter::close`] takes it, it has never been there.
pub(super) struct OpenObject {
    hasher: Hasher,
    crc32: crc32fast::Hasher,
    adler32: simd_adler32::Adler32,
    start: u64,
    /// Bytes of the pack that it takes so far.
    packed_len: u64,
    content_len: u64,
    content_seen: u64,
}

impl PackWriter {
    /// Begins a pack of `count` objects; answers its first bytes, too.
    pub(super) fn new(format: ObjectFormat, count: u32) -> (Self, Vec<u8>) {
        let header = [&SIGNATURE[..], &VERSION.to_be_bytes(), &count.to_be_bytes()].concat();
        let mut hasher = Hasher::new(format);
        hasher.update(&header);
        (Self { format, hasher, offset: header.len() as u64, placed: Vec::new() }, header)
    }

    /// Begins an object; answers the bytes that come before its first block, too.
    pub(super) fn open(&self, kind: ObjectKind, content_len: u64) -> (OpenObject, Vec<u8>) {
        let mut object = OpenObject {
            hasher: self.hasher.clone(),
            crc32: crc32fast::Hasher::new(),
            adler32: simd_adler32::Adler32::new(),
            start: self.offset,
            packed_len: 0,
            content_len,
            content_seen: 0,
        };
        let mut head = object_header(kind, content_len);
        head.extend(ZLIB_HEADER);
        object.packed(&head);
        (object, head)
    }

    /// Takes an object whose content is complete as `id`; answers the bytes that come after its last block.
    pub(super) fn close(&mut self, mut object: OpenObject, id: ObjectId) -> [u8; 4] {
        debug_assert_eq!(object.content_seen, object.content_len);
        let checksum = object.adler32.finish().to_be_bytes();
        object.packed(&checksum);
        self.offset = object.start + object.packed_len;
        self.hasher = object.hasher;
        self.placed.push(Placed { id, crc32: object.crc32.finalize(), offset: object.start });
        checksum
    }

    /// Ends the pack: its last bytes, and the whole of its `.idx` file.
    pub(super) fn finish(mut self) -> (ObjectId, Vec<u8>) {
        let checksum = self.hasher.finish();
        self.placed.sort_by_key(|placed| placed.id);
        let index = index(self.format, &self.placed, &checksum);
        (checksum, index)
    }
}

impl OpenObject {
    /// More of its content. `block` gets the headers of the blocks that begin in it, each with its place in
    /// `content`.
    pub(super) fn content(&mut self, content: &[u8], mut block: impl FnMut(usize, &[u8])) {
        self.adler32.write(content);
        let mut taken = 0;
        loop {
            let in_block = (self.content_seen % stored::BLOCK_LEN as u64) as usize;
            let begins = in_block == 0 && (self.content_seen < self.content_len || self.content_len == 0);
            if begins && (taken < content.len() || self.content_len == 0) {
                let (len, last) = stored::block_at(self.content_seen, self.content_len);
                let header = stored::block_header(len, last);
                self.packed(&header);
                block(taken, &header);
            }
            let len = (stored::BLOCK_LEN - in_block).min(content.len() - taken);
            if len == 0 {
                return;
            }
            self.packed(&content[taken..taken + len]);
            taken += len;
            self.content_seen += len as u64;
        }
    }

    fn packed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.crc32.update(bytes);
        self.packed_len += bytes.len() as u64;
    }
}

/// Kind and length, seven bits a byte after the first four.
fn object_header(kind: ObjectKind, len: u64) -> Vec<u8> {
    let kind = match kind {
        ObjectKind::Commit => 1,
        ObjectKind::Tree => 2,
        ObjectKind::Blob => 3,
        ObjectKind::Tag => 4,
    };
    let mut header = vec![kind << 4 | (len & 0x0F) as u8];
    let mut rest = len >> 4;
    while rest > 0 {
        if let Some(last) = header.last_mut() {
            *last |= 0x80;
        }
        header.push((rest & 0x7F) as u8);
        rest >>= 7;
    }
    header
}

/// The pack's index, version 2. `placed` is sorted by id.
fn index(format: ObjectFormat, placed: &[Placed], pack: &ObjectId) -> Vec<u8> {
    let mut index = Vec::with_capacity(1032 + placed.len() * (format.id_len() + 8) + 64);
    index.extend(INDEX_SIGNATURE);
    index.extend(2_u32.to_be_bytes());
    for first in 0..=u8::MAX {
        let up_to = placed.partition_point(|placed| placed.id.as_bytes()[0] <= first);
        index.extend((up_to as u32).to_be_bytes());
    }
    placed.iter().for_each(|placed| index.extend(placed.id.as_bytes()));
    placed.iter().for_each(|placed| index.extend(placed.crc32.to_be_bytes()));
    let mut large: Vec<u64> = Vec::new();
    for placed in placed {
        let short = match u32::try_from(placed.offset) {
            Ok(offset) if placed.offset < LARGE_OFFSET => offset,
            _ => {
                large.push(placed.offset);
                (large.len() - 1) as u32 | LARGE_OFFSET as u32
            }
        };
        index.extend(short.to_be_bytes());
    }
    large.iter().for_each(|offset| index.extend(offset.to_be_bytes()));
    index.extend(pack.as_bytes());
    let mut hasher = Hasher::new(format);
    hasher.update(&index);
    index.extend(hasher.finish().as_bytes());
    index
}

#[cfg(test)]
mod tests {
    use banger_host::command::Command;

    use super::super::object::blob_id;
    use super::*;

    /// Writes a pack of blobs, its content in pieces of `piece` bytes, and lets git judge it.
    async fn verify(format: ObjectFormat, contents: &[Vec<u8>], piece: usize) {
        let dir = tempfile::tempdir().unwrap();
        let (mut pack_writer, mut pack) = PackWriter::new(format, contents.len() as u32);
        for content in contents {
            // One that comes to nothing leaves no trace.
            let (mut abandoned, _) = pack_writer.open(ObjectKind::Blob, 3);
            abandoned.content(b"xyz", |_, _| {});
            let (mut object, head) = pack_writer.open(ObjectKind::Blob, content.len() as u64);
            pack.extend(head);
            let mut pieces: Vec<&[u8]> = content.chunks(piece).collect();
            if pieces.is_empty() {
                pieces.push(b"");
            }
            for piece in pieces {
                let mut at = 0;
                object.content(piece, |place, header| {
                    pack.extend(&piece[at..place]);
                    pack.extend(header);
                    at = place;
                });
                pack.extend(&piece[at..]);
            }
            pack.extend(pack_writer.close(object, blob_id(format, content)));
        }
        let (checksum, index) = pack_writer.finish();
        pack.extend(checksum.as_bytes());
        let name = dir.path().join("pack-1.pack");
        std::fs::write(&name, &pack).unwrap();
        std::fs::write(dir.path().join("pack-1.idx"), &index).unwrap();
        let git = |args: &[&str]| Command::new("git").args(args.iter()).cwd(dir.path());
        let word = if format == ObjectFormat::Sha1 { "sha1" } else { "sha256" };
        git(&["verify-pack", &format!("--object-format={word}"), "pack-1.idx"]).run().await.unwrap();
        // git's own index of the same pack is the same, byte for byte.
        git(&["index-pack", &format!("--object-format={word}"), "-o", "own.idx", "pack-1.pack"])
            .run()
            .await
            .unwrap();
        assert_eq!(std::fs::read(dir.path().join("own.idx")).unwrap(), index);
    }

    #[tokio::test]
    async fn git_accepts_what_we_lay_out() {
        let sizes = [0, 1, 15, 16, 2047, 2048, 65534, 65535, 65536, 200_000];
        let contents: Vec<Vec<u8>> =
            sizes.iter().map(|size| (0..*size).map(|i| (i * 7 % 251) as u8).collect()).collect();
        verify(ObjectFormat::Sha1, &contents, 1 << 20).await;
        verify(ObjectFormat::Sha1, &contents, 1000).await;
        verify(ObjectFormat::Sha256, &contents, 65535).await;
    }

    #[test]
    fn offsets_beyond_two_gibibytes_have_a_table_of_their_own() {
        let id = |byte: u8| ObjectId::parse(format!("{byte:02x}").repeat(20).as_bytes()).unwrap();
        let placed = [(1, 12), (2, LARGE_OFFSET - 1), (3, LARGE_OFFSET), (4, 5 << 32)]
            .map(|(byte, offset)| Placed { id: id(byte), crc32: 0, offset });
        let index = index(ObjectFormat::Sha1, &placed, &id(9));
        let offsets = &index[8 + 1024 + 4 * 24..];
        assert_eq!(&offsets[12..16], &0x8000_0001_u32.to_be_bytes());
        assert_eq!(&offsets[16..24], &LARGE_OFFSET.to_be_bytes());
        assert_eq!(&offsets[24..32], &(5_u64 << 32).to_be_bytes());
    }
}
