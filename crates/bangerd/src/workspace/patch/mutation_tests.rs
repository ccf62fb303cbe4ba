//! Real patches with damage, and bytes of no meaning at all: what we accept, git must read the same way.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::git_fixture::numstat;
use super::git_tests::{counted, everything, patch_of};
use super::{Obeyed, Screening, read};

/// Split at newlines, without the one line that would make every mutation slow.
static PATCH: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (mut old, mut new) = everything();
    old.retain(|(_, path, _)| *path != b"binary");
    new.retain(|(_, path, _)| *path != b"long line" && *path != b"binary");
    patch_of(&old, &new).split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
});

/// Lines that mean something to `git apply`, in the right place or the wrong one.
const LINES: &[&str] = &[
    "\n",
    " \n",
    "+\n",
    "-x\n",
    "\\ No newline at end of file\n",
    "\\ Kein Zeilenumbruch am Dateiende.\n",
    "--- a/x\n",
    "+++ b/x\n",
    "--- /dev/null\n",
    "@@ -1 +1 @@\n",
    "@@ -0,0 +1 @@\n",
    "diff --git a/x b/x\n",
    "diff --git a/x b/y\n",
    "index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644\n",
    "old mode 100644\n",
    "new mode 100755\n",
    "new file mode 120000\n",
    "deleted file mode 100644\n",
    "similarity index 100%\n",
    "rename from x\n",
    "rename to y\n",
    "copy from x\n",
    "copy to y\n",
    "rename old x\n",
    "GIT binary patch\n",
    "literal 0\n",
    "HcmV?d00001\n",
    "Binary files a/x and b/x differ\n",
    "-- \n",
    "Index: x\n",
];

#[derive(Debug, Clone)]
enum Damage {
    Remove(usize),
    Repeat(usize),
    Swap(usize, usize),
    Insert(usize, usize),
    SetByte(usize, usize, u8),
    InsertByte(usize, usize, u8),
    RemoveByte(usize, usize),
    CutOff(usize),
    Move(usize, usize, usize),
}

impl Damage {
    fn apply(&self, lines: &mut Vec<Vec<u8>>) {
        let count = lines.len();
        let byte_at = |lines: &Vec<Vec<u8>>, line: usize, place: usize| place % lines[line].len().max(1);
        match *self {
            Self::Remove(line) => drop(lines.remove(line % count)),
            Self::Repeat(line) => lines.insert(line % count, lines[line % count].clone()),
            Self::Swap(one, other) => lines.swap(one % count, other % count),
            Self::Insert(line, which) => lines.insert(line % count, LINES[which % LINES.len()].into()),
            Self::SetByte(line, place, byte) => {
                let place = byte_at(lines, line % count, place);
                if let Some(found) = lines[line % count].get_mut(place) {
                    *found = byte;
                }
            }
            Self::InsertByte(line, place, byte) => {
                let place = byte_at(lines, line % count, place);
                lines[line % count].insert(place, byte);
            }
            Self::RemoveByte(line, place) => {
                let place = byte_at(lines, line % count, place);
                if place < lines[line % count].len() {
                    lines[line % count].remove(place);
                }
            }
            Self::CutOff(line) => lines.truncate(line % count + 1),
            Self::Move(from, length, to) => {
                let from = from % count;
                let moved: Vec<_> = lines.drain(from..(from + length).min(count)).collect();
                let to = to % (lines.len() + 1);
                lines.splice(to..to, moved);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let telling = b"\n\t \r\"\\\0/+-@.01abdfn~".to_vec();
    let byte = prop_oneof![proptest::sample::select(telling), any::<u8>()];
    let (line, place) = (0..100_000_usize, 0..80_usize);
    prop_oneof![
        line.clone().prop_map(Damage::Remove),
        line.clone().prop_map(Damage::Repeat),
        (line.clone(), line.clone()).prop_map(|(one, other)| Damage::Swap(one, other)),
        (line.clone(), line.clone()).prop_map(|(line, which)| Damage::Insert(line, which)),
        (line.clone(), place.clone(), byte.clone()).prop_map(|(l, p, b)| Damage::SetByte(l, p, b)),
        (line.clone(), place.clone(), byte).prop_map(|(l, p, b)| Damage::InsertByte(l, p, b)),
        (line.clone(), place.clone()).prop_map(|(l, p)| Damage::RemoveByte(l, p)),
        line.clone().prop_map(Damage::CutOff),
        (line.clone(), place, line).prop_map(|(from, length, to)| Damage::Move(from, length, to)),
    ]
}

/// A few whole files of the patch, so that damage often meets the same place twice and often leaves it sound.
fn excerpt(start: usize, files: usize) -> Vec<Vec<u8>> {
    let begins = |line: &[u8]| line.starts_with(b"diff --git ");
    let heads: Vec<usize> = (0..PATCH.len()).filter(|line| begins(&PATCH[*line])).collect();
    let first = start % heads.len();
    let end = heads.get(first + files).copied().unwrap_or(PATCH.len());
    PATCH[heads[first]..end].to_vec()
}

/// The property: what we accept, git reads the same way. Says whether it was accepted.
fn assert_no_second_reading(patch: &[u8]) -> Result<bool, TestCaseError> {
    let mut screening = Screening::new();
    let Ok(changes) = read(patch, &mut screening) else { return Ok(false) };
    screening.finish(&changes, [], &Obeyed::default());
    prop_assert_eq!(Some(counted(&changes)), numstat(patch));
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn git_reads_what_we_accept_as_we_do(
        start in 0..1000_usize,
        files in 1..4_usize,
        damages in proptest::collection::vec(damage(), 1..4),
    ) {
        let mut lines = excerpt(start, files);
        for damage in damages {
            damage.apply(&mut lines);
            if lines.is_empty() {
                break;
            }
        }
        assert_no_second_reading(&lines.concat())?;
    }

    #[test]
    fn lines_thrown_together_have_no_second_reading(
        which in proptest::collection::vec(0..LINES.len(), 0..12),
    ) {
        let text: String = which.into_iter().map(|line| LINES[line]).collect();
        assert_no_second_reading(text.as_bytes())?;
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
        let _ = read(bytes.as_slice(), &mut Screening::new());
    }
}

/// The property above says little if damage is always noticed.
#[test]
fn some_damage_is_accepted() {
    let mut accepted = 0;
    for start in 0..60 {
        for which in 0..12 {
            let mut lines = excerpt(start, 1);
            let last = lines.len() - 1;
            Damage::SetByte(last, 1 + which, b'x').apply(&mut lines);
            accepted += usize::from(assert_no_second_reading(&lines.concat()).unwrap());
        }
    }
    assert!(accepted > 100, "{accepted}");
}
