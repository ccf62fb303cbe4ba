//! What the daemon tells a gateway: a file that is replaced as a whole.

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// The file, in the directory of the VM's network.
pub const CONFIG: &str = "gateway.json";

/// A VM's part of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The VM's name: the guest finds itself by it.
    pub hostname: String,
    pub egress: Policy,
    #[serde(default)]
    pub proxy: ProxyVariables,
}

/// The proxies of whoever started the VM, as their variables have them. They may hold passwords.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyVariables {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
}

impl std::fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyVariables(..)")
    }
}
