//! JSON bodies of the guest's HTTP API.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/health` | | [`Health`] |
//! | `POST /v1/configure` | [`Configure`] | [`Configured`] |
//! | `POST /v1/identity` | [`Identity`] | [`Identified`] |
//! | `GET /v1/exec` with `Upgrade: banger-stream` | | 101, then [`crate::frame`]s |
//! | `GET /v1/ssh` with `Upgrade: banger-stream` | | 101, then [`crate::frame`]s of an SSH server whose stdin and stdout are its connection; what its `Start` names does not count |
//! | `GET /v1/ports?` [`PortsQuery`](crate::ports::PortsQuery) | | [`Ports`](crate::ports::Ports) |
//! | `GET /v1/ports/watch` | | lines of [`TcpPorts`](crate::ports::TcpPorts) |
//! | `GET /v1/forward?port=N` with `Upgrade: banger-stream` | | 101, then [pieces](crate::forward) |
//! | `POST /v1/shutdown` | [`Shutdown`] | 202 |
//! | `POST /v1/files/unpack?` [`Unpack`] | a tar stream ([`crate::archive`]) | [`Unpacked`] |
//! | `GET /v1/files/pack?` [`FileAt`] | | a tar stream |
//! | `GET /v1/files/stat?` [`FileAt`] | | [`FileStat`] |
//! | `POST /v1/files/sync?` [`FileAt`] | | |
//! | `POST /v1/workspace/begin` | [`Begin`](crate::import::Begin) | [`Begun`](crate::import::Begun) |
//! | `POST /v1/workspace/finish` | [`Record`](crate::import::Record)s | lines of [`FinishEvent`](crate::import::FinishEvent) |
//!
//! Any failure is answered with a 4xx or 5xx status and a [`GuestError`].

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ByteString;
pub use crate::preamble::Hello;

/// Everything that makes a generic booted kernel into this VM. Sent once, after the hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    pub assembly: Assembly,
    pub identity: Identity,
}

/// What the VM is made of: the same for as long as its kernel runs, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assembly {
    pub disks: Disks,
    /// Written into the assembled root before its init starts.
    #[serde(default)]
    pub files: Vec<GuestFile>,
    #[serde(default)]
    pub init: InitChoice,
    #[serde(default)]
    pub command_defaults: CommandDefaults,
}

/// Which VM it is. The first one is a part of [`Configure`]; a guest that runs takes another at any time. It
/// must when it goes on from a snapshot: otherwise two VMs would be the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub hostname: String,
    /// The host's wall clock, in nanoseconds since the Unix epoch.
    pub clock_unix_ns: u64,
    /// Random bytes, credited to the kernel's entropy pool, from which it then draws anew.
    pub entropy_seed: Blob,
    /// None: no network interface but loopback.
    pub network: Option<Network>,
    /// For `/etc/machine-id`, where systemd is: 32 lower-case hexadecimal digits.
    pub machine_id: String,
    /// One line in `authorized_keys` form that may log in as root over SSH, in place of the one of the
    /// identity before.
    pub authorized_key: Option<String>,
    /// The SSH server's keys, in place of all that are there. An empty list: those stay. A server that runs
    /// goes on with the keys that it has read.
    #[serde(default)]
    pub ssh_host_keys: Vec<SshHostKey>,
}

/// A key by which SSH clients know the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshHostKey {
    pub kind: SshKeyKind,
    /// The private key's file, as `ssh-keygen` writes it.
    pub private_key: Blob,
    /// The public key's line.
    pub public_key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshKeyKind {
    Ed25519,
    Ecdsa,
    Rsa,
}

/// The VM's block devices. They appear in no fixed order, so each is named by what can be seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disks {
    /// The shared image: an ext4 filesystem, read-only.
    pub base: DiskSelector,
    /// The VM's own changes to it: the persistent device-mapper snapshot's copy-on-write store.
    pub cow: DiskSelector,
    /// The VM's `/root`: an ext4 filesystem.
    pub work: Option<DiskSelector>,
    /// The kernel's modules: an ext4 filesystem, read-only, mounted at `/lib/modules`.
    pub modules: Option<DiskSelector>,
}

/// How a block device is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskSelector {
    /// By its serial number (`/sys/block/*/serial`).
    Serial(String),
    /// The only one that is read-only.
    ReadOnly,
}

/// One Ethernet interface with a static address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub gateway: Ipv4Addr,
    pub dns_servers: Vec<IpAddr>,
    #[serde(default)]
    pub dns_search: Vec<String>,
}

/// A file to write into the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFile {
    /// Absolute path, without `..`; missing directories are made, mode 0755.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    pub content: Blob,
}

/// What commands get unless the client says otherwise, as the image's maker wants it. It comes from the image
/// unchecked: the guest leaves out what no command can have, and warns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandDefaults {
    /// `NAME=VALUE` each; the last one of a name wins.
    pub env: Vec<ByteString>,
    /// Absolute; made where it is missing.
    pub working_dir: Option<ByteString>,
}

/// Who becomes PID 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitChoice {
    /// The image's init when it has one, else the agent.
    #[default]
    Auto,
    /// The agent, whatever the image has.
    Agent,
}

/// The answer to [`Configure`]: the root is mounted and commands can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// The image's init that was started, none when the agent stays PID 1.
    pub init: Option<String>,
    /// How long each stage took, in milliseconds, in order.
    pub stages: Vec<(String, u64)>,
    /// Things that went wrong and did not matter enough to fail.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The answer to [`Identity`]: the guest is that VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified {
    /// Things that went wrong and did not matter enough to fail.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// How far the guest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Booted, knows nothing yet.
    AwaitingConfigure,
    Configuring,
    /// The root is mounted; commands can run.
    Ready,
    ShuttingDown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub protocol: u32,
    pub agent_build: String,
    pub phase: Phase,
    pub kernel_release: String,
    /// Time since the guest's kernel started, in milliseconds.
    pub uptime_ms: u64,
    /// Commands that run over the agent now.
    pub exec_sessions: u32,
    /// The image's init that was started; none before that, or when the agent stays PID 1.
    #[serde(default)]
    pub init: Option<String>,
}

/// Asks for a clean power-off: stop init, sync, unmount. The VMM's process ends when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// Restart instead of powering off.
    #[serde(default)]
    pub reboot: bool,
    /// After this long the host kills the VM, in milliseconds. The agent lets init take a part of it, and
    /// with the rest ends the guest itself: without init, but with its filesystems clean.
    #[serde(default = "Shutdown::default_grace_ms")]
    pub grace_ms: u64,
}

impl Shutdown {
    fn default_grace_ms() -> u64 {
        20_000
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { reboot: false, grace_ms: Self::default_grace_ms() }
    }
}

/// What failed in the guest, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestError {
    /// What failed: "could not mount the root".
    pub message: String,
    /// The chain of causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    #[serde(default)]
    pub kind: GuestErrorKind,
}

/// What kind of failure it was, as far as the host acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestErrorKind {
    /// The file or directory asked for is not there.
    NotFound,
    /// What is there is in the way, or of another kind.
    Refused,
    /// Everything else.
    #[default]
    #[serde(other)]
    Failed,
}

/// Unpacks the archive in the request's body below a directory.
///
/// Files are owned by root and keep mode and time. What is in a file's place is replaced; a directory that is
/// there stays and gets the mode. Nothing is written outside of the directory, whatever the names and the
/// symlinks in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpack {
    /// Absolute.
    pub dir: ByteString,
    /// Make the directory (0755), which must not be there yet; it is removed again when unpacking fails. Else
    /// it must be there.
    pub create: bool,
}

/// The answer to [`Unpack`]: everything is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Files and links.
    pub files: u64,
    /// What the files contain.
    pub bytes: u64,
}

/// Names something in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAt {
    /// Absolute.
    pub path: ByteString,
}

/// Packs a file, directory or symlink of the guest's into an archive.
///
/// Its last part is its name there. A symlink is packed as such; with `/.` at the end it is the content of a
/// directory that is packed, and the names in the archive begin with `./`. Directories where other file
/// systems are mounted are packed empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Absolute.
    pub path: ByteString,
    /// Pack what symlinks lead to in their places.
    pub follow: bool,
}

/// What is at a path, symlinks followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    pub kind: FileKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    /// A device, a FIFO, a socket.
    #[serde(other)]
    Other,
}

/// Bytes, base64 in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_failure_of_other_builds_are_plain_failures() {
        for (text, kind) in [
            (r#"{"message": "x"}"#, GuestErrorKind::Failed),
            (r#"{"message": "x", "kind": "unheard_of"}"#, GuestErrorKind::Failed),
            (r#"{"message": "x", "kind": "not_found"}"#, GuestErrorKind::NotFound),
        ] {
            assert_eq!(serde_json::from_str::<GuestError>(text).unwrap().kind, kind, "{text}");
        }
    }
}
