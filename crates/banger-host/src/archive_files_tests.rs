use std::io::Write as _;

use tar::{Builder, EntryType, Header};

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[derive(Default)]
struct Tar(Vec<(String, EntryType, String)>);

impl Tar {
    fn file(mut self, name: &str, content: &str) -> Self {
        self.0.push((name.into(), EntryType::Regular, content.into()));
        self
    }

    fn link(mut self, name: &str, kind: EntryType, target: &str) -> Self {
        self.0.push((name.into(), kind, target.into()));
        self
    }

    fn finish(&self) -> tempfile::NamedTempFile {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in &self.0 {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            let is_file = *kind == EntryType::Regular;
            header.set_size(if is_file { content.len() as u64 } else { 0 });
            if !is_file {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, if is_file { content.as_bytes() } else { b"" }).unwrap();
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&builder.into_inner().unwrap()).unwrap();
        file
    }
}

fn opened(tar: &Tar) -> (tempfile::NamedTempFile, Option<ArchiveFiles>) {
    let file = tar.finish();
    let files = ArchiveFiles::in_tar(file.path(), || ControlFlow::Continue(())).unwrap();
    (file, files)
}

fn read(files: &ArchiveFiles, name: &str) -> Result<Option<String>, ArchiveFileError> {
    Ok(files.read(name, 100)?.map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[test]
fn files_are_found_by_name_and_through_links() {
    let tar = Tar::default()
        .file("./manifest.json", "[]")
        .file("/layer.tar", "layer")
        .link("a/layer.tar", EntryType::Symlink, "../layer.tar")
        .link("b/layer.tar", EntryType::Symlink, "layer.tar")
        .link("c/layer.tar", EntryType::Symlink, "/a/layer.tar")
        .link("d/layer.tar", EntryType::Link, "layer.tar")
        .link("out", EntryType::Symlink, "../../../layer.tar")
        .link("lost", EntryType::Symlink, "nowhere")
        .link("loop", EntryType::Symlink, "loop")
        .link("device", EntryType::Char, "")
        .link("pipe", EntryType::Fifo, "");
    let (_file, files) = opened(&tar);
    let files = files.unwrap();
    for name in [
        "layer.tar",
        "./layer.tar",
        "/layer.tar",
        "../layer.tar",
        "a/layer.tar",
        "b/layer.tar",
        "c/layer.tar",
        "d/layer.tar",
        "out",
    ] {
        assert_eq!(read(&files, name).unwrap().as_deref(), Some("layer"), "{name}");
    }
    assert_eq!(read(&files, "../../etc/passwd").unwrap(), None);
    assert_eq!(read(&files, "").unwrap(), None);
    for name in ["lost", "loop"] {
        assert!(matches!(read(&files, name), Err(ArchiveFileError::Links)), "{name}");
    }
    for name in ["device", "pipe"] {
        assert!(matches!(read(&files, name), Err(ArchiveFileError::NoFile { .. })), "{name}");
    }
    assert!(matches!(files.read("layer.tar", 4), Err(ArchiveFileError::TooLarge { len: 5, limit: 4 })));
}

#[test]
fn a_root_filesystem_is_no_archive_and_a_manifest_of_odd_names_is() {
    let (_file, files) =
        opened(&Tar::default().file("bin/sh", "x").file("manifest.json", "[]").file("x.tar", ""));
    assert!(files.is_none());
    let (_file, files) = opened(&Tar::default().file("manifest.json", "[1]").file("program", "x"));
    assert!(files.is_none());
    let manifest = r#"[{"Config":"c","Layers":["l/1.tgz"]}]"#;
    let (_file, files) =
        opened(&Tar::default().file("manifest.json", manifest).file("c", "{}").file("l/1.tgz", ""));
    assert!(files.is_some());
    let (_file, files) = opened(&Tar::default().file("app/oci-layout", "{}").file("app/index.json", "i"));
    assert_eq!(read(&files.unwrap(), "index.json").unwrap().as_deref(), Some("i"));
}

#[test]
fn an_archive_that_is_cut_off_is_no_root_filesystem() {
    let tar =
        Tar::default().file(&format!("blobs/sha256/{HEX}"), "blob").file("index.json", &"x".repeat(600));
    let whole = tar.finish();
    let bytes = std::fs::read(whole.path()).unwrap();
    std::fs::write(whole.path(), &bytes[..2000]).unwrap();
    let result = ArchiveFiles::in_tar(whole.path(), || ControlFlow::Continue(()));
    assert!(matches!(result, Err(ArchiveFileError::Tar(TarError::Cut { .. }))), "{result:?}");
}

#[test]
fn what_has_too_many_files_is_refused_but_not_as_a_root_filesystem() {
    let mut tar = Tar::default().file("oci-layout", "{}");
    for number in 0..ENTRIES_MAX {
        tar = tar.file(&format!("x{number}"), "");
    }
    let result = ArchiveFiles::in_tar(tar.finish().path(), || ControlFlow::Continue(()));
    assert!(matches!(result, Err(ArchiveFileError::Tar(TarError::TooMany { .. }))), "{result:?}");
    let stopped = ArchiveFiles::in_tar(tar.finish().path(), || ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ArchiveFileError::Tar(TarError::Cancelled))), "{stopped:?}");
}

#[test]
fn a_directory_may_be_made_of_links() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ArchiveFiles::in_directory(dir.path()).is_none());
    let blobs = dir.path().join("layout/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let layout = dir.path().join("layout");
    std::fs::write(dir.path().join("elsewhere"), "blob").unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), blobs.join(HEX)).unwrap();
    std::os::unix::fs::symlink("x", blobs.join("x")).unwrap();
    let files = ArchiveFiles::in_directory(&layout).unwrap();
    assert_eq!(read(&files, &format!("blobs/sha256/{HEX}")).unwrap().as_deref(), Some("blob"));
    assert_eq!(read(&files, "../elsewhere").unwrap(), None);
    assert!(matches!(read(&files, "blobs/sha256/x"), Err(ArchiveFileError::Links)));
    assert!(matches!(read(&files, "blobs"), Err(ArchiveFileError::NoFile { .. })));
}
