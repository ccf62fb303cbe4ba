use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::CatalogPlace;
use crate::checksum::is_sha256;

/// A bundle somewhere, and how to tell that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct BundleSource {
    pub location: BundleLocation,
    /// Of the whole file, in hex.
    pub sha256: String,
    pub size_bytes: Option<u64>,
}

/// Where a bundle is. Relative to its catalog until [`BundleSource::resolve`] was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleLocation {
    File(PathBuf),
    Url(String),
}

impl fmt::Display for BundleLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            // What follows may be as good as a password.
            Self::Url(url) => f.write_str(url.split(['?', '#']).next().unwrap_or(url)),
        }
    }
}

/// As it stands in a catalog.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Option<String>,
    path: Option<PathBuf>,
    sha256: String,
    size_bytes: Option<u64>,
}

impl TryFrom<Written> for BundleSource {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let location = match (written.url, written.path) {
            (Some(url), None) => {
                check_url(&url).map_err(|problem| format!("`url` {problem}, found {url:?}"))?;
                BundleLocation::Url(url)
            }
            (None, Some(path)) if path.as_os_str().is_empty() => return Err("`path` is empty".into()),
            (None, Some(path)) => BundleLocation::File(path),
            _ => return Err("a bundle must have either `url` or `path`".into()),
        };
        if !is_sha256(&written.sha256) {
            return Err(format!(
                "`sha256` must be 64 lower-case hexadecimal digits, found {:?}",
                written.sha256
            ));
        }
        Ok(Self { location, sha256: written.sha256, size_bytes: written.size_bytes })
    }
}

impl BundleSource {
    /// Makes a relative path one from where the catalog is.
    ///
    /// # Errors
    ///
    /// When a catalog from elsewhere names a file of this host's.
    pub(super) fn resolve(&mut self, catalog: &CatalogPlace) -> Result<(), String> {
        let BundleLocation::File(path) = &self.location else { return Ok(()) };
        self.location = match catalog {
            CatalogPlace::File(file) => {
                BundleLocation::File(file.parent().unwrap_or(Path::new("/")).join(path))
            }
            CatalogPlace::Url(url) => {
                let plain =
                    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
                let relative =
                    path.to_str().filter(|text| plain && !text.contains(['?', '#', '\\', ':', ' ']));
                let Some(relative) = relative else {
                    return Err(format!(
                        "`path` must lead from the catalog's own address downwards, found {:?}",
                        path.display().to_string()
                    ));
                };
                BundleLocation::Url(format!("{}{relative}", directory_of(url)))
            }
        };
        Ok(())
    }
}

/// What banger downloads from: https, and http from this host itself.
///
/// # Errors
///
/// What it must be.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = match url.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", rest)) if is_loopback(rest) => rest,
        _ => return Err("must begin with https:// (or with http:// and lead to this host itself)"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must have no user name or password in it");
    }
    let strange = |c: char| c.is_whitespace() || c.is_control();
    if authority.is_empty() || url.contains(strange) {
        return Err("must be a URL");
    }
    Ok(())
}

fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    ["localhost", "127.0.0.1", "::1"].contains(&host)
}

/// A URL up to its last slash, which is added when it has no path.
fn directory_of(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    let path = plain.find("://").map_or(0, |at| at + 3);
    match plain[path..].rfind('/') {
        Some(slash) => plain[..=path + slash].to_owned(),
        None => format!("{plain}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<BundleSource, String> {
        let text = format!(r#"{{ {fields}, "sha256": "{}" }}"#, "a".repeat(64));
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    fn resolved(path: &str, catalog: &CatalogPlace) -> Result<String, String> {
        let mut source = parse(&format!(r#""path": {path:?}"#)).unwrap();
        source.resolve(catalog).map(|()| source.location.to_string())
    }

    #[test]
    fn paths_lead_from_the_catalog() {
        let file = CatalogPlace::File("/srv/banger/catalog.json".into());
        assert_eq!(resolved("k.tar.zst", &file).unwrap(), "/srv/banger/k.tar.zst");
        assert_eq!(resolved("/mnt/k.tar.zst", &file).unwrap(), "/mnt/k.tar.zst");
        let url = CatalogPlace::Url("https://h.example:8443/banger/catalog.json?token=x".into());
        assert_eq!(resolved("sub/k.tar.zst", &url).unwrap(), "https://h.example:8443/banger/sub/k.tar.zst");
        assert_eq!(
            resolved("k", &CatalogPlace::Url("https://h.example".into())).unwrap(),
            "https://h.example/k"
        );
        for bad in ["/etc/passwd", "../k", "a/../../k", "https://other.example/k", "k?x", "a b"] {
            assert!(resolved(bad, &url).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_one_place_and_only_safe_ones() {
        for good in
            ["https://h.example/k", "http://localhost:5000/k", "http://127.0.0.1/k", "http://[::1]:80/k"]
        {
            assert!(parse(&format!(r#""url": "{good}""#)).is_ok(), "{good}");
        }
        for (bad, expected) in [
            (r#""url": "http://h.example/k""#, "must begin with https://"),
            (r#""url": "http://localhost.example/k""#, "must begin with https://"),
            (r#""url": "http://127.0.0.1@evil.example/k""#, "must begin with https://"),
            (r#""url": "file:///etc/passwd""#, "must begin with https://"),
            (r#""url": "https://u:p@h/k""#, "no user name or password"),
            (r#""url": "https://""#, "must be a URL"),
            (r#""url": "https://h/k", "path": "k""#, "either `url` or `path`"),
            (r#""size_bytes": 1"#, "either `url` or `path`"),
            (r#""path": """#, "`path` is empty"),
            (r#""path": "k", "sha512": "x""#, "unknown field `sha512`"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        let short = serde_json::from_str::<BundleSource>(r#"{"path": "k", "sha256": "ABC"}"#).unwrap_err();
        assert!(short.to_string().contains("64 lower-case"), "{short}");
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let source = parse(r#""url": "https://h/k?token=secret#x""#).unwrap();
        assert_eq!(source.location.to_string(), "https://h/k");
    }
}
