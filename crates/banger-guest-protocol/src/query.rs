//! Requests whose body is an archive have their parameters in the URI's query: percent-encoded, for paths are
//! bytes.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::ByteString;
use crate::messages::{FileAt, Pack, Unpack};

/// Why a query is not the one that a request needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("the query has no `{key}`")]
    Missing { key: &'static str },
    #[error("the query has a `{key}` that nobody knows")]
    Unknown { key: String },
    #[error("`{key}` in the query is neither `true` nor `false`")]
    Flag { key: &'static str },
}

impl Unpack {
    /// `dir=...&create=...`
    pub fn to_query(&self) -> String {
        format!("dir={}&create={}", encoded(&self.dir), self.create)
    }

    /// # Errors
    ///
    /// When a key is missing or unknown. The order does not matter, and `create` may be absent.
    pub fn from_query(query: &str) -> Result<Self, QueryError> {
        let (mut dir, mut create) = (None, false);
        for (key, value) in pairs(query) {
            match key {
                "dir" => dir = Some(value),
                "create" => create = flag("create", &value)?,
                key => return Err(QueryError::Unknown { key: key.to_owned() }),
            }
        }
        Ok(Self { dir: dir.ok_or(QueryError::Missing { key: "dir" })?, create })
    }
}

impl FileAt {
    /// `path=...`
    pub fn to_query(&self) -> String {
        format!("path={}", encoded(&self.path))
    }

    /// # Errors
    ///
    /// When there is no path, or something else.
    pub fn from_query(query: &str) -> Result<Self, QueryError> {
        let mut path = None;
        for (key, value) in pairs(query) {
            match key {
                "path" => path = Some(value),
                key => return Err(QueryError::Unknown { key: key.to_owned() }),
            }
        }
        Ok(Self { path: path.ok_or(QueryError::Missing { key: "path" })? })
    }
}

impl Pack {
    /// `path=...`, and `follow=true` where that is wanted.
    pub fn to_query(&self) -> String {
        let follow = if self.follow { "&follow=true" } else { "" };
        format!("path={}{follow}", encoded(&self.path))
    }

    /// # Errors
    ///
    /// When there is no path, or something else. `follow` may be absent.
    pub fn from_query(query: &str) -> Result<Self, QueryError> {
        let (mut path, mut follow) = (None, false);
        for (key, value) in pairs(query) {
            match key {
                "path" => path = Some(value),
                "follow" => follow = flag("follow", &value)?,
                key => return Err(QueryError::Unknown { key: key.to_owned() }),
            }
        }
        Ok(Self { path: path.ok_or(QueryError::Missing { key: "path" })?, follow })
    }
}

fn flag(key: &'static str, value: &ByteString) -> Result<bool, QueryError> {
    match value.as_bytes() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(QueryError::Flag { key }),
    }
}

fn encoded(bytes: &ByteString) -> String {
    percent_encode(bytes.as_bytes(), NON_ALPHANUMERIC).to_string()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, ByteString)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key, percent_decode_str(value).collect::<Vec<u8>>().into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn paths_of_any_bytes_survive(path: Vec<u8>, create: bool) {
            let unpack = Unpack { dir: path.clone().into(), create };
            prop_assert_eq!(Unpack::from_query(&unpack.to_query()).unwrap(), unpack);
            let pack = Pack { path: path.clone().into(), follow: create };
            prop_assert_eq!(Pack::from_query(&pack.to_query()).unwrap(), pack);
            let at = FileAt { path: path.into() };
            prop_assert_eq!(FileAt::from_query(&at.to_query()).unwrap(), at);
        }

        #[test]
        fn any_query_is_answered(query: String) {
            let _ = Unpack::from_query(&query);
            let _ = FileAt::from_query(&query);
            let _ = Pack::from_query(&query);
        }
    }

    #[test]
    fn what_a_hand_writes_is_understood() {
        let unpack = Unpack::from_query("create=true&dir=/root/a%20b").unwrap();
        assert_eq!(unpack, Unpack { dir: "/root/a b".into(), create: true });
        assert!(!Unpack::from_query("dir=/").unwrap().create);
        for (query, error) in [
            ("create=true", QueryError::Missing { key: "dir" }),
            ("dir=/&create=yes", QueryError::Flag { key: "create" }),
            ("dir=/&mode=1", QueryError::Unknown { key: "mode".into() }),
        ] {
            assert_eq!(Unpack::from_query(query), Err(error));
        }
    }
}
