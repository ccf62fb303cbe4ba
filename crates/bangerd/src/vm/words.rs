//! The API's words, and the store's, which happen to be the same today.

use banger_api::ports::PortForward;
use banger_api::{vm, workspace};

use crate::store::StoredForward;
use crate::store::words::{Acceleration, Init, Lifetime, Network, WorkspaceMode};

macro_rules! same_words {
    ($wire:ty, $stored:ty: $($word:ident),+) => {
        impl From<$wire> for $stored {
            fn from(word: $wire) -> Self {
                match word { $(<$wire>::$word => Self::$word),+ }
            }
        }

        impl From<$stored> for $wire {
            fn from(word: $stored) -> Self {
                match word { $(<$stored>::$word => Self::$word),+ }
            }
        }
    };
}

same_words!(vm::NetworkMode, Network: User, None);
same_words!(vm::InitChoice, Init: Auto, Agent);
same_words!(vm::Lifetime, Lifetime: Kept, UntilStopped, Leased);
same_words!(vm::Acceleration, Acceleration: Kvm, Tcg);
same_words!(workspace::WorkspaceMode, WorkspaceMode: Shallow, Full, Metadata);

impl From<PortForward> for StoredForward {
    fn from(PortForward { address, local, guest }: PortForward) -> Self {
        Self { address, local, guest }
    }
}

impl From<StoredForward> for PortForward {
    fn from(StoredForward { address, local, guest }: StoredForward) -> Self {
        Self { address, local, guest }
    }
}
