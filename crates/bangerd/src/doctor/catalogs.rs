use banger_api::doctor::Check;

use super::{ok, warn};
use crate::catalog::Catalog;
use crate::download::Environment;

const NAME: &str = "catalogs";

/// Can the user's catalogs be read?
pub(super) async fn check(catalog: &Catalog) -> Check {
    let states = catalog.states(&Environment::default()).await;
    let problems: Vec<_> = states.iter().filter_map(|state| state.problem.as_deref()).collect();
    if !problems.is_empty() {
        let fix = "correct it, or take it out of [[catalog]] in the configuration file";
        return warn(NAME, problems.join("; "), Some(fix.into()));
    }
    let shadowed: Vec<_> = states.iter().flat_map(|state| &state.shadowed).map(String::as_str).collect();
    match (states.len(), shadowed.is_empty()) {
        (0, _) => ok(NAME, "the built-in one only"),
        (count, true) => ok(NAME, format!("the built-in one and {count} of yours")),
        (_, false) => warn(
            NAME,
            format!("an earlier catalog has these names as well: {}", shadowed.join(", ")),
            Some("choose other names for them".into()),
        ),
    }
}
