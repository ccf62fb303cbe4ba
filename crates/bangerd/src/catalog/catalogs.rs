use std::sync::Arc;

use super::document::Document;
use super::{Entry, Kind};
use crate::operation::Reporter;
use crate::spelling::nearest;

/// All that can be had by name on this host.
#[derive(Clone, Debug)]
pub struct Catalog {
    builtin: Arc<Document>,
}

impl Catalog {
    /// What banger knows by itself.
    pub fn builtin() -> Self {
        Self { builtin: Arc::new(Document::builtin()) }
    }

    /// The entry of that name. A catalog of the user's that cannot be read is told to `reporter` and passed over.
    pub async fn find(&self, kind: Kind, name: &str, reporter: &Reporter) -> Option<Entry> {
        self.entries(kind, reporter).await.into_iter().find(|entry| entry.name == name)
    }

    /// Everything, one entry a name. A catalog of the user's that cannot be read is told to `reporter` and passed over.
    pub async fn entries(&self, kind: Kind, _reporter: &Reporter) -> Vec<Entry> {
        self.builtin.entries(kind).to_vec()
    }

    /// What to say to somebody who asked for a `name` that is neither here nor in the catalog.
    pub async fn hint(&self, kind: Kind, name: &str) -> String {
        let entries = self.entries(kind, &Reporter::unwatched()).await;
        let names = || entries.iter().map(|entry| entry.name.as_str());
        match nearest(name, names()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("these can be had: {}", names().collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hints_name_the_nearest_or_all() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.hint(Kind::Image, "debian-trixi").await, "did you mean debian-trixie?");
        let all = catalog.hint(Kind::Kernel, "linux").await;
        assert_eq!(all, "these can be had: debian-6.12, debian-6.1");
    }
}
