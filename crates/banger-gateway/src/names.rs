//! Which address stands for which name.
//!
//! Each name that the guest looks up gets an address of its own, so that a connection carries its name. The
//! table is kept in a file as well: a guest's programs remember addresses for longer than a gateway may live.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::Ipv4Addr;

use banger_guest_protocol::flow::addresses::{FIRST_NAME, LAST_NAME};

use crate::policy::Name;

/// How many names are known at once. An address is given to another name only after all others were: more
/// than an hour later, as fast as a guest may look up names.
const NAMES_MAX: usize = 8192;

/// How large the file may become before it is written anew, in bytes.
const FILE_MAX_LEN: u64 = 4 << 20;

/// The table.
#[derive(Debug)]
pub(crate) struct Names {
    by_name: HashMap<Name, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, Name>,
    /// The oldest first.
    order: VecDeque<Ipv4Addr>,
    next: Ipv4Addr,
    file: File,
}

impl Names {
    /// Reads the table out of its file. What cannot be read there is forgotten.
    ///
    /// # Errors
    ///
    /// When the file cannot be read at all.
    pub(crate) fn open(mut file: File) -> io::Result<Self> {
        let mut text = Vec::new();
        io::Read::by_ref(&mut file).take(2 * FILE_MAX_LEN).read_to_end(&mut text)?;
        let mut names = Self {
            by_name: HashMap::new(),
            by_address: HashMap::new(),
            order: VecDeque::new(),
            next: FIRST_NAME,
            file,
        };
        for line in text.split(|byte| *byte == b'\n') {
            names.read(line);
        }
        Ok(names)
    }

    /// `ADDRESS NAME`; the last line may be half written.
    fn read(&mut self, line: &[u8]) {
        // See above.
        let Some((address, name)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '))
        else {
            return;
        };
        // As above.
        let (Ok(address), Ok(name)) = (address.parse(), Name::from_bytes(name.as_bytes())) else { return };
        if (FIRST_NAME..=LAST_NAME).contains(&address) {
            self.insert(address, name);
            self.next = after(address);
        }
    }

    pub(crate) fn name_of(&self, address: Ipv4Addr) -> Option<&Name> {
        self.by_address.get(&address)
    }

    /// The name's address: the one it has, or a new one.
    pub(crate) fn address_of(&mut self, name: &Name) -> Ipv4Addr {
        if let Some(address) = self.by_name.get(name) {
            return *address;
        }
        let address = self.next;
        self.next = after(address);
        self.insert(address, name.clone());
        if let Err(error) = self.write(address, name) {
            // Then a gateway after this one will not know it.
            tracing::warn!(%error, "could not note a name");
        }
        address
    }

    pub(crate) fn knows(&self, name: &Name) -> bool {
        self.by_name.contains_key(name)
    }

    fn insert(&mut self, address: Ipv4Addr, name: Name) {
        if let Some(old) = self.by_address.insert(address, name.clone()) {
            self.by_name.remove(&old);
            self.order.retain(|known| *known != address);
        }
        if let Some(old) = self.by_name.insert(name, address) {
            self.by_address.remove(&old);
            self.order.retain(|known| *known != old);
        }
        self.order.push_back(address);
        if self.order.len() > NAMES_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(name) = self.by_address.remove(&oldest)
        {
            self.by_name.remove(&name);
        }
    }

    fn write(&mut self, address: Ipv4Addr, name: &Name) -> io::Result<()> {
        if self.file.metadata()?.len() > FILE_MAX_LEN {
            let lines =
                self.order.iter().filter_map(|address| Some((address, self.by_address.get(address)?)));
            let text: String =
                lines.map(|(address, name)| format!("{address} {}\n", name.as_str())).collect();
            self.file.set_len(0)?;
            self.file.rewind()?;
            return self.file.write_all(text.as_bytes());
        }
        self.file.write_all(format!("{address} {}\n", name.as_str()).as_bytes())
    }
}

fn after(address: Ipv4Addr) -> Ipv4Addr {
    if address >= LAST_NAME { FIRST_NAME } else { Ipv4Addr::from_bits(address.to_bits() + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> Names {
        let file = std::fs::OpenOptions::new().read(true).append(true).create(true).open(path).unwrap();
        Names::open(file).unwrap()
    }

    fn name(text: &str) -> Name {
        Name::from_user(text).unwrap()
    }

    #[test]
    fn a_name_keeps_its_address_also_in_the_next_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names");
        let mut names = open(&path);
        let (first, second) = (names.address_of(&name("a.example")), names.address_of(&name("b.example")));
        assert_ne!(first, second);
        assert_eq!(names.address_of(&name("A.example.")), first);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"198.18.9.9 half").unwrap();
        let mut names = open(&path);
        assert_eq!(names.name_of(first), Some(&name("a.example")));
        assert_eq!(names.address_of(&name("b.example")), second);
        assert!(![first, second].contains(&names.address_of(&name("c.example"))));
    }

    #[test]
    fn the_oldest_names_go_and_addresses_are_not_soon_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut names = open(&dir.path().join("names"));
        let first = names.address_of(&name("first.example"));
        for number in 0..NAMES_MAX {
            assert_ne!(names.address_of(&name(&format!("n{number}.example"))), first);
        }
        assert_eq!(names.name_of(first), None);
        assert_eq!(
            (names.by_name.len(), names.by_address.len(), names.order.len()),
            (NAMES_MAX, NAMES_MAX, NAMES_MAX)
        );
        assert!(names.file.metadata().unwrap().len() < FILE_MAX_LEN);
    }

    #[test]
    fn a_damaged_file_loses_only_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names");
        std::fs::write(&path, b"198.18.1.0 good.example\n\xff\xfe\n127.0.0.1 bad.example\n198.18.1.7\n198.18.1.1 also.example\n").unwrap();
        let names = open(&path);
        assert_eq!(names.by_name.len(), 2);
        assert_eq!(names.name_of(Ipv4Addr::new(198, 18, 1, 1)), Some(&name("also.example")));
    }
}
