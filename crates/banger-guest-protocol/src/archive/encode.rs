use banger_tar::{BLOCK_LEN, padding};
use bytes::BufMut;
use tar::{EntryType, Header};

use super::{Entry, EntryKind, sparse};

/// Longest name that the plain header holds.
const NAME_MAX_LEN: usize = 100;
/// What GNU tar names the headers that hold a longer one.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Appends an entry's headers, and a sparse file's map. A file's content (of a sparse one, what its runs
/// hold), and then [`put_padding`], must follow.
pub fn put_entry(out: &mut impl BufMut, entry: &Entry) {
    let mut header = Header::new_gnu();
    let mut map = Vec::new();
    let (kind, size, link): (_, _, &[u8]) = match &entry.kind {
        EntryKind::File { size } => (EntryType::Regular, *size, b""),
        EntryKind::Sparse { size, runs } => {
            put_extension(out, EntryType::XHeader, &sparse::records(&entry.path, *size));
            map = sparse::map(runs, *size);
            // GNU tar heeds the keys of an extended header only before one of the standard's own form.
            header = Header::new_ustar();
            (EntryType::Regular, map.len() as u64 + sparse::stored(runs), b"")
        }
        EntryKind::Directory => (EntryType::Directory, 0, b""),
        EntryKind::Symlink { target } => (EntryType::Symlink, 0, target),
        EntryKind::Hardlink { target } => (EntryType::Link, 0, target),
        EntryKind::Other { type_flag } => (EntryType::new(*type_flag), 0, b""),
    };
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if link.len() > NAME_MAX_LEN {
        put_long(out, EntryType::GNULongLink, link);
    }
    // A sparse file's whole name is in its own header.
    if path.len() > NAME_MAX_LEN && map.is_empty() {
        put_long(out, EntryType::GNULongName, &path);
    }
    header.set_entry_type(kind);
    header.set_mode(entry.mode & 0o7777);
    header.set_mtime(entry.mtime.seconds.try_into().unwrap_or(0));
    put_header(out, header, &path, link, size);
    out.put_slice(&map);
}

/// Appends what fills the last block of a content of `size` bytes.
pub fn put_padding(out: &mut impl BufMut, size: u64) {
    out.put_bytes(0, padding(size) as usize);
}

/// Appends the end mark.
pub fn put_end(out: &mut impl BufMut) {
    out.put_bytes(0, 2 * BLOCK_LEN);
}

/// Appends an extended header for what follows, or for whoever reads notes.
pub(super) fn put_extension(out: &mut impl BufMut, kind: EntryType, records: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    put_content(out, header, b"pax_global_header", records);
}

fn put_long(out: &mut impl BufMut, kind: EntryType, name: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    put_content(out, header, LONG_NAME, &[name, b"\0"].concat());
}

fn put_content(out: &mut impl BufMut, mut header: Header, name: &[u8], content: &[u8]) {
    header.set_mode(0o644);
    header.set_mtime(0);
    put_header(out, header, name, b"", content.len() as u64);
    out.put_slice(content);
    put_padding(out, content.len() as u64);
}

fn put_header(out: &mut impl BufMut, mut header: Header, path: &[u8], link: &[u8], size: u64) {
    let old = header.as_old_mut();
    put_name(&mut old.name, path);
    put_name(&mut old.linkname, link);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    out.put_slice(header.as_bytes());
}

fn put_name(field: &mut [u8; NAME_MAX_LEN], name: &[u8]) {
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name[..len]);
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
