use serde::Deserialize;

use super::{Entry, Kind};

/// A catalog as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    images: Vec<Entry>,
    kernels: Vec<Entry>,
}

impl Document {
    pub(super) fn builtin() -> Self {
        // Embedded when banger is compiled, and parsed by a test.
        serde_json::from_str(include_str!("catalog.json")).expect("the built-in catalog is valid")
    }

    pub(super) fn entries(&self, kind: Kind) -> &[Entry] {
        match kind {
            Kind::Image => &self.images,
            Kind::Kernel => &self.kernels,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{DEFAULT_IMAGE, DEFAULT_KERNEL, DebianSource, Recipe, Source};
    use super::*;

    #[test]
    fn the_built_in_catalog_is_valid_and_has_the_defaults() {
        let document = Document::builtin();
        for (kind, default) in [(Kind::Image, DEFAULT_IMAGE), (Kind::Kernel, DEFAULT_KERNEL)] {
            let entries = document.entries(kind);
            let names: BTreeSet<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names.len(), entries.len(), "a name is there twice");
            assert!(names.contains(default));
        }
        let is_kernel = |entry: &Entry| {
            matches!(entry.source, Source::Debian(DebianSource { recipe: Recipe::Kernel, .. }))
        };
        assert!(document.kernels.iter().all(is_kernel));
        assert!(!document.images.iter().any(is_kernel));
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for bad in [
            r#"{"images": [], "kernels": [], "more": 1}"#,
            r#"{"images": [], "kernels": [{"name": "x", "source": {"kind": "oci"}}]}"#,
            r#"{"images": [], "kernels": [{"name": "x",
                "source": {"kind": "debian", "suite": "x", "recipe": "kernel", "mirror": "x"}}]}"#,
        ] {
            assert!(serde_json::from_str::<Document>(bad).is_err(), "{bad}");
        }
    }
}
