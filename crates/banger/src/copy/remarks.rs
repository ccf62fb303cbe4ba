/// How many names of a kind are told.
const NAMED: usize = 10;

/// Some names, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) named: Vec<String>,
    pub(crate) more: usize,
}

impl Listed {
    pub(super) fn push(&mut self, name: String) {
        if self.named.len() < NAMED { self.named.push(name) } else { self.more += 1 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

/// What there is to tell of a copy besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// Neither file, directory nor symlink, so it stayed behind.
    pub(crate) skipped: Listed,
    /// Directories where other file systems are mounted, whose content stayed behind.
    pub(crate) mounts: Listed,
    /// Gone between listing and reading.
    pub(crate) vanished: Listed,
    /// Sentences about what should have been copied and was not, or not wholly.
    pub(crate) failures: Listed,
}
