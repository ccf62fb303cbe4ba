//! Why the kernel does not start a file that is there and executable. It says "no such file" of the file's
//! interpreter, too, and nothing at all of what it does not know.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::command::is_executable;

/// The kernel looks at no more of a script.
const SHEBANG_MAX_LEN: usize = 256;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What is in the way. Displays as a reason behind "could not start x".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error(
        "its interpreter {interpreter:?} does not exist: the script has Windows line ends (CR LF); make them Unix ones, \
         such as with `sed -i 's/\\r$//' FILE`"
    )]
    WindowsLineEnds { interpreter: PathBuf },
    #[error("its interpreter {} does not exist in the guest", interpreter.display())]
    NoInterpreter { interpreter: PathBuf },
    #[error("its interpreter {} is not executable", interpreter.display())]
    UnusableInterpreter { interpreter: PathBuf },
    #[error(
        "it needs the loader {}, which the guest does not have: it was built for another C library or distribution",
        loader.display()
    )]
    NoLoader { loader: PathBuf },
    #[error("it was built for another kind of processor ({0}); the guest's is x86-64")]
    OtherMachine(&'static str),
    #[error("it begins with a byte order mark, which hides its `#!` line: save it without one")]
    ByteOrderMark,
    #[error("it is empty")]
    Empty,
    #[error("it is no program, and has no `#!` line that names its interpreter")]
    NoProgram,
}

impl Obstacle {
    /// Looks for one; none when the file is none of these.
    pub(super) fn of(program: &Path, workdir: &Path) -> Option<Self> {
        // It explains an error that has been told already; what cannot be read explains nothing.
        let file = File::open(program).ok()?;
        let mut start = Vec::new();
        (&file).take(SHEBANG_MAX_LEN as u64).read_to_end(&mut start).ok()?;
        if let Some(line) = start.strip_prefix(b"#!") {
            return script(line, workdir);
        }
        if start.starts_with(b"\x7FELF") {
            return binary(&file, &start);
        }
        Some(match &start[..] {
            [] => Self::Empty,
            text if text.strip_prefix(BYTE_ORDER_MARK).is_some_and(|text| text.starts_with(b"#!")) => {
                Self::ByteOrderMark
            }
            _ => Self::NoProgram,
        })
    }
}

fn script(line: &[u8], workdir: &Path) -> Option<Obstacle> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).filter(|word| !word.is_empty());
    let name = words.next().filter(|name| *name != b"\r");
    let Some(name) = name else { return Some(Obstacle::NoProgram) };
    let interpreter = PathBuf::from(OsStr::from_bytes(name));
    match is_executable(&workdir.join(&interpreter)) {
        None if name.ends_with(b"\r") => Some(Obstacle::WindowsLineEnds { interpreter }),
        None => Some(Obstacle::NoInterpreter { interpreter }),
        Some(false) => Some(Obstacle::UnusableInterpreter { interpreter }),
        Some(true) => None,
    }
}

/// Reads as much of an ELF file as is needed to see what it asks for. The file is foreign: all of it is
/// checked.
fn binary(file: &File, start: &[u8]) -> Option<Obstacle> {
    const X86_64: u16 = 62;
    const INTERPRETER: u32 = 3;
    let machine = u16::from_le_bytes(*start.get(18..)?.first_chunk()?);
    if machine != X86_64 {
        return Some(Obstacle::OtherMachine(machine_name(machine)));
    }
    let table = u64::from_le_bytes(*start.get(32..)?.first_chunk()?);
    let (entry_len, entries) = (56, u16::from_le_bytes(*start.get(56..)?.first_chunk()?));
    for index in 0..u64::from(entries) {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(index * entry_len)?).ok()?;
        if u32::from_le_bytes(*entry.first_chunk()?) != INTERPRETER {
            continue;
        }
        let offset = u64::from_le_bytes(*entry[8..].first_chunk()?);
        let len = u64::from_le_bytes(*entry[32..].first_chunk()?);
        let mut name = vec![0; usize::try_from(len).ok().filter(|len| *len <= 4096)?];
        file.read_exact_at(&mut name, offset).ok()?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let loader = PathBuf::from(OsStr::from_bytes(name));
        return is_executable(&loader).is_none().then_some(Obstacle::NoLoader { loader });
    }
    None
}

fn machine_name(machine: u16) -> &'static str {
    match machine {
        3 => "32-bit x86",
        40 => "32-bit ARM",
        183 => "64-bit ARM",
        243 => "RISC-V",
        _ => "not known here",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(content: &[u8]) -> Option<Obstacle> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        std::fs::write(&file, content).unwrap();
        Obstacle::of(&file, Path::new("/"))
    }

    #[test]
    fn scripts_name_what_they_lack() {
        let shown = |content: &[u8]| of(content).map(|obstacle| obstacle.to_string()).unwrap_or_default();
        let windows = shown(b"#!/bin/sh\r\necho hi\r\n");
        assert!(
            windows.contains(r#""/bin/sh\r" does not exist"#) && windows.contains("Windows"),
            "{windows}"
        );
        assert!(shown(b"#! /no/such/python -u\n").contains("/no/such/python does not exist"));
        assert!(shown(b"#!/etc/passwd\n").contains("not executable"));
        assert_eq!(shown(b"#!/bin/sh -e\r\n"), "");
        assert_eq!(of(b"\xEF\xBB\xBF#!/bin/sh\n"), Some(Obstacle::ByteOrderMark));
        for none in [&b"#!"[..], b"#!\r\n", b"#!  \n", b"echo hi\n"] {
            assert_eq!(of(none), Some(Obstacle::NoProgram), "{none:?}");
        }
        assert_eq!(of(b""), Some(Obstacle::Empty));
    }

    #[test]
    fn binaries_name_what_they_lack() {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7FELF\x02\x01");
        elf[18] = 62;
        elf[32] = 64;
        elf[56] = 1;
        elf[64] = 3;
        elf[64 + 8] = 120;
        let loader = b"/lib/ld-of-another-house.so.1\0";
        elf[64 + 32] = loader.len() as u8;
        elf.extend_from_slice(loader);
        assert_eq!(of(&elf), Some(Obstacle::NoLoader { loader: "/lib/ld-of-another-house.so.1".into() }));
        elf[18] = 183;
        assert_eq!(of(&elf), Some(Obstacle::OtherMachine("64-bit ARM")));
        assert_eq!(Obstacle::of(Path::new("/proc/self/exe"), Path::new("/")), None);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(mut bytes: Vec<u8>, elf: bool) {
            if elf {
                bytes.splice(..0, *b"\x7FELF");
            }
            let _obstacle = of(&bytes);
        }
    }
}
