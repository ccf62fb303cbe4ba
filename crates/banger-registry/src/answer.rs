//! What a server says when it does not give what was asked for.

use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use serde_json::Value;

use crate::error::{Answer, Identity, RegistryError};
use crate::printable::printable;
use crate::transport::Reply;

/// How much of an answer is read for a message, in bytes.
const MAX_READ_BYTES: usize = 16 << 10;

/// How much of the server's words is shown, in characters.
const SHOWN_CHARS: usize = 300;

/// Passes on what was successful (status 200 or 206).
///
/// # Errors
/// All other statuses, each as what it means.
pub(crate) async fn successful(reply: Reply) -> Result<Reply, RegistryError> {
    match reply.status().as_u16() {
        200 | 206 => Ok(reply),
        _ => Err(failure(reply).await),
    }
}

/// What the server said.
pub(crate) async fn read(reply: Reply) -> Answer {
    let status = reply.status().as_u16();
    Answer { status, message: message(&reply.beginning(MAX_READ_BYTES).await) }
}

/// The error that a status means.
async fn failure(reply: Reply) -> RegistryError {
    let asked = reply.asked().clone();
    let retry_after = reply.header(&RETRY_AFTER).and_then(|text| pause(text, SystemTime::now()));
    let answer = read(reply).await;
    match answer.status {
        401 | 403 => RegistryError::Denied { asked, answer, identity: Identity::Anonymous },
        404 | 410 => RegistryError::NotFound { asked, answer },
        429 => RegistryError::TooManyRequests { asked, answer, retry_after },
        408 | 500 | 502..=504 => RegistryError::Unavailable { asked, answer, retry_after },
        _ => RegistryError::Unexpected { asked, answer },
    }
}

/// `Retry-After`: seconds, or a date.
fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The words in an answer: registries and token servers each have their JSON, others say it in plain text.
fn message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let words = match serde_json::from_str::<Value>(&text) {
        Ok(json) => words_of(&json)?,
        // A web page says nothing in few words.
        Err(_) if text.trim_start().starts_with(['<', '{', '[']) => return None,
        Err(_) => text.into_owned(),
    };
    let words = printable(&words, SHOWN_CHARS);
    (!words.is_empty()).then_some(words)
}

fn words_of(json: &Value) -> Option<String> {
    if let Some(errors) = json["errors"].as_array() {
        let said = errors.iter().take(3).filter_map(|error| {
            let field = |name: &str| error[name].as_str().filter(|text| !text.is_empty());
            field("message").or_else(|| field("code")).or_else(|| error.as_str())
        });
        let said: Vec<&str> = said.collect();
        return (!said.is_empty()).then(|| said.join("; "));
    }
    let fields = ["error_description", "details", "message", "error", "detail"];
    fields.iter().find_map(|field| json[field].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_of_registries_are_found() {
        for (body, words) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                Some("manifest unknown"),
            ),
            (r#"{"errors":[{"code":"DENIED"},{"message":"b"}]}"#, Some("DENIED; b")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, Some("expired")),
            ("404 page not found\n", Some("404 page not found")),
            ("<html><body>no", None),
            (r#"{"errors":[]}"#, None),
            (r#"{"errors":["#, None),
            ("", None),
            ("a\u{1b}[31mb", Some("a\\u{1b}[31mb")),
        ] {
            assert_eq!(message(body.as_bytes()).as_deref(), words, "{body}");
        }
        assert!(message("x".repeat(10_000).as_bytes()).unwrap().len() < 400);
    }

    #[test]
    fn a_pause_is_given_in_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        assert_eq!(pause("120", now), Some(Duration::from_secs(120)));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(pause("Wed, 21 Oct 2015 07:27:00 GMT", now), Some(Duration::ZERO));
        for text in ["", "-1", "soon", "1e9"] {
            assert_eq!(pause(text, now), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(body: Vec<u8>) {
            message(&body);
        }
    }
}
