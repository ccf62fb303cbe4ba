//! The signature that a distribution appends to each kernel module.

/// What a signed module ends with (`MODULE_SIG_STRING` in Linux's `module_signature.h`).
const MAGIC: &[u8] = b"~Module signature appended~\n";

/// Length of `struct module_signature`, which stands before the magic; its last field is the big-endian
/// length of the signature before it.
const DESCRIPTION_LEN: usize = 12;

/// The module without its appended signature; unchanged when it has none, or one whose length makes no sense.
///
/// Each signature costs an emulated guest about 25 ms to check (docs/decisions/0006), and proves nothing
/// here: the modules lie in an initramfs that the host makes, beside a kernel that nobody checks either.
pub(crate) fn without_signature(mut module: Vec<u8>) -> Vec<u8> {
    if let Some(len) = unsigned_len(&module) {
        module.truncate(len);
    }
    module
}

fn unsigned_len(module: &[u8]) -> Option<usize> {
    let signed = module.strip_suffix(MAGIC)?;
    let (rest, description) = signed.split_last_chunk::<DESCRIPTION_LEN>()?;
    let [.., a, b, c, d] = *description;
    let signature = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    rest.len().checked_sub(signature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(module: &[u8], signature_len: u32) -> Vec<u8> {
        let mut bytes = module.to_vec();
        bytes.extend([7; 100]);
        bytes.extend([0, 0, 2, 0, 0, 0, 0, 0]);
        bytes.extend(signature_len.to_be_bytes());
        bytes.extend(MAGIC);
        bytes
    }

    #[test]
    fn a_signature_is_cut_off_to_the_byte() {
        assert_eq!(without_signature(signed(b"\x7fELF module", 100)), b"\x7fELF module");
    }

    #[test]
    fn what_is_not_signed_stays() {
        let odd = signed(b"module", u32::MAX);
        for module in [b"".as_slice(), b"\x7fELF module", MAGIC, &odd] {
            assert_eq!(without_signature(module.to_vec()), module);
        }
    }

    proptest! {
        #[test]
        fn any_end_is_survived(module: Vec<u8>, len: u32, end in 0..200_usize) {
            let mut bytes = signed(&module, len);
            bytes.drain(..end.min(bytes.len()));
            let cut = without_signature(bytes.clone());
            prop_assert!(bytes.starts_with(&cut));
        }
    }
}
