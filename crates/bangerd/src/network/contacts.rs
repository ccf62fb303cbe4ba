//! What a VM has contacted and what it was refused, put together from its log.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::IpAddr;
use std::path::Path;

use banger_gateway::NETWORK_DIR;
use banger_gateway::log::{Attempt, FORMER_LOG, LOG, Protocol, Verdict};
use banger_gateway::policy::{Contact, Name};
use banger_host::files::FileError;

use super::NetworkError;
use crate::paths::VmDir;

/// What makes attempts the same: protocol, name, address (where there is no name), port, and what came of it.
type Key = (Protocol, Option<String>, Option<IpAddr>, Option<u16>, Verdict, Option<String>);

/// Attempts of one kind, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The last one of them; its numbers are those of all.
    pub last: Attempt,
    /// How many of them last.
    pub open: u64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Contacts(BTreeMap<Key, Traffic>);

impl Contacts {
    /// Out of the log of the VM in `dir`, and of what is under way. What cannot be read there is left out.
    ///
    /// # Errors
    ///
    /// When there is a log that cannot be read.
    pub fn read(dir: &VmDir, under_way: Vec<Attempt>) -> Result<Self, NetworkError> {
        let mut contacts = Self::default();
        let network = dir.file(NETWORK_DIR);
        for name in [FORMER_LOG, LOG] {
            contacts.read_file(&network.join(name))?;
        }
        under_way.into_iter().for_each(|attempt| contacts.add(attempt, 1));
        Ok(contacts)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), NetworkError> {
        let failed = |source| FileError::Io { action: "read", path: path.into(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error).into()),
        };
        for line in BufReader::new(file).split(b'\n') {
            // The last line may be half written; one of a newer gateway may say what is not known here.
            if let Ok(attempt) = serde_json::from_slice(&line.map_err(failed)?) {
                self.add(attempt, 0);
            }
        }
        Ok(())
    }

    fn add(&mut self, attempt: Attempt, open: u64) {
        let address = attempt.address.filter(|_| attempt.name.is_none());
        let key = (
            attempt.protocol,
            attempt.name.clone(),
            address,
            attempt.port,
            attempt.verdict,
            attempt.reason.clone(),
        );
        let Some(known) = self.0.get_mut(&key) else {
            self.0.insert(key, Traffic { last: attempt, open });
            return;
        };
        known.open += open;
        let (count, sent, received) = (known.last.count, known.last.sent, known.last.received);
        known.last = Attempt {
            count: count + attempt.count,
            sent: sent + attempt.sent,
            received: received + attempt.received,
            ..attempt
        };
    }

    /// Every kind, the most recent one last.
    pub fn into_rows(self) -> Vec<Traffic> {
        let mut rows: Vec<Traffic> = self.0.into_values().collect();
        rows.sort_by(|a, b| a.last.time.cmp(&b.last.time));
        rows
    }

    /// What was contacted with success: what `--lock` makes a list of.
    pub fn allowed(&self) -> Vec<Contact> {
        // A list knows TCP only.
        let is_allowed =
            |attempt: &Attempt| attempt.verdict == Verdict::Allowed && attempt.protocol == Protocol::Tcp;
        let allowed = self.0.values().filter(|traffic| is_allowed(&traffic.last));
        allowed.filter_map(|traffic| contact(&traffic.last)).collect()
    }
}

fn contact(attempt: &Attempt) -> Option<Contact> {
    let port = attempt.port?;
    match (&attempt.name, attempt.address) {
        // It was one when the gateway wrote it.
        (Some(name), _) => Some(Contact::Name { name: Name::from_user(name).ok()?, port }),
        (None, Some(IpAddr::V4(address))) => Some(Contact::Address { address, port }),
        // A guest names no others.
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: Option<&str>, address: &str, port: u16, verdict: &str, sent: u64) -> String {
        let name = name.map(|name| format!(r#""name":"{name}","#)).unwrap_or_default();
        format!(
            r#"{{"time":"2026-11-30T12:00:0{sent}.000Z","protocol":"tcp",{name}"address":"{address}","port":{port},"verdict":"{verdict}","sent":{sent},"received":1}}"#
        )
    }

    #[test]
    fn attempts_of_a_kind_are_one_row_and_damaged_lines_are_none() {
        let top = tempfile::tempdir().unwrap();
        let dir = VmDir::at(top.path());
        std::fs::create_dir(dir.file(NETWORK_DIR)).unwrap();
        let former = line(Some("a.example"), "1.1.1.1", 443, "allowed", 1);
        let lines = [
            line(Some("a.example"), "1.1.1.2", 443, "allowed", 2),
            line(Some("b.example"), "1.1.1.1", 443, "refused", 3),
            line(None, "8.8.8.8", 53, "allowed", 4),
            "{\"time\":".into(),
        ];
        std::fs::write(dir.file(NETWORK_DIR).join(FORMER_LOG), former + "\n").unwrap();
        std::fs::write(dir.file(NETWORK_DIR).join(LOG), lines.join("\n")).unwrap();
        let contacts = Contacts::read(&dir, Vec::new()).unwrap();
        assert_eq!(contacts.allowed().len(), 2);
        let rows = contacts.into_rows();
        let sums: Vec<_> =
            rows.iter().map(|row| (row.last.count, row.last.sent, row.last.received)).collect();
        assert_eq!(sums, [(2, 3, 2), (1, 3, 1), (1, 4, 1)]);
        let nothing = Contacts::read(&VmDir::at(&top.path().join("none")), Vec::new()).unwrap();
        assert!(nothing.into_rows().is_empty());
    }
}
