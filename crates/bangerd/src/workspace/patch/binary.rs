//! Binary content: compressed and in base 85. It is unpacked to see that it is sound, and whether it is text.
//!
//! When `git apply` meets a section that is not, it stops reading there and still applies what came before,
//! with success: what we take for changed after that place would not be.

use std::io::BufRead;

use flate2::{Decompress, FlushDecompress, Status};

use super::binary_text::{BinaryText, Form};
use super::header::decimal;
use super::lines::LineReader;
use super::{PatchError, PatchEvents};

pub(super) const FIRST_LINE: &[u8] = b"GIT binary patch";

/// Bytes that a full line stands for.
const FULL_BYTES: usize = 52;

/// Git holds all of it in memory, unpacked, to apply it.
pub(super) const MAX_UNPACKED_BYTES: u64 = 2 << 30;

/// Room for what comes out of one line at a time.
const UNPACKED_BYTES: usize = 32 << 10;

/// Reads `GIT binary patch`, the section that makes the new content of the old, and the one that goes back.
/// `room` is what all sections that are to come may unpack to.
pub(super) fn read<R: BufRead, E: PatchEvents>(
    lines: &mut LineReader<R>,
    events: &mut E,
    room: &mut u64,
) -> Result<(), PatchError> {
    lines.expect(FIRST_LINE, "`GIT binary patch`")?;
    read_section(lines, events, room)?;
    read_section(lines, &mut (), room)
}

fn read_section<R: BufRead, E: PatchEvents>(
    lines: &mut LineReader<R>,
    events: &mut E,
    room: &mut u64,
) -> Result<(), PatchError> {
    let form = if lines.after("delta ").is_some() { Form::Delta } else { Form::Literal };
    let size = lines.after("literal ").or_else(|| lines.after("delta ")).and_then(decimal);
    let Some(size) = size else {
        return Err(lines.unexpected("`literal` or `delta` with a size"));
    };
    let too_much = PatchError::UnpacksTooFar { limit_bytes: MAX_UNPACKED_BYTES };
    *room = room.checked_sub(size).ok_or(too_much)?;
    lines.advance()?;
    let mut unpacking = Unpacking::new(size);
    let mut text = BinaryText::new(events, form);
    let mut may_go_on = true;
    while lines.whole() != Some(b"") {
        let line = lines.whole().filter(|_| may_go_on).and_then(decode);
        let Some(bytes) = line.filter(|bytes| unpacking.take(bytes, &mut text)) else {
            return Err(lines.unexpected("a sound line of base 85, or the empty line after the last one"));
        };
        may_go_on = bytes.len() == FULL_BYTES;
        lines.advance()?;
    }
    if !unpacking.is_complete() {
        return Err(lines.unexpected("more of the binary content"));
    }
    text.finish();
    lines.advance()
}

/// Compressed content on its way: what comes out is counted, looked at and forgotten.
struct Unpacking {
    state: Decompress,
    unpacked: Vec<u8>,
    left: u64,
    has_ended: bool,
}

impl Unpacking {
    fn new(size: u64) -> Self {
        let unpacked = vec![0; UNPACKED_BYTES];
        Self { state: Decompress::new(true), unpacked, left: size, has_ended: false }
    }

    /// Takes more compressed bytes, and says whether they make sense.
    fn take<E: PatchEvents>(&mut self, bytes: &[u8], text: &mut BinaryText<'_, E>) -> bool {
        let mut rest = bytes;
        loop {
            let (read_before, written_before) = (self.state.total_in(), self.state.total_out());
            let result = self.state.decompress(rest, &mut self.unpacked, FlushDecompress::None);
            let read = self.state.total_in() - read_before;
            let written = self.state.total_out() - written_before;
            let (Ok(status), Some(left)) = (result, self.left.checked_sub(written)) else { return false };
            self.left = left;
            text.take(
                usize::try_from(written).ok().and_then(|len| self.unpacked.get(..len)).unwrap_or_default(),
            );
            rest = usize::try_from(read).ok().and_then(|read| rest.get(read..)).unwrap_or_default();
            if status == Status::StreamEnd {
                // Twice, if more bytes come after the end: then there is something left of them.
                self.has_ended = true;
                return rest.is_empty();
            }
            if read == 0 && written == 0 {
                return rest.is_empty();
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.has_ended && self.left == 0
    }
}

/// The bytes that a line stands for: it begins with a letter for their number, and has five digits for every
/// four.
fn decode(line: &[u8]) -> Option<Vec<u8>> {
    let (letter, digits) = line.split_first()?;
    let count = match letter {
        b'A'..=b'Z' => letter - b'A' + 1,
        b'a'..=b'z' => letter - b'a' + 27,
        _ => return None,
    };
    let count = usize::from(count);
    if digits.len() != count.div_ceil(4) * 5 {
        return None;
    }
    let mut bytes = Vec::with_capacity(count + 3);
    for word in digits.chunks(5) {
        let value =
            word.iter().try_fold(0, |value: u64, digit| Some(value * 85 + u64::from(digit_value(*digit)?)));
        bytes.extend(u32::try_from(value?).ok()?.to_be_bytes());
    }
    let is_filled_with_zeros = bytes.drain(count..).all(|byte| byte == 0);
    is_filled_with_zeros.then_some(bytes)
}

fn digit_value(digit: u8) -> Option<u8> {
    const PUNCTUATION: &[u8] = b"!#$%&()*+-;<=>?@^_`{|}~";
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => {
            let place = PUNCTUATION.iter().position(|known| *known == digit)?;
            u8::try_from(place + 62).ok()
        }
    }
}
