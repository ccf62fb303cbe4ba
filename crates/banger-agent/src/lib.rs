//! The guest side of banger: `/init` of the initramfs, and the agent that answers the host. One static
//! program, two processes.
//!
//! - **PID 1** ([`init`]) mounts the kernel's filesystems, loads the `early` modules and starts the agent.
//!   Then it is a tiny supervisor that reaps orphans, until the agent tells it to become the image's own
//!   init.
//! - **The agent** ([`server`]) finds the way to the host ([`host_channel`]: a virtio-serial port or vsock),
//!   says hello ([`session`]) and serves the HTTP API ([`api`]): `configure` makes the generic kernel into
//!   one VM ([`configure`]), `exec` runs commands ([`exec`]), `files` brings files in and out ([`files`]),
//!   `ssh` starts the image's SSH server for one connection ([`ssh`]), `ports` says what listens ([`ports`]),
//!   `forward` connects to it ([`forward`]), `shutdown` ends it all ([`shutdown`]).
//!
//! Nothing that needs a disk or a network is touched before `configure`: a memory snapshot taken after the
//! hello must hold no image and no identity.

pub mod agent;
pub mod api;
pub mod async_file;
pub mod configure;
pub mod console;
pub mod exec;
pub mod files;
mod flows;
pub mod forward;
pub mod host_channel;
pub mod host_port;
pub mod init;
pub mod passwd;
pub mod port;
pub mod ports;
pub mod server;
pub mod session;
pub mod shutdown;
mod signals;
mod spawn;
pub mod ssh;
pub mod system_error;
mod vsock;
pub mod workspace;

/// The agent's build, for people: its version, unless the builder sets `BANGER_AGENT_BUILD` (`0.1.0
/// (0123abcd)`).
pub const AGENT_BUILD: &str = match option_env!("BANGER_AGENT_BUILD") {
    Some(build) => build,
    None => env!("CARGO_PKG_VERSION"),
};

/// What PID 1 gives the agent process as its argument.
pub const SERVE_ARGUMENT: &str = "serve";
