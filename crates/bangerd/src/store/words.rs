//! Words that the store and the files beside VMs keep. They are the store's own: whatever is renamed
//! elsewhere, what lies on users' disks stays readable.

use serde::{Deserialize, Serialize};

/// How a VM is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Outbound through a user-mode stack.
    User,
    None,
}

/// Who becomes PID 1 in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The image's own init when it has one, else the agent.
    Auto,
    Agent,
}

/// How long a VM is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// Until somebody deletes it.
    Kept,
    /// Until it stops.
    UntilStopped,
    /// As long as the connection that asked for it, or until it stops.
    Leased,
}

/// What executes a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acceleration {
    Kvm,
    Tcg,
}

/// How much of a repository a VM was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    Shallow,
    Full,
    Metadata,
}

/// How an image's maker wants programs to be run in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunConfig {
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<T: Serialize>(all: &[T]) -> String {
        serde_json::to_string(all).unwrap()
    }

    #[test]
    fn words_on_users_disks_stay_as_they_are() {
        assert_eq!(words(&[Network::User, Network::None]), r#"["user","none"]"#);
        assert_eq!(words(&[Init::Auto, Init::Agent]), r#"["auto","agent"]"#);
        assert_eq!(
            words(&[Lifetime::Kept, Lifetime::UntilStopped, Lifetime::Leased]),
            r#"["kept","until_stopped","leased"]"#
        );
        assert_eq!(words(&[Acceleration::Kvm, Acceleration::Tcg]), r#"["kvm","tcg"]"#);
        let modes = [WorkspaceMode::Shallow, WorkspaceMode::Full, WorkspaceMode::Metadata];
        assert_eq!(words(&modes), r#"["shallow","full","metadata"]"#);
    }
}
