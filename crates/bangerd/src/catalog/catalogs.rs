use std::path::Path;
use std::sync::Arc;

use super::document::Document;
use super::extra::{CatalogPlace, Extra};
use super::{Entry, Kind};
use crate::download::{Environment, Web};
use crate::operation::Reporter;
use crate::spelling::nearest;

/// All that can be had by name on this host. Clones share what they know.
#[derive(Clone)]
pub struct Catalog {
    builtin: Arc<Document>,
    /// In the order in which they are asked: files first, for they cost nothing.
    extras: Arc<Vec<Extra>>,
}

/// A catalog of the user's, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogState {
    pub place: String,
    /// How many images and kernels it has.
    pub entries: usize,
    /// Those whose name an earlier catalog has as well, and which nobody can get therefore: `kernel
    /// debian-6.12`.
    pub shadowed: Vec<String>,
    pub problem: Option<String>,
}

impl Catalog {
    /// What banger knows by itself.
    pub fn builtin() -> Self {
        Self { builtin: Arc::new(Document::builtin()), extras: Arc::default() }
    }

    /// That, and the catalogs of the user's. `cache` is a directory for copies of what addresses answered;
    /// none are kept where there is no such directory.
    pub fn with(places: &[CatalogPlace], cache: &Path, web: &Arc<dyn Web>) -> Self {
        let mut extras: Vec<Extra> =
            places.iter().map(|place| Extra::new(place.clone(), cache, web.clone())).collect();
        extras.sort_by_key(|extra| !extra.is_file());
        Self { extras: Arc::new(extras), ..Self::builtin() }
    }

    /// The entry of that name: the built-in one, one of a file, one of an address, in this order. What is
    /// wrong with the catalogs that were asked is told to `reporter`, and that another one has the name as
    /// well.
    pub async fn find(&self, kind: Kind, name: &str, reporter: &Reporter) -> Option<Entry> {
        let mut found = self.builtin.find(kind, name).cloned();
        let mut whose = "built-in".to_owned();
        for extra in self.extras.iter() {
            if found.is_some() && !extra.is_file() {
                break;
            }
            let loaded = extra.load(reporter.environment()).await;
            if let Some(problem) = loaded.problem {
                reporter.notice(problem);
            }
            let Some(entry) = loaded.document.find(kind, name) else { continue };
            match found {
                None => (found, whose) = (Some(entry.clone()), extra.place.to_string()),
                Some(_) => reporter.notice(format!(
                    "catalog {} has {} {name} as well; the {whose} one is used",
                    extra.place,
                    kind.word()
                )),
            }
        }
        found
    }

    /// Everything, one entry a name. What is wrong with a catalog is told to `reporter`.
    pub async fn entries(&self, kind: Kind, reporter: &Reporter) -> Vec<Entry> {
        let mut entries = self.builtin.entries(kind).to_vec();
        for extra in self.extras.iter() {
            let loaded = extra.load(reporter.environment()).await;
            if let Some(problem) = loaded.problem {
                reporter.notice(problem);
            }
            for entry in loaded.document.entries(kind) {
                if !entries.iter().any(|known| known.name == entry.name) {
                    entries.push(entry.clone());
                }
            }
        }
        entries
    }

    /// The user's catalogs, in the order in which they are asked.
    pub async fn states(&self, environment: &Environment) -> Vec<CatalogState> {
        let kinds = [Kind::Image, Kind::Kernel];
        let mut states = Vec::new();
        let mut earlier = vec![self.builtin.clone()];
        for extra in self.extras.iter() {
            let loaded = extra.load(environment).await;
            let is_known =
                |kind, name: &str| earlier.iter().any(|document| document.find(kind, name).is_some());
            let mut shadowed = Vec::new();
            for kind in kinds {
                let names = loaded.document.entries(kind).iter().map(|entry| &entry.name);
                shadowed.extend(
                    names.filter(|name| is_known(kind, name)).map(|name| format!("{} {name}", kind.word())),
                );
            }
            states.push(CatalogState {
                place: extra.place.to_string(),
                entries: loaded.document.len(),
                shadowed,
                problem: loaded.problem,
            });
            earlier.push(loaded.document);
        }
        states
    }

    /// What to say to somebody who asked for a `name` that is neither in the catalog nor among those `here`.
    pub async fn hint(&self, kind: Kind, name: &str, here: Vec<String>) -> String {
        let reporter = Reporter::unwatched();
        let mut names = here;
        for entry in self.entries(kind, &reporter).await {
            if !names.contains(&entry.name) {
                names.push(entry.name);
            }
        }
        let mut hint = match nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("these can be had: {}", names.join(", ")),
        };
        for problem in self.states(reporter.environment()).await.into_iter().filter_map(|state| state.problem)
        {
            hint.push_str(&format!(" ({problem})"));
        }
        hint
    }

    /// What to say to somebody who asked for something on this host by a `name` that none of those `here`
    /// has.
    pub async fn hint_here(&self, kind: Kind, name: &str, here: Vec<String>) -> String {
        if self.find(kind, name, &Reporter::unwatched()).await.is_some() {
            return "it is in the catalog, but not on this host".into();
        }
        match nearest(name, here.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("`banger {} list` shows those on this host", kind.word()),
        }
    }
}

#[cfg(test)]
#[path = "catalogs_tests.rs"]
mod tests;
