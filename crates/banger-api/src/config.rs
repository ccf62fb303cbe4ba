//! The configuration as it is in force. `bangerd config --json` prints a [`ConfigView`] without any daemon
//! running.

use serde::{Deserialize, Serialize};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file says so.
    Config,
    /// Derived from this host.
    Auto,
    /// Built into banger.
    Builtin,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Auto => "auto",
            Self::Builtin => "builtin",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// Dotted: `vm_defaults.memory_mib`.
    pub key: String,
    /// As it would be written in the file.
    pub value: String,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigView {
    /// The configuration file, whether it exists or not.
    pub path: String,
    pub exists: bool,
    pub values: Vec<ConfigValue>,
}
