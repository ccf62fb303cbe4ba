use std::path::Path;

use super::error::{ConfigError, Text};
use super::parse::{Key, Value, in_order, kind};
use crate::catalog::{CatalogPlace, check_url};

const KEYS: &[&str] = &["path", "url"];

/// Reads all entries of `[[catalog]]`.
pub(super) fn catalogs(
    text: Text<'_>,
    key: &Key<'_>,
    value: &Value<'_>,
) -> Result<Vec<CatalogPlace>, ConfigError> {
    let entries =
        value.get_ref().as_array().ok_or_else(|| text.wrong_type(key, value, "a list of tables"))?;
    entries.iter().enumerate().map(|(index, value)| entry(text, index, value)).collect()
}

fn entry(text: Text<'_>, index: usize, value: &Value<'_>) -> Result<CatalogPlace, ConfigError> {
    let name = format!("catalog[{index}]");
    let table = value.get_ref().as_table().ok_or_else(|| {
        let message = format!("{name} must be a table, found {}", kind(value.get_ref()));
        text.mistake(value.span(), message, None)
    })?;
    let mut place = None;
    for (key, value) in in_order(table) {
        let word = key.get_ref().as_ref();
        if !KEYS.contains(&word) {
            return Err(text.unknown(key, &format!(" in {name}"), KEYS));
        }
        if place.is_some() {
            let message = format!("{name} has both `path` and `url`");
            return Err(text.mistake(key.span(), message, Some("make two entries of it".into())));
        }
        let refuse = |must: &str, found: &str| {
            text.mistake(value.span(), format!("`{word}` of {name} {must}, found {found}"), None)
        };
        let written = value.get_ref();
        let written = written.as_str().ok_or_else(|| refuse("must be a string", kind(written)))?;
        let found = format!("{written:?}");
        place = Some(match word {
            "path" if !Path::new(written).is_absolute() || written.contains('\0') => {
                return Err(refuse("must be an absolute path", &found));
            }
            "path" => CatalogPlace::File(written.into()),
            _ => {
                check_url(written).map_err(|must| refuse(must, &found))?;
                CatalogPlace::Url(written.into())
            }
        });
    }
    place.ok_or_else(|| text.mistake(value.span(), format!("{name} has neither `path` nor `url`"), None))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, parse};
    use super::*;

    #[test]
    fn catalogs_are_files_and_addresses() {
        let config =
            parse("[[catalog]]\npath = \"/srv/c.json\"\n[[catalog]]\nurl = \"https://h/c.json\"").unwrap();
        let places = [CatalogPlace::File("/srv/c.json".into()), CatalogPlace::Url("https://h/c.json".into())];
        assert_eq!(config.catalogs.value, places);
        assert!(parse("").unwrap().catalogs.value.is_empty());
    }

    #[test]
    fn every_refusal_names_the_entry_and_the_place() {
        for (text, expected) in [
            ("catalog = 7", "1:11: `catalog` must be a list of tables, found an integer"),
            ("catalog = [7]", "1:12: catalog[0] must be a table, found an integer"),
            ("[[catalog]]", "1:1: catalog[0] has neither `path` nor `url`"),
            ("[[catalog]]\npath = 7", "2:8: `path` of catalog[0] must be a string, found an integer"),
            (
                "[[catalog]]\npath = \"c.json\"",
                "2:8: `path` of catalog[0] must be an absolute path, found \"c.json\"",
            ),
            (
                "[[catalog]]\npath = \"/a\"\nurl = \"https://h/b\"",
                "3:1: catalog[0] has both `path` and `url`",
            ),
            (
                "[[catalog]]\nurl = \"http://h/b\"",
                "2:7: `url` of catalog[0] must begin with https:// (or with http:// and lead to this host itself), found \"http://h/b\"",
            ),
            ("[[catalog]]\npaht = \"/a\"", "2:1: unknown key `paht` in catalog[0]"),
        ] {
            assert_eq!(complaint(text).0, format!("config.toml:{expected}"), "{text}");
        }
    }
}
