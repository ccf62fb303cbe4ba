use std::io;
use std::path::Path;
use std::time::Duration;

use banger_host::unix_socket::connect_in;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::message::{Answer, Message};
use crate::paths::VmDir;
use crate::vmm::MonitorError;

/// How long QEMU may take for an answer. On a busy host it takes seconds; its greeting comes when it has
/// started up.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The longest line that is read. What `query-block` says of four drives is some 6 KiB.
const LINE_MAX_LEN: u64 = 256 * 1024;

/// After so many lines nothing is read for a moment: what QEMU says on its own must not keep the daemon busy.
const LINES_AT_A_TIME: u32 = 64;
const BREATH: Duration = Duration::from_millis(100);

/// A connection to a VMM's monitor, of which there can be one.
pub(in crate::vmm::qemu) struct Qmp {
    stream: BufReader<UnixStream>,
    last_id: u64,
    lines: u32,
    /// Something happened while an answer was waited for.
    happened: bool,
}

impl Qmp {
    /// Connects to the monitor of the VMM that runs in `dir`.
    pub(in crate::vmm::qemu) async fn connect(dir: &Path) -> Result<Self, MonitorError> {
        let stream = connect_in(dir, VmDir::QMP_SOCKET).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => MonitorError::None,
            _ => MonitorError::Connect(error),
        })?;
        let mut qmp = Self { stream: BufReader::new(stream), last_id: 0, lines: 0, happened: false };
        let greeting = tokio::time::timeout(ANSWER_LIMIT, qmp.message()).await;
        match greeting.map_err(|_| timeout("at all"))?? {
            Message::Greeting => {}
            _ => return Err(MonitorError::Unintelligible),
        }
        qmp.command::<serde_json::Value>("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Has QEMU execute a command without arguments.
    pub(in crate::vmm::qemu) async fn command<T: DeserializeOwned>(
        &mut self,
        command: &'static str,
    ) -> Result<T, MonitorError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.exchange(command)).await;
        let answer = answer.map_err(|_| timeout(command))??;
        let result = answer.map_err(|said| MonitorError::Refused { command, said: shorten(&said) })?;
        serde_json::from_value(result).map_err(|_| MonitorError::Unintelligible)
    }

    async fn exchange(&mut self, command: &str) -> Result<Answer, MonitorError> {
        self.last_id += 1;
        let id = self.last_id;
        let line = format!("{}\n", serde_json::json!({ "execute": command, "id": id }));
        self.stream.write_all(line.as_bytes()).await.map_err(MonitorError::Broken)?;
        loop {
            match self.message().await? {
                Message::Answer { id: Some(answered), answer } if answered == id => return Ok(answer),
                Message::Event(name) => self.happened |= tells_of_a_stop(&name),
                // Of a command that was given up.
                Message::Answer { .. } | Message::Greeting => {}
            }
        }
    }

    /// Waits until the guest may have been stopped, or may run again.
    pub(in crate::vmm::qemu) async fn changed(&mut self) -> Result<(), MonitorError> {
        while !std::mem::take(&mut self.happened) {
            if let Message::Event(name) = self.message().await? {
                self.happened = tells_of_a_stop(&name);
            }
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<Message, MonitorError> {
        self.lines += 1;
        if self.lines.is_multiple_of(LINES_AT_A_TIME) {
            tokio::time::sleep(BREATH).await;
        }
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_MAX_LEN);
        limited.read_until(b'\n', &mut line).await.map_err(MonitorError::Broken)?;
        match line.last() {
            None => Err(MonitorError::Closed),
            Some(b'\n') => Message::parse(&line).ok_or(MonitorError::Unintelligible),
            Some(_) => Err(MonitorError::Unintelligible),
        }
    }
}

fn timeout(command: &'static str) -> MonitorError {
    MonitorError::Timeout { command, limit_s: ANSWER_LIMIT.as_secs() }
}

fn tells_of_a_stop(event: &str) -> bool {
    matches!(event, "STOP" | "RESUME" | "BLOCK_IO_ERROR")
}

/// QEMU's words, fit for a log.
fn shorten(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::net::UnixListener;

    use super::*;

    /// A monitor that says these things, each after a line of the client's but for the first, and then hangs
    /// up.
    async fn against<T>(says: &[&str], client: impl AsyncFnOnce(Qmp) -> T) -> Result<T, MonitorError> {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(VmDir::QMP_SOCKET)).unwrap();
        let says: Vec<String> = says.iter().map(|said| (*said).to_owned()).collect();
        let monitor = tokio::spawn(async move {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            for (index, said) in says.iter().enumerate() {
                if index > 0 {
                    stream.read_until(b'\n', &mut Vec::new()).await.unwrap();
                }
                if stream.write_all(said.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let outcome = match Qmp::connect(dir.path()).await {
            Ok(qmp) => Ok(client(qmp).await),
            Err(error) => Err(error),
        };
        monitor.await.unwrap();
        outcome
    }

    const HELLO: [&str; 2] = ["{\"QMP\": {}}\r\n", "{\"return\": {}, \"id\": 1}\r\n"];

    #[tokio::test]
    async fn events_between_are_not_lost_and_other_answers_not_taken() {
        let says = "{\"event\": \"STOP\"}\n{\"return\": 1, \"id\": 1}\n{\"return\": 2, \"id\": 2}\n";
        let answered = against(&[HELLO[0], HELLO[1], says], async |mut qmp| {
            let answer: Value = qmp.command("query-x").await.unwrap();
            qmp.changed().await.unwrap();
            (answer, qmp.changed().await)
        })
        .await;
        let (answer, closed) = answered.unwrap();
        assert_eq!(answer, 2);
        assert!(matches!(closed, Err(MonitorError::Closed)), "{closed:?}");
    }

    #[tokio::test]
    async fn refusals_are_told_in_clean_words() {
        let says = "{\"error\": {\"class\": \"x\", \"desc\": \"not\\u001b now\"}, \"id\": 2}\n";
        let refused = against(&[HELLO[0], HELLO[1], says], async |mut qmp| {
            qmp.command::<Value>("cont").await.unwrap_err().to_string()
        })
        .await;
        assert_eq!(refused.unwrap(), "the VMM refused cont: not now");
    }

    #[tokio::test]
    async fn what_is_no_monitor_is_given_up() {
        let endless = "x".repeat(LINE_MAX_LEN as usize + 1);
        for says in ["hello\n", "{\"event\": \"STOP\"}\n", "{\"QMP\": {}", &endless] {
            let outcome = against(&[says], async |_| ()).await;
            assert!(matches!(outcome, Err(MonitorError::Unintelligible)), "{says:.20}: {outcome:?}");
        }
        assert!(matches!(
            against(&[""], async |_| ()).await,
            Err(MonitorError::Closed | MonitorError::Broken(_))
        ));
        let nowhere = tempfile::tempdir().unwrap();
        assert!(matches!(Qmp::connect(nowhere.path()).await, Err(MonitorError::None)));
        drop(UnixListener::bind(nowhere.path().join(VmDir::QMP_SOCKET)).unwrap());
        assert!(matches!(Qmp::connect(nowhere.path()).await, Err(MonitorError::Connect(_))));
    }
}
