//! Tar archives written as a stream: POSIX ones, where a file with holes takes no more than its data (PAX
//! sparse format 1.0).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;

use banger_tar::pax::put_record;
use banger_tar::sparse::decimal_map;
use banger_tar::{BLOCK_LEN, padding};
use tar::{EntryType, Header};

use crate::sparse::DataRun;

/// How much is copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The largest size that the plain header holds: eleven octal digits.
const PLAIN_SIZE_MAX: u64 = 0o777_7777_7777;

/// Longest name that the plain header holds.
const NAME_MAX_LEN: usize = 100;

/// What an entry has besides its name and content. The owner is always root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// Permission bits.
    pub mode: u32,
    /// Seconds since the Unix epoch.
    pub mtime_s: u64,
}

/// An archive under construction.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn directory(&mut self, path: &[u8], meta: EntryMeta) -> io::Result<()> {
        self.headers(EntryType::Directory, path, b"", meta, 0, &mut Vec::new())
    }

    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn symlink(&mut self, path: &[u8], target: &[u8], meta: EntryMeta) -> io::Result<()> {
        self.headers(EntryType::Symlink, path, target, meta, 0, &mut Vec::new())
    }

    /// A file of exactly `len` bytes.
    ///
    /// # Errors
    ///
    /// When the output cannot be written, or `content` cannot be read or ends early.
    pub fn file(&mut self, path: &[u8], meta: EntryMeta, len: u64, content: &mut dyn Read) -> io::Result<()> {
        self.headers(EntryType::Regular, path, b"", meta, len, &mut Vec::new())?;
        let copied = io::copy(&mut content.take(len), &mut self.out)?;
        if copied != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad(len)
    }

    /// A file of `len` bytes with data in `runs` only; `on_progress` is told how much of it was written.
    ///
    /// # Errors
    ///
    /// When the output cannot be written or the file not be read, or what `on_progress` answers.
    pub fn sparse_file(
        &mut self,
        name: &str,
        meta: EntryMeta,
        (file, len): (&File, u64),
        runs: &[DataRun],
        on_progress: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let map = decimal_map(runs.iter().map(|run| (run.offset, run.len)).collect(), len);
        let data_len: u64 = runs.iter().map(|run| run.len).sum();
        let mut records = Vec::new();
        put_record(&mut records, b"GNU.sparse.major", b"1");
        put_record(&mut records, b"GNU.sparse.minor", b"0");
        put_record(&mut records, b"GNU.sparse.name", name.as_bytes());
        put_record(&mut records, b"GNU.sparse.realsize", len.to_string().as_bytes());
        let stored_name = format!("GNUSparseFile.0/{name}");
        let stored_len = map.len() as u64 + data_len;
        self.headers(EntryType::Regular, stored_name.as_bytes(), b"", meta, stored_len, &mut records)?;
        self.out.write_all(&map)?;
        self.data(file, runs, on_progress)?;
        self.pad(data_len)
    }

    /// A file of `len` bytes, all of which are stored; `on_progress` is told how much of it was written.
    ///
    /// # Errors
    ///
    /// As [`Self::sparse_file`].
    pub fn plain_file(
        &mut self,
        name: &str,
        meta: EntryMeta,
        (file, len): (&File, u64),
        on_progress: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        self.headers(EntryType::Regular, name.as_bytes(), b"", meta, len, &mut Vec::new())?;
        self.data(file, &[DataRun { offset: 0, len }], on_progress)?;
        self.pad(len)
    }

    fn data(
        &mut self,
        file: &File,
        runs: &[DataRun],
        on_progress: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        for run in runs {
            let mut position = run.offset;
            while position < run.end() {
                let chunk = CHUNK.min(usize::try_from(run.end() - position).unwrap_or(CHUNK));
                file.read_exact_at(&mut buffer[..chunk], position)?;
                self.out.write_all(&buffer[..chunk])?;
                position += chunk as u64;
                on_progress(chunk as u64)?;
            }
        }
        Ok(())
    }

    /// Writes the end mark and answers the output.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_LEN])?;
        Ok(self.out)
    }

    fn headers(
        &mut self,
        kind: EntryType,
        path: &[u8],
        target: &[u8],
        meta: EntryMeta,
        len: u64,
        records: &mut Vec<u8>,
    ) -> io::Result<()> {
        if path.len() > NAME_MAX_LEN {
            put_record(records, b"path", path);
        }
        if target.len() > NAME_MAX_LEN {
            put_record(records, b"linkpath", target);
        }
        if len > PLAIN_SIZE_MAX {
            put_record(records, b"size", len.to_string().as_bytes());
        }
        if !records.is_empty() {
            let len = records.len() as u64;
            self.header(EntryType::XHeader, b"PaxHeaders/entry", b"", meta, len)?;
            self.out.write_all(records)?;
            self.pad(len)?;
        }
        self.header(kind, path, target, meta, len)
    }

    fn header(
        &mut self,
        kind: EntryType,
        path: &[u8],
        target: &[u8],
        meta: EntryMeta,
        len: u64,
    ) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(meta.mode & 0o7777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(meta.mtime_s.min(PLAIN_SIZE_MAX));
        // A larger one stands in a record before it.
        header.set_size(if len > PLAIN_SIZE_MAX { 0 } else { len });
        let fields = header.as_old_mut();
        put(&mut fields.name, path);
        put(&mut fields.linkname, target);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK_LEN][..padding(len) as usize])
    }
}

/// As much of it as fits; the whole stands in a record then.
fn put(field: &mut [u8], text: &[u8]) {
    let len = field.len().min(text.len());
    field[..len].copy_from_slice(&text[..len]);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use super::*;
    use crate::command::Command;
    use crate::sparse::data_runs;

    const META: EntryMeta = EntryMeta { mode: 0o644, mtime_s: 1_700_000_000 };

    async fn unpacked(archive: &Path) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        Command::new("tar").arg("-C").arg(dir.path()).arg("-xf").arg(archive).run().await.unwrap();
        dir
    }

    #[tokio::test]
    async fn gnu_tar_reads_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        let long = "d/".to_owned() + &"n".repeat(150);
        let target = "t".repeat(150);
        let mut writer = TarWriter::new(File::create(&archive).unwrap());
        writer.directory(b"d", EntryMeta { mode: 0o755, ..META }).unwrap();
        writer.file(long.as_bytes(), META, 5, &mut &b"hello, world"[..]).unwrap();
        writer.symlink(b"d/link", target.as_bytes(), META).unwrap();
        writer.finish().unwrap();
        let tree = unpacked(&archive).await;
        assert_eq!(std::fs::read(tree.path().join(&long)).unwrap(), b"hello");
        assert_eq!(std::fs::read_link(tree.path().join("d/link")).unwrap(), Path::new(&target));
        assert_eq!(tree.path().join(&long).metadata().unwrap().mtime(), 1_700_000_000);
    }

    #[tokio::test]
    async fn a_sparse_file_takes_its_data_only_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        let len = 9 << 30;
        for data in [&[][..], &[0, 1 << 32], &[len - 5]] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(len).unwrap();
            data.iter().for_each(|offset| file.write_all_at(b"data!", *offset).unwrap());
            let runs = data_runs(&file, len).unwrap();
            let mut written = 0;
            let mut writer = TarWriter::new(File::create(&archive).unwrap());
            let add = writer.sparse_file("disk", META, (&file, len), &runs, &mut |more| {
                written += more;
                Ok(())
            });
            add.unwrap();
            writer.finish().unwrap();
            assert_eq!(written, runs.iter().map(|run| run.len).sum::<u64>());
            assert!(archive.metadata().unwrap().len() < 16 << 20);
            let tree = unpacked(&archive).await;
            let disk = File::open(tree.path().join("disk")).unwrap();
            assert_eq!(disk.metadata().unwrap().len(), len);
            for offset in data {
                let mut bytes = [0; 5];
                disk.read_exact_at(&mut bytes, *offset).unwrap();
                assert_eq!(&bytes, b"data!");
            }
            assert_eq!(data_runs(&disk, len).unwrap().is_empty(), data.is_empty());
        }
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let mut writer = TarWriter::new(Vec::new());
        let error = writer.file(b"f", META, 6, &mut &b"short"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
