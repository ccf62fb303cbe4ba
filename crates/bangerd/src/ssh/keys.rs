//! Ed25519 keys in the form of OpenSSH's files.
//!
//! The arithmetic is `ring`'s. The file's form is written here: it is forty lines, while the crate that knows
//! it (`ssh-key`) brings forty others. `ssh-keygen` would be a program without which no VM could be started.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::identity::fill_random;

const ALGORITHM: &[u8] = b"ssh-ed25519";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
/// Of base64 in a line.
const LINE_LEN: usize = 70;
const SEED_LEN: usize = 32;
/// A private part is padded to a multiple of this.
const BLOCK_LEN: usize = 8;

/// A private key with its public one.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    seed: [u8; SEED_LEN],
    public: [u8; 32],
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPair").field(&self.public_line("")).finish()
    }
}

impl KeyPair {
    pub(super) fn generate() -> Self {
        loop {
            let mut seed = [0; SEED_LEN];
            fill_random(&mut seed);
            // Any 32 bytes are a key; another try costs less than an error that nobody can get.
            if let Some(pair) = Self::from_seed(seed) {
                return pair;
            }
        }
    }

    fn from_seed(seed: [u8; SEED_LEN]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { seed, public })
    }

    /// As it stands in `authorized_keys`, in `known_hosts` and in a `.pub` file, without a line's end.
    pub fn public_line(&self, comment: &str) -> String {
        format!("ssh-ed25519 {} {comment}", STANDARD.encode(self.public_blob())).trim_end().to_owned()
    }

    /// The private key's file, without a passphrase.
    pub fn private_file(&self, comment: &str) -> String {
        let mut check = [0; 4];
        fill_random(&mut check);
        let mut private = [check, check].concat();
        put(&mut private, ALGORITHM);
        put(&mut private, &self.public);
        put(&mut private, &[self.seed, self.public].concat());
        put(&mut private, comment.as_bytes());
        private.extend((1_u8..).take(private.len().next_multiple_of(BLOCK_LEN) - private.len()));

        let mut file = MAGIC.to_vec();
        for word in [&b"none"[..], b"none", b""] {
            put(&mut file, word);
        }
        file.extend(1_u32.to_be_bytes());
        put(&mut file, &self.public_blob());
        put(&mut file, &private);
        let encoded = STANDARD.encode(file);
        let mut text = format!("{BEGIN}\n");
        for line in encoded.as_bytes().chunks(LINE_LEN) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text + END + "\n"
    }

    /// Reads what [`Self::private_file`] has written. None for anything else: keys with a passphrase and of
    /// other kinds among it.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(file).ok()?;
        let encoded: String =
            text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?.split_whitespace().collect();
        let bytes = STANDARD.decode(encoded).ok()?;
        let mut rest = bytes.strip_prefix(MAGIC)?;
        for expected in [&b"none"[..], b"none", b""] {
            (take(&mut rest)? == expected).then_some(())?;
        }
        rest = rest.strip_prefix(&1_u32.to_be_bytes())?;
        let _public = take(&mut rest)?;
        let mut private = take(&mut rest)?.get(8..)?;
        (take(&mut private)? == ALGORITHM).then_some(())?;
        let public = take(&mut private)?;
        let secret = take(&mut private)?;
        let pair = Self::from_seed(secret.get(..SEED_LEN)?.try_into().ok()?)?;
        (pair.public == public && secret.get(SEED_LEN..)? == public).then_some(pair)
    }

    fn public_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put(&mut blob, ALGORITHM);
        put(&mut blob, &self.public);
        blob
    }
}

/// A string of SSH's: its length, then its bytes.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_be_bytes());
    to.extend(bytes);
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = from.split_first_chunk::<4>()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn the_public_key_is_the_standards() {
        let seed: [u8; 32] = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap()
            .try_into()
            .unwrap();
        let pair = KeyPair::from_seed(seed).unwrap();
        assert_eq!(
            hex::encode(pair.public),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[tokio::test]
    async fn ssh_keygen_reads_it() {
        if banger_host::command::find_program("ssh-keygen").is_err() {
            println!("skipped: no ssh-keygen");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for comment in ["", "a", "brave-otter", "1234567"] {
            let pair = KeyPair::generate();
            std::fs::write(&path, pair.private_file(comment)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let keygen = banger_host::command::Command::new("ssh-keygen").args(["-y", "-f"]).arg(&path);
            let said = String::from_utf8(keygen.run().await.unwrap().stdout).unwrap();
            assert_eq!(said.trim_end(), pair.public_line(comment));
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let pair = KeyPair::generate();
        let file = pair.private_file("x");
        assert_eq!(KeyPair::parse(file.as_bytes()), Some(pair));
        assert_ne!(
            KeyPair::parse(KeyPair::generate().private_file("x").as_bytes()),
            KeyPair::parse(file.as_bytes())
        );
        for cut in 0..file.len() - 1 {
            assert_eq!(KeyPair::parse(&file.as_bytes()[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, at in 0_usize..400, byte: u8) {
            KeyPair::parse(&bytes);
            let mut file = KeyPair::generate().private_file("x").into_bytes();
            let at = at % file.len();
            file[at] = byte;
            KeyPair::parse(&file);
        }
    }
}
