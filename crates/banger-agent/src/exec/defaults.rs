//! What the image's maker wants commands to get: environment and directory. An image is foreign, so
//! everything in there is looked at before it is used, and what no command could have is left out.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::messages::CommandDefaults;

use super::command::Environment;

/// Linux starts no program with a longer string in its environment (`MAX_ARG_STRLEN`, with its NUL).
const ENTRY_MAX_LEN: usize = 128 * 1024 - 1;

/// Linux gives arguments and environment 2 MiB together. The image gets half of it, the user has the rest.
const ENTRIES_MAX_LEN: usize = 1024 * 1024;

/// What the kernel adds for each entry: the NUL and a pointer.
const ENTRY_OVERHEAD: usize = 9;

/// Longest part of an image's text in a warning, in characters.
const SHOWN_CHARS: usize = 60;

/// The image's wishes, as far as they can be granted.
#[derive(Debug, Default)]
pub struct ImageDefaults {
    pub(super) environment: Environment,
    pub(super) working_dir: Option<PathBuf>,
}

impl ImageDefaults {
    pub(super) const fn none() -> Self {
        Self { environment: Environment::new(), working_dir: None }
    }

    /// Also answers what was left out, for people.
    pub fn checked(wanted: &CommandDefaults) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let environment = environment(wanted, &mut warnings);
        let working_dir = wanted.working_dir.as_ref().filter(|dir| !dir.as_bytes().is_empty());
        let working_dir = working_dir.and_then(|dir| {
            let usable = checked_dir(dir.as_os_str());
            if usable.is_none() {
                let text = printable(dir.as_os_str());
                warnings.push(format!(
                    "the image's working directory {text} is not used: it is no absolute path without `..`"
                ));
            }
            usable
        });
        (Self { environment, working_dir }, warnings)
    }

    /// The image's working directory, which is made if it is missing, as container engines do; none when
    /// there is none.
    ///
    /// # Errors
    ///
    /// When it is missing and cannot be made.
    pub fn make_working_dir(&self) -> Option<io::Result<&Path>> {
        let dir = self.working_dir.as_deref()?;
        Some(if dir.is_dir() { Ok(dir) } else { std::fs::create_dir_all(dir).map(|()| dir) })
    }
}

fn environment(wanted: &CommandDefaults, warnings: &mut Vec<String>) -> Environment {
    let mut environment = Environment::new();
    let (mut malformed, mut too_long) = (LeftOut::default(), LeftOut::default());
    let mut total = 0;
    for entry in &wanted.env {
        let bytes = entry.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let Some(at) = at.filter(|_| !bytes.contains(&0)) else {
            malformed.add(bytes);
            continue;
        };
        let len = bytes.len() + ENTRY_OVERHEAD;
        if bytes.len() > ENTRY_MAX_LEN || total + len > ENTRIES_MAX_LEN {
            too_long.add(bytes);
            continue;
        }
        total += len;
        environment.insert(bytes_to_os(&bytes[..at]), bytes_to_os(&bytes[at + 1..]));
    }
    warnings.extend(malformed.warning("is not NAME=VALUE"));
    warnings.extend(too_long.warning("is more than a program's environment can hold"));
    environment
}

fn bytes_to_os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

/// Entries that are not used: how many, and the first of them.
#[derive(Default)]
struct LeftOut {
    count: usize,
    first: Option<String>,
}

impl LeftOut {
    fn add(&mut self, entry: &[u8]) {
        self.count += 1;
        self.first.get_or_insert_with(|| printable(OsStr::from_bytes(entry)));
    }

    fn warning(self, why: &str) -> Option<String> {
        let first = self.first?;
        let others = match self.count - 1 {
            0 => String::new(),
            1 => " (and one more entry)".to_owned(),
            n => format!(" (and {n} more entries)"),
        };
        Some(format!("of the image's environment, {first}{others} is not used: it {why}"))
    }
}

fn printable(text: &OsStr) -> String {
    let beginning = &text.as_bytes()[..text.len().min(4 * SHOWN_CHARS)];
    let text: String = String::from_utf8_lossy(beginning).chars().take(SHOWN_CHARS).collect();
    format!("{text:?}")
}

fn checked_dir(dir: &OsStr) -> Option<PathBuf> {
    let path = Path::new(dir);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let usable = path.is_absolute() && plain && !dir.as_bytes().contains(&0);
    usable.then(|| path.components().collect())
}

#[cfg(test)]
mod tests {
    use banger_guest_protocol::ByteString;
    use proptest::prelude::*;

    use super::*;

    fn checked(env: &[&[u8]], dir: Option<&str>) -> (ImageDefaults, Vec<String>) {
        ImageDefaults::checked(&CommandDefaults {
            env: env.iter().map(|entry| entry.to_vec().into()).collect(),
            working_dir: dir.map(ByteString::from),
        })
    }

    #[test]
    fn the_last_value_of_a_name_wins_and_values_are_any_bytes() {
        let (defaults, warnings) = checked(&[b"A=1", b"B=x=\xff", b"A=2", b"EMPTY="], Some("/app//x/./y"));
        let pairs: Vec<_> = defaults.environment.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        assert_eq!(pairs, [(&b"A"[..], &b"2"[..]), (b"B", b"x=\xff"), (b"EMPTY", b"")]);
        assert_eq!(defaults.working_dir.as_deref(), Some(Path::new("/app/x/y")));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn what_is_no_variable_is_left_out_and_named_once() {
        let (defaults, warnings) = checked(&[b"NOTHING", b"=x", b"", b"A=\0", b"\0=1", b"B=1"], None);
        assert_eq!(defaults.environment.len(), 1);
        assert_eq!(
            warnings,
            [
                "of the image's environment, \"NOTHING\" (and 4 more entries) is not used: it is not NAME=VALUE"
            ]
        );
    }

    #[test]
    fn a_huge_environment_is_cut_to_what_programs_can_have() {
        let one = [b"HUGE=".to_vec(), vec![b'x'; 1 << 20]].concat();
        let many: Vec<Vec<u8>> =
            (0..40).map(|n| [format!("V{n}=").into_bytes(), vec![b'y'; 100_000]].concat()).collect();
        let entries: Vec<&[u8]> = std::iter::once(&one).chain(&many).map(Vec::as_slice).collect();
        let (defaults, warnings) = checked(&entries, None);
        assert!(!defaults.environment.contains_key(OsStr::new("HUGE")));
        assert_eq!(defaults.environment.len(), 10);
        assert!(warnings.len() == 1 && warnings[0].len() < 300, "{warnings:?}");
        assert!(warnings[0].contains("HUGE") && warnings[0].contains("30 more"), "{warnings:?}");
    }

    #[test]
    fn only_absolute_directories_without_dots_are_used() {
        for dir in ["app", "../x", "/a/../b", "/..", "/a\0b", "."] {
            let (defaults, warnings) = checked(&[], Some(dir));
            assert_eq!((defaults.working_dir, warnings.len()), (None, 1), "{dir:?}");
        }
        let (defaults, warnings) = checked(&[], Some(""));
        assert_eq!((defaults.working_dir, warnings.len()), (None, 0));
    }

    #[test]
    fn a_missing_directory_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let (defaults, _) = checked(&[], dir.to_str());
        assert_eq!(defaults.make_working_dir().unwrap().unwrap(), dir);
        assert!(dir.is_dir());
        std::fs::remove_dir_all(parent.path().join("a")).unwrap();
        std::fs::write(parent.path().join("a"), "").unwrap();
        assert!(defaults.make_working_dir().unwrap().is_err());
        assert!(ImageDefaults::default().make_working_dir().is_none());
    }

    proptest! {
        #[test]
        fn any_wishes_give_an_environment_that_a_program_can_have(
            env: Vec<Vec<u8>>, dir in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
        ) {
            let wanted = CommandDefaults {
                env: env.into_iter().map(ByteString::from).collect(),
                working_dir: dir.map(ByteString::from),
            };
            let (defaults, _) = ImageDefaults::checked(&wanted);
            for (name, value) in &defaults.environment {
                prop_assert!(!name.is_empty() && !name.as_bytes().contains(&b'='));
                prop_assert!(!name.as_bytes().contains(&0) && !value.as_bytes().contains(&0));
            }
            prop_assert!(defaults.working_dir.is_none_or(|dir| dir.is_absolute()));
        }
    }
}
