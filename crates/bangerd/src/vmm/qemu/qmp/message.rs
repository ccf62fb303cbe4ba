use serde::Deserialize;
use serde_json::Value;

/// A line from QEMU.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::vmm::qemu) enum Message {
    Greeting,
    Answer { id: Option<u64>, answer: Answer },
    Event(String),
}

/// What QEMU answers to a command: its result, or what it says is wrong.
pub(in crate::vmm::qemu) type Answer = Result<Value, String>;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    event: Option<String>,
    #[serde(rename = "return")]
    result: Option<Value>,
    error: Option<Failure>,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Failure {
    desc: String,
}

impl Message {
    /// None for what is no message.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let Line { greeting, event, result, error, id } = serde_json::from_slice(line).ok()?;
        match (greeting, event, result, error) {
            (Some(_), None, None, None) => Some(Self::Greeting),
            (None, Some(event), None, None) => Some(Self::Event(event)),
            (None, None, Some(result), None) => Some(Self::Answer { id, answer: Ok(result) }),
            (None, None, None, Some(error)) => Some(Self::Answer { id, answer: Err(error.desc) }),
            _ => None,
        }
    }
}

/// Of `query-status`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(in crate::vmm::qemu) struct Status {
    pub(in crate::vmm::qemu) running: bool,
    pub(in crate::vmm::qemu) status: String,
}

/// Of `query-kvm`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(in crate::vmm::qemu) struct Kvm {
    pub(in crate::vmm::qemu) enabled: bool,
}

/// Of `query-block`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(in crate::vmm::qemu) struct Drives(Vec<Drive>);

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Drive {
    /// Not there for drives that do not stop the guest.
    #[serde(rename = "io-status")]
    io_status: Option<String>,
}

impl Drives {
    /// Did a write find no room? QEMU keeps the first error of each drive until the guest goes on.
    pub(in crate::vmm::qemu) fn found_no_room(&self) -> bool {
        self.0.iter().any(|drive| drive.io_status.as_deref() == Some("nospace"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_as_what_they_are() {
        let answer = |id, answer| Some(Message::Answer { id, answer });
        for (line, message) in [
            (
                r#"{"QMP": {"version": {"qemu": {"micro": 22}}, "capabilities": ["oob"]}}"#,
                Some(Message::Greeting),
            ),
            (r#"{"return": {}, "id": 7}"#, answer(Some(7), Ok(serde_json::json!({})))),
            (r#"{"return": []}"#, answer(None, Ok(serde_json::json!([])))),
            (
                r#"{"id": 1, "error": {"class": "GenericError", "desc": "not now"}}"#,
                answer(Some(1), Err("not now".into())),
            ),
            (r#"{"timestamp": {"seconds": 1}, "event": "STOP"}"#, Some(Message::Event("STOP".into()))),
            (r#"{"return": {}, "event": "STOP"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(Message::parse(line.as_bytes()), message, "{line}");
        }
    }

    #[test]
    fn the_reason_of_a_stop_is_found_among_the_drives() {
        let drives = |text: &str| serde_json::from_str::<Drives>(text).unwrap().found_no_room();
        assert!(drives(r#"[{"device": "base", "io-status": "ok"}, {"io-status": "nospace", "type": "x"}]"#));
        assert!(!drives(r#"[{"device": "base"}, {"io-status": "failed"}]"#));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(bytes: Vec<u8>) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn any_depth_is_read_or_refused(depth in 0usize..100_000) {
            let _ = Message::parse(format!("{{\"return\": {}", "[".repeat(depth)).as_bytes());
        }
    }
}
