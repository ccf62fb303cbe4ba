//! The daemon itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Build;

/// How the daemon is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStatus {
    pub pid: u32,
    pub build: Build,
    pub socket: String,
    pub log_path: String,
    pub state_dir: String,
    pub cache_dir: String,
    /// Since it started, in milliseconds.
    pub uptime_ms: u64,
    pub vms_total: usize,
    pub vms_running: usize,
    /// Commands and other streams that would break if it stopped now.
    pub sessions: usize,
    /// Operations that run now, by title.
    pub operations: Vec<String>,
    /// VMs of `vm run --rm`, by name: they live by the connection of who runs them, and end with it.
    #[serde(default)]
    pub leased_vms: Vec<String>,
    /// The variables that it has kept of the environment it was started in, by name.
    #[serde(default)]
    pub environment: Vec<String>,
    /// Limits of whoever started it that could not be raised.
    #[serde(default)]
    pub limits: Vec<String>,
    /// The name server for `.vm`; none where it is off.
    #[serde(default)]
    pub dns: Option<DnsListener>,
}

/// Where the name server for `.vm` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsListener {
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// Why it does not now. It is tried again.
    pub unavailable: Option<String>,
}

/// How to stop the daemon. VMs keep running without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct StopDaemon {
    /// Refuse when commands or operations would be cut off.
    #[serde(default)]
    pub if_idle: bool,
}
