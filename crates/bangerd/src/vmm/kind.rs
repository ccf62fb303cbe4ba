use std::path::Path;
use std::sync::Arc;

use super::{Qemu, Vmm, VmmError};

/// Which VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmmKind {
    Qemu,
    /// The tests' own.
    #[cfg(test)]
    Fake,
}

impl VmmKind {
    const ALL: &[Self] = &[
        Self::Qemu,
        #[cfg(test)]
        Self::Fake,
    ];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            #[cfg(test)]
            Self::Fake => "fake",
        }
    }

    /// The VMM of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// In the API's words. What no build of ours can have stored is shown as the VMM that it would be by
    /// default.
    pub fn stored_to_api(name: &str) -> banger_api::vm::VmmKind {
        Self::parse(name).unwrap_or(Self::Qemu).to_api()
    }

    fn to_api(self) -> banger_api::vm::VmmKind {
        match self {
            Self::Qemu => banger_api::vm::VmmKind::Qemu,
            // No client ever sees it.
            #[cfg(test)]
            Self::Fake => banger_api::vm::VmmKind::Qemu,
        }
    }
}

impl From<banger_api::vm::VmmKind> for VmmKind {
    fn from(kind: banger_api::vm::VmmKind) -> Self {
        match kind {
            banger_api::vm::VmmKind::Qemu => Self::Qemu,
        }
    }
}

/// The VMMs that this daemon can use: the one place where a further one is entered.
#[derive(Clone)]
pub struct Vmms(Vec<Arc<dyn Vmm>>);

impl Vmms {
    /// Those that a daemon uses. `launcher` is `bangerd` itself.
    pub fn of_this_host(qemu: &Path, launcher: &Path) -> Self {
        Self(vec![Arc::new(Qemu::new(qemu.into(), Some(launcher.into())))])
    }

    pub fn new(all: Vec<Arc<dyn Vmm>>) -> Self {
        Self(all)
    }

    /// The VMM of that kind.
    ///
    /// # Errors
    ///
    /// When this daemon has none of that kind.
    pub fn get(&self, kind: VmmKind) -> Result<&Arc<dyn Vmm>, VmmError> {
        let found = self.0.iter().find(|vmm| vmm.kind() == kind);
        found.ok_or_else(|| VmmError::Unknown { name: kind.name().into() })
    }

    /// The VMM that the store calls `name`.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn named(&self, name: &str) -> Result<&Arc<dyn Vmm>, VmmError> {
        self.get(VmmKind::parse(name).ok_or_else(|| VmmError::Unknown { name: name.into() })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_no_other_is() {
        for kind in VmmKind::ALL {
            assert_eq!(VmmKind::parse(kind.name()), Some(*kind));
        }
        let none = Vmms::new(Vec::new());
        for name in ["", "QEMU", "crosvm", "qemu"] {
            assert!(matches!(none.named(name), Err(VmmError::Unknown { .. })), "{name}");
        }
    }
}
