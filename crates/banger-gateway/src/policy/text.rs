//! A policy as text: read from the command line, a configuration file or the store, and written again.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::Entry;
use super::error::{EntryProblem, PolicyError};

/// What a VM may reach. Its text in normal form is its `Display`; serde has it as a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) base: Base,
    pub(super) allow: Vec<Entry>,
    pub(super) deny: Vec<Entry>,
}

/// What is allowed besides the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing: a list. Without an entry it is `none`.
    List,
    Internet,
    /// As `internet`, until `--lock`.
    Learn,
    All,
}

impl Base {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::List => "none",
            Self::Internet => "internet",
            Self::Learn => "learn",
            Self::All => "all",
        }
    }
}

const BASES: [Base; 4] = [Base::List, Base::Internet, Base::Learn, Base::All];

fn base(word: &str) -> Option<Base> {
    BASES.into_iter().find(|base| base.word().eq_ignore_ascii_case(word))
}

/// The words that are policies, not names.
pub(super) fn policy_word(text: &str) -> Option<&'static str> {
    base(text).map(Base::word)
}

impl Default for Policy {
    fn default() -> Self {
        Self::of(Base::Internet)
    }
}

impl Policy {
    pub(super) fn of(base: Base) -> Self {
        Self { base, allow: Vec::new(), deny: Vec::new() }
    }

    /// A policy of texts, each with one entry or several between commas. `!` before an entry denies it.
    pub fn from_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, PolicyError> {
        let mut policy = Self::of(Base::List);
        // The word and its base: `none` is a base that wants to be alone.
        let mut word = None;
        let mut is_empty = true;
        for text in texts {
            for part in text.as_ref().split(',') {
                is_empty = false;
                policy.add(part, &mut word)?;
            }
        }
        if is_empty {
            return Err(problem("", EntryProblem::Empty));
        }
        if word == Some(Base::List) && !policy.allow.is_empty() {
            return Err(problem("none", EntryProblem::NoneWithOthers));
        }
        if let (None, [], [denied, ..]) = (word, &*policy.allow, &*policy.deny) {
            return Err(problem(&format!("!{denied}"), EntryProblem::OnlyDenied));
        }
        policy.base = word.unwrap_or(Base::List);
        Ok(policy)
    }

    fn add(&mut self, part: &str, word: &mut Option<Base>) -> Result<(), PolicyError> {
        let part = part.trim();
        if let Some(denied) = part.strip_prefix('!') {
            push_new(&mut self.deny, Entry::parse(denied)?);
        } else if let Some(base) = base(part) {
            match word {
                Some(other) if *other != base => {
                    let other_word = other.word();
                    return Err(problem(part, EntryProblem::TwoPolicies(other_word)));
                }
                _ => *word = Some(base),
            }
        } else {
            push_new(&mut self.allow, Entry::parse(part)?);
        }
        Ok(())
    }

    /// The texts in normal form: the base, what is allowed, what is denied (with `!`). [`Self::from_texts`]
    /// makes the same policy of them.
    pub fn texts(&self) -> Vec<String> {
        let is_list = self.base == Base::List && !self.allow.is_empty();
        let base = (!is_list).then(|| self.base.word().to_owned());
        let allow = self.allow.iter().map(Entry::to_string);
        base.into_iter().chain(allow).chain(self.deny.iter().map(|entry| format!("!{entry}"))).collect()
    }

    /// Whether nothing at all can be reached: then no gateway is needed.
    pub fn is_none(&self) -> bool {
        self.base == Base::List && self.allow.is_empty()
    }

    /// Whether only what is listed can be reached.
    pub fn is_list(&self) -> bool {
        self.base == Base::List
    }
}

pub(super) fn push_new(entries: &mut Vec<Entry>, entry: Entry) {
    if !entries.contains(&entry) {
        entries.push(entry);
    }
}

fn problem(entry: &str, problem: EntryProblem) -> PolicyError {
    PolicyError { entry: entry.to_owned(), problem }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.texts().join(","))
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::from_texts([text])
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.texts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PolicyVisitor)
    }
}

/// A configuration file may have one text or a list of them.
struct PolicyVisitor;

impl<'de> Visitor<'de> for PolicyVisitor {
    type Value = Policy;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an egress policy: a text such as \"internet\" or a list of entries")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Policy, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Policy, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            texts.push(text);
        }
        Policy::from_texts(texts).map_err(de::Error::custom)
    }
}
