//! Commits that the guest has made, as text that is harmless to show.

use super::object::ObjectId;

/// More commits than this are not taken one by one.
pub(super) const MAX_COMMITS: usize = 1000;

/// A larger commit is refused, in bytes.
pub(super) const MAX_COMMIT_LEN: u64 = 1 << 20;

/// Seconds since the epoch have no more digits than this until the year 5138.
const MAX_SECONDS_DIGITS: usize = 11;

/// What is kept of a commit. Its committer, its signature and other headers are not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GuestCommit {
    pub(super) tree: ObjectId,
    pub(super) parents: Vec<ObjectId>,
    pub(super) author: Author,
    pub(super) message: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Author {
    name: String,
    email: String,
    /// As git reads it; none when the guest's makes no sense.
    date: Option<String>,
}

impl GuestCommit {
    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        let end = raw.windows(2).position(|pair| pair == b"\n\n")?;
        let (headers, message) = (&raw[..end], &raw[end + 2..]);
        let (mut tree, mut parents, mut author, mut is_latin1) = (None, Vec::new(), None, false);
        for line in headers.split(|byte| *byte == b'\n') {
            // What continues a header begins with a space.
            let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
            let value = &line[space + 1..];
            match &line[..space] {
                b"tree" if tree.is_none() => tree = Some(ObjectId::parse(value)?),
                b"parent" => parents.push(ObjectId::parse(value)?),
                b"author" if author.is_none() => author = Some(value),
                b"encoding" => {
                    is_latin1 = matches!(
                        value.to_ascii_lowercase().as_slice(),
                        b"iso-8859-1" | b"latin1" | b"latin-1"
                    )
                }
                _ => {}
            }
        }
        let text = |bytes: &[u8]| match is_latin1 {
            true => bytes.iter().map(|byte| char::from(*byte)).collect(),
            false => String::from_utf8_lossy(bytes).into_owned(),
        };
        let author = Author::parse(&text(author?));
        Some(Self { tree: tree?, parents, author, message: harmless(&text(message)) })
    }
}

impl Author {
    fn parse(line: &str) -> Self {
        let (name, rest) = line.split_once('<').unwrap_or((line, ""));
        let (email, date) = rest.split_once('>').unwrap_or((rest, ""));
        let clean = |text: &str| {
            let text = harmless(text).replace(['<', '>', '\n', '\t'], " ");
            text.trim().to_owned()
        };
        let mut words = date.split_ascii_whitespace();
        let date = words.next().zip(words.next()).filter(|(seconds, zone)| is_date(seconds, zone));
        let date = date.map(|(seconds, zone)| format!("@{seconds} {zone}"));
        // git refuses a name of nothing but these.
        let is_name = |name: &String| name.chars().any(|c| !c.is_ascii_punctuation() && c != ' ');
        let name = Some(clean(name)).filter(is_name).unwrap_or_else(|| "unknown".into());
        Self { name, email: clean(email), date }
    }

    /// How git is told.
    pub(super) fn environment(&self) -> Vec<(&'static str, &str)> {
        let names = [("GIT_AUTHOR_NAME", &*self.name), ("GIT_AUTHOR_EMAIL", &*self.email)];
        names.into_iter().chain(self.date.as_deref().map(|date| ("GIT_AUTHOR_DATE", date))).collect()
    }
}

fn is_date(seconds: &str, zone: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_zone = zone.len() == 5 && zone.starts_with(['+', '-']) && is_number(&zone[1..]);
    // git itself carries a larger one over into five digits, and then refuses it.
    let is_zone = is_zone && zone[1..] <= *"1400" && zone[3..] < *"60";
    is_number(seconds) && seconds.len() <= MAX_SECONDS_DIGITS && is_zone
}

/// The text, with what a terminal would obey, or what would hide or turn around other text, as something to
/// see.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\0'..='\x1f' => shown.extend(char::from_u32(0x2400 + u32::from(c))),
            '\x7f' => shown.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn commit(author: &str, message: &str) -> GuestCommit {
        let raw = format!(
            "tree {TREE}\nparent {TREE}\nauthor {author}\ncommitter x <x> 1 +0000\ngpgsig -----BEGIN\n author y\n -----END\n\n{message}"
        );
        GuestCommit::parse(raw.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let commit =
            commit("J\u{f6}rg \x1b[31m<j@x\x07> 1700000000 +0100", "a\tb\r\n\x1b]0;x\x07\u{202e}end\x7f\n");
        let environment = commit.author.environment();
        assert_eq!(
            environment,
            [
                ("GIT_AUTHOR_NAME", "J\u{f6}rg \u{241b}[31m"),
                ("GIT_AUTHOR_EMAIL", "j@x\u{2407}"),
                ("GIT_AUTHOR_DATE", "@1700000000 +0100")
            ]
        );
        assert_eq!(commit.message, "a\tb\n\u{241b}]0;x\u{2407}\\u{202e}end\u{2421}\n");
        assert_eq!(commit.parents.len(), 1);
    }

    #[test]
    fn an_author_that_makes_no_sense_is_none() {
        for (line, name, email, date) in [
            ("<> 1 +0000", "unknown", "", Some("@1 +0000")),
            ("... <a> 99999999999999 +0000", "unknown", "a", None),
            ("A <a> -1 +0000", "A", "a", None),
            ("A <a> 1 +00000", "A", "a", None),
            ("A <a> 1 +9999", "A", "a", None),
            ("A <a> 1 +0099", "A", "a", None),
            ("A", "A", "", None),
            ("A <b <c> 1 -0000", "A", "b  c", Some("@1 -0000")),
        ] {
            let author = Author::parse(line);
            assert_eq!(
                (&*author.name, &*author.email, author.date.as_deref()),
                (name, email, date),
                "{line}"
            );
        }
    }

    #[test]
    fn another_encoding_is_read() {
        let raw = [
            format!("tree {TREE}\nauthor J").into_bytes(),
            b"\xf6rg <j> 1 +0000\nencoding ISO-8859-1\n\n\xe4".to_vec(),
        ];
        let commit = GuestCommit::parse(&raw.concat()).unwrap();
        assert_eq!((&*commit.author.name, &*commit.message), ("J\u{f6}rg", "\u{e4}"));
        for bad in ["", "tree x\nauthor a <b> 1 +0000\n\nm", "author a <b> 1 +0000\n\nm"] {
            assert_eq!(GuestCommit::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
