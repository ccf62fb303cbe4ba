use std::io::Write as _;

use banger_guest_protocol::archive::{Decoder, EntryKind, Item};
use banger_host::tar_source::{TarKind, read_entries};
use proptest::prelude::*;

use super::*;

/// Name and size of the file in it, as the bundle's reader finds them.
fn by_bundle(headers: &[u8]) -> (Vec<u8>, u64) {
    let entry = TarStream::new(headers).next().unwrap().unwrap();
    (entry.name.into_bytes(), entry.size_bytes)
}

/// As the reader of what guests send finds them.
fn by_archive(headers: &[u8]) -> (Vec<u8>, u64) {
    let mut decoder = Decoder::default();
    decoder.push(headers.to_vec().into());
    let Some(Item::Entry(entry)) = decoder.next().unwrap() else { panic!("no entry") };
    let EntryKind::File { size } = entry.kind else { panic!("{entry:?}") };
    (entry.path, size)
}

/// As the reader of layers finds them, who sees to it that the contents are there.
fn by_source(headers: &[u8], size: u64) -> (Vec<u8>, u64) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(headers).unwrap();
    file.as_file().set_len(headers.len() as u64 + size + padding(size)).unwrap();
    let mut found = Vec::new();
    read_entries(file.path(), |entry| {
        let TarKind::File(content) = entry.kind else { panic!("{entry:?}") };
        found.push((entry.path, content.size_bytes));
        Ok(())
    })
    .unwrap();
    found.remove(0)
}

proptest! {
    #[test]
    fn all_readers_find_the_same_name_and_size(
        directory in "[a-z]{0,30}", name in "[a-zé]{1,20}", size in prop_oneof![0_u64..4096, 0_u64..1 << 36],
        is_gnu: bool, in_records: bool,
    ) {
        let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = if is_gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
        if in_records {
            let size = size.to_string();
            builder.append_pax_extensions([("path", path.as_bytes()), ("size", size.as_bytes())]).unwrap();
            header.set_size(1);
        } else {
            header.set_size(size);
            match header.as_ustar_mut() {
                Some(fields) => {
                    fields.prefix[..directory.len()].copy_from_slice(directory.as_bytes());
                    fields.name[..name.len()].copy_from_slice(name.as_bytes());
                }
                None => header.set_path(&path).unwrap(),
            }
        }
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        let headers = [builder.get_ref(), &header.as_bytes()[..]].concat();
        let expected = (path.into_bytes(), size);
        prop_assert_eq!(&by_bundle(&headers), &expected);
        prop_assert_eq!(&by_archive(&headers), &expected);
        prop_assert_eq!(&by_source(&headers, size), &expected);
    }
}
