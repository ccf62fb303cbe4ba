use std::fmt;

/// A VM's identity: 12 lower-case hexadecimal digits, random. It names the VM's directory and marks its
/// processes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(String);

impl VmId {
    const LEN: usize = 12;

    /// Makes a new one.
    pub fn random() -> Self {
        let mut bytes = [0; Self::LEN / 2];
        fill_random(&mut bytes);
        Self(hex::encode(bytes))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == Self::LEN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fills `bytes` from the kernel's random number generator.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("Linux has random bytes for whoever asks");
}
