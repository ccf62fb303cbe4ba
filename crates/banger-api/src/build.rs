use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Header that names the caller's build.
pub const BUILD_HEADER: &str = "banger-build";

/// Which source a program was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    /// Release number: `0.1.0`.
    pub version: String,
    /// First 12 digits of the git commit, `unknown` outside a checkout.
    pub commit: String,
}

impl Build {
    /// The build of the running program.
    pub fn current() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").into(), commit: env!("BANGER_COMMIT").into() }
    }
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.version, self.commit)
    }
}
