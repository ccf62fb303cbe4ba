//! Everything that a tree of files says of itself, from an ext4 image and from the host's own filesystem.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use mkext4::reader::Fs;
use mkext4::spec::inode::FileType;
use mkext4::spec::{Inode, ROOT_INO};
use rustix::fs::SeekFrom;
use sha2::{Digest, Sha256};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) target: Vec<u8>,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) links: u64,
    /// The first name of the same file.
    pub(crate) same_as: Vec<u8>,
    pub(crate) size: u64,
    /// Of what is not zeros, and where it is.
    pub(crate) content: Vec<u8>,
}

pub(crate) type Listing = BTreeMap<Vec<u8>, Record>;

const BLOCK_LEN: usize = 4096;

struct ContentHash(Sha256);

impl ContentHash {
    fn add(&mut self, offset: u64, block: &[u8]) {
        if block.iter().any(|byte| *byte != 0) {
            self.0.update(offset.to_le_bytes());
            self.0.update(block);
        }
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// With this crate's reader of ext4, which does not need root. `lost+found` is left out.
pub(crate) fn of_image(image: &Path) -> Listing {
    let fs = Fs::open(File::open(image).unwrap()).unwrap();
    assert_eq!(fs.verify().unwrap(), []);
    let (mut listing, mut first_names) = (Listing::new(), HashMap::new());
    let mut todo = vec![(Vec::new(), ROOT_INO)];
    while let Some((path, number)) = todo.pop() {
        let inode = fs.inode(number).unwrap();
        if inode.file_type() == FileType::Dir {
            for entry in fs.read_dir(number).unwrap() {
                let is_found = path.is_empty() && entry.name == b"lost+found";
                if !is_found && entry.name != b"." && entry.name != b".." {
                    todo.push((join(&path, &entry.name), entry.inode));
                }
            }
        }
        let first: &mut Vec<u8> = first_names.entry(number).or_insert_with(|| path.clone());
        if path < *first {
            first.clone_from(&path);
        }
        let record = image_record(&fs, number, &inode);
        assert!(listing.insert(path.clone(), record).is_none(), "{} is there twice", path.escape_ascii());
        // Found again once all names are known.
        listing.get_mut(&path).unwrap().same_as = number.to_le_bytes().to_vec();
    }
    for record in listing.values_mut() {
        let number = u32::from_le_bytes(record.same_as[..].try_into().unwrap());
        record.same_as.clone_from(&first_names[&number]);
    }
    listing
}

fn image_record(fs: &Fs<File>, number: u32, inode: &Inode) -> Record {
    let is_file = inode.file_type() == FileType::Regular;
    let kind = match inode.file_type() {
        FileType::Regular => 'f',
        FileType::Dir => 'd',
        FileType::Symlink => 'l',
        FileType::CharDev => 'c',
        FileType::BlockDev => 'b',
        FileType::Fifo => 'p',
        other => panic!("{other:?}"),
    };
    let mut hash = ContentHash(Sha256::new());
    if is_file {
        let extents = fs.extents(number, inode).unwrap();
        for extent in &extents {
            for block in u64::from(extent.logical)..u64::from(extent.logical) + u64::from(extent.len) {
                let mut bytes = [0; BLOCK_LEN];
                let offset = block * BLOCK_LEN as u64;
                let one = std::slice::from_ref(extent);
                let len = fs.read_file_at(inode, one, offset, &mut bytes).unwrap();
                hash.add(offset, &bytes[..len]);
            }
        }
    }
    let xattrs = fs.xattrs(number).unwrap();
    Record {
        kind,
        mode: u32::from(inode.mode & 0o7777),
        owner: (inode.uid, inode.gid),
        mtime: Inode::timestamp(inode.mtime, inode.mtime_extra),
        target: if kind == 'l' { fs.symlink_target(number).unwrap() } else { Vec::new() },
        device: if matches!(kind, 'c' | 'b') { inode.dev_numbers() } else { None },
        xattrs: xattrs.into_iter().map(|xattr| as_called(xattr.full_name().unwrap(), xattr.value)).collect(),
        links: if kind == 'd' { 0 } else { u64::from(inode.links_count) },
        same_as: Vec::new(),
        size: if is_file { inode.size } else { 0 },
        content: hash.0.finalize().to_vec(),
    }
}

/// On disk, entries of an access list have no id where it would say nothing.
fn as_called(name: Vec<u8>, value: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    if !name.starts_with(b"system.posix_acl_") {
        return (name, value);
    }
    let (mut called, mut rest) = (vec![2, 0, 0, 0], &value[4..]);
    while let Some((entry, after)) = rest.split_at_checked(4) {
        let has_id = matches!(entry[0], 2 | 8);
        called.extend_from_slice(entry);
        called.extend_from_slice(if has_id { &after[..4] } else { &[0xFF; 4] });
        rest = if has_id { &after[4..] } else { after };
    }
    (name, called)
}

/// As the system shows it. A `lost+found` of the root is left out.
pub(crate) fn of_directory(root: &Path) -> Listing {
    let (mut listing, mut first_names) = (Listing::new(), HashMap::new());
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let full =
            if path.is_empty() { root.to_owned() } else { root.join(std::ffi::OsStr::from_bytes(&path)) };
        let metadata = std::fs::symlink_metadata(&full).unwrap();
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&full).unwrap() {
                let name = entry.unwrap().file_name();
                if !(path.is_empty() && name == "lost+found") {
                    todo.push(join(&path, name.as_bytes()));
                }
            }
        }
        let first: &mut Vec<u8> = first_names.entry(metadata.ino()).or_insert_with(|| path.clone());
        if path < *first {
            first.clone_from(&path);
        }
        let mut record = directory_record(&full, &metadata);
        record.same_as = metadata.ino().to_le_bytes().to_vec();
        listing.insert(path, record);
    }
    for record in listing.values_mut() {
        let number = u64::from_le_bytes(record.same_as[..].try_into().unwrap());
        record.same_as.clone_from(&first_names[&number]);
    }
    listing
}

fn directory_record(path: &Path, metadata: &std::fs::Metadata) -> Record {
    let kind = match metadata.mode() >> 12 {
        0o10 => 'f',
        0o04 => 'd',
        0o12 => 'l',
        0o02 => 'c',
        0o06 => 'b',
        0o01 => 'p',
        other => panic!("{other:o}"),
    };
    let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let target =
        if kind == 'l' { std::fs::read_link(path).unwrap().into_os_string().into_vec() } else { Vec::new() };
    Record {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
        target,
        device: matches!(kind, 'c' | 'b').then_some(device),
        xattrs: xattrs_of(path),
        links: if kind == 'd' { 0 } else { metadata.nlink() },
        same_as: Vec::new(),
        size: if kind == 'f' { metadata.len() } else { 0 },
        content: content_of(path, kind == 'f', metadata.len()),
    }
}

fn xattrs_of(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let value_of = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..len].to_vec()
    };
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), value_of(name))).collect()
}

fn content_of(path: &Path, is_file: bool, len: u64) -> Vec<u8> {
    let mut hash = ContentHash(Sha256::new());
    if is_file && len > 0 {
        let file = File::open(path).unwrap();
        let mut offset = 0;
        while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(offset)) {
            let hole = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
            for start in (data / BLOCK_LEN as u64 * BLOCK_LEN as u64..hole).step_by(BLOCK_LEN) {
                let mut bytes = [0; BLOCK_LEN];
                let read =
                    file.read_at(&mut bytes[..(len - start).min(BLOCK_LEN as u64) as usize], start).unwrap();
                hash.add(start, &bytes[..read]);
            }
            offset = hole.next_multiple_of(BLOCK_LEN as u64);
        }
    }
    hash.0.finalize().to_vec()
}

/// Names what differs.
pub(crate) fn assert_same(actual: &Listing, expected: &Listing) {
    for (path, record) in expected {
        let name = path.escape_ascii();
        let found = actual.get(path).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(found, record, "{name}");
    }
    for path in actual.keys() {
        assert!(expected.contains_key(path), "{} should not be there", path.escape_ascii());
    }
}
