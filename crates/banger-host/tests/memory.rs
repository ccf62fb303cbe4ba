//! How much memory an image takes to build. Alone in its process: the peak is the process's.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic and print")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use banger_host::ext4::{Ext4Options, ImageSize, layers_to_ext4};
use tar::{EntryType, Header};

/// As many as the largest images have that are around; more with `BANGER_TEST_FILES`.
const FILES: usize = 200_000;

const PEAK_MAX_KIB: u64 = 100 << 10;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Names as long as those of a distribution, in directories of 16.
fn write_tar(path: &Path, files: std::ops::Range<usize>) {
    let mut tar = BufWriter::new(File::create(path).unwrap());
    for index in files {
        let mut header = Header::new_gnu();
        let (directory, subdirectory) = (index / 4096, index / 16 % 256);
        let name =
            format!("usr/share/package-{directory}/part-{subdirectory}/file-of-the-package-{index}.data");
        let content = if index % 16 == 0 { &[b'x'; 700][..] } else { &[] };
        header.set_entry_type(EntryType::Regular);
        header.set_path(name).unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000 + index as u64);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.write_all(header.as_bytes()).unwrap();
        tar.write_all(content).unwrap();
        tar.write_all(&[0; 511][..content.len().next_multiple_of(512) - content.len()]).unwrap();
    }
    tar.write_all(&[0; 1024]).unwrap();
}

#[test]
fn an_image_of_many_files_takes_little_memory() {
    let files = std::env::var("BANGER_TEST_FILES").map_or(FILES, |files| files.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let layers = [dir.path().join("0"), dir.path().join("1")];
    write_tar(&layers[0], 0..files * 3 / 4);
    write_tar(&layers[1], files / 2..files);
    let (before, started) = (peak_kib(), Instant::now());
    let options =
        Ext4Options { size: ImageSize::Headroom { min_bytes: 0 }, label: "many".into(), uuid: [9; 16] };
    let image = dir.path().join("image");
    let summary = layers_to_ext4(&layers, &image, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    println!(
        "{} entries: {} MiB at most, {} before, {:.1} s",
        summary.entries,
        peak_kib() >> 10,
        before >> 10,
        started.elapsed().as_secs_f64()
    );

    assert!(summary.entries > files as u64);
    assert!(peak_kib() < PEAK_MAX_KIB, "{} KiB", peak_kib());
}
