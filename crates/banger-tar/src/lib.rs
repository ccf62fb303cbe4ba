//! The tar format, as far as all of banger's readers and writers share it: header blocks, PAX records, and
//! the maps of sparse files. Pure, and without I/O.
//!
//! What an archive may hold, how long its parts may be, and what people are told of a bad one is each
//! reader's own: layers of images are foreign and of every age, a bundle holds nothing but plain files, and
//! what a guest sends is believed in nothing. So nothing here has an error type: `None` means that the bytes
//! are not of the form, and no more memory is taken than a small multiple of the bytes that were handed in.

mod header;
pub mod pax;
pub mod sparse;

pub use header::{Header, Reading};

/// Headers and contents take whole blocks of so many bytes.
pub const BLOCK_LEN: usize = 512;

/// How many bytes follow a content of `size` bytes to fill its last block.
pub fn padding(size: u64) -> u64 {
    let block = BLOCK_LEN as u64;
    (block - size % block) % block
}
