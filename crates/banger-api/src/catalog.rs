//! Catalogs: where images and kernels can be had by name, besides those that are built in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A catalog that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Catalog {
    /// A file, or an address without its query.
    pub place: String,
    /// How many images and kernels it has.
    pub entries: u64,
    /// Those that nobody can get, because an earlier catalog has their name: `kernel debian-6.12`.
    pub shadowed: Vec<String>,
    /// Why it, or its newest version, is not used.
    pub problem: Option<String>,
}
