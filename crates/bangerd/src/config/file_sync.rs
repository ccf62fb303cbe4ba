use std::path::{Path, PathBuf};

use banger_guest_protocol::archive::EntryPath;

use super::error::{ConfigError, Text};
use super::parse::{Key, Value, in_order, kind};

const KEYS: &[&str] = &["host", "guest", "mode"];

/// Permission bits that `mode` may give. A setuid bit has no business in a copy.
const MODE_MAX: u32 = 0o777;

/// A file or directory of the host's that each start copies into the guest: an entry of `[[file_sync]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSync {
    /// As configured: absolute, or `~/` and what lies below the user's home.
    pub host: String,
    /// Its own place below the guest's `/root`, without `.`, `..` and empty parts.
    pub guest: String,
    /// Permission bits of its files. None: 0600 for a file, the host's own for those in a directory.
    pub mode: Option<u32>,
}

impl FileSync {
    /// Where it lies for a user whose home is `home`.
    pub fn host_path(&self, home: &Path) -> PathBuf {
        match self.host.strip_prefix("~/") {
            // What follows may begin with more slashes, and is no absolute path for that.
            Some(below) => home.join(below.trim_start_matches('/')),
            None => PathBuf::from(&self.host),
        }
    }
}

/// Reads all entries.
pub(super) fn file_sync(
    text: Text<'_>,
    key: &Key<'_>,
    value: &Value<'_>,
) -> Result<Vec<FileSync>, ConfigError> {
    let entries =
        value.get_ref().as_array().ok_or_else(|| text.wrong_type(key, value, "a list of tables"))?;
    entries.iter().enumerate().map(|(index, value)| entry(text, index, value)).collect()
}

fn entry(text: Text<'_>, index: usize, value: &Value<'_>) -> Result<FileSync, ConfigError> {
    let name = format!("file_sync[{index}]");
    let table = value.get_ref().as_table().ok_or_else(|| {
        let message = format!("{name} must be a table, found {}", kind(value.get_ref()));
        text.mistake(value.span(), message, None)
    })?;
    let (mut host, mut guest, mut mode) = (None, None, None);
    for (key, value) in in_order(table) {
        let field = Field { text, entry: &name, key: key.get_ref(), value };
        match key.get_ref().as_ref() {
            "host" => host = Some(field.host()?),
            "guest" => guest = Some(field.guest()?),
            "mode" => mode = Some(field.mode()?),
            _ => return Err(text.unknown(key, &format!(" in {name}"), KEYS)),
        }
    }
    let missing = |key| text.mistake(value.span(), format!("{name} has no `{key}`"), None);
    Ok(FileSync {
        host: host.ok_or_else(|| missing("host"))?,
        guest: guest.ok_or_else(|| missing("guest"))?,
        mode,
    })
}

/// A key's value, and what it is a value of.
struct Field<'a, 'v> {
    text: Text<'a>,
    entry: &'a str,
    key: &'a str,
    value: &'v Value<'v>,
}

impl<'v> Field<'_, 'v> {
    fn refuse(&self, must: &str, found: &str, hint: Option<&str>) -> ConfigError {
        let message = format!("`{}` of {} must {must}, found {found}", self.key, self.entry);
        self.text.mistake(self.value.span(), message, hint.map(Into::into))
    }

    fn string(&self, hint: Option<&str>) -> Result<&'v str, ConfigError> {
        let value = self.value.get_ref();
        value.as_str().ok_or_else(|| self.refuse("be a string", kind(value), hint))
    }

    fn host(&self) -> Result<String, ConfigError> {
        let path = self.string(None)?;
        let found = format!("{path:?}");
        if !path.starts_with('/') && !path.starts_with("~/") {
            return Err(self.refuse("be an absolute path, or begin with `~/`", &found, None));
        }
        if path.contains('\0') {
            return Err(self.refuse("be a path", &found, None));
        }
        Ok(path.to_owned())
    }

    fn guest(&self) -> Result<String, ConfigError> {
        let path = self.string(None)?;
        let refuse = |must: &str| self.refuse(must, &format!("{path:?}"), None);
        let outside = || refuse("lie under `~/` or `/root/`");
        // The user's home in the guest, root's.
        if ["~", "/root"].contains(&path) {
            return Err(refuse("be something in `~/`, not all of it"));
        }
        let below = path.strip_prefix("~/").or_else(|| path.strip_prefix("/root/")).ok_or_else(outside)?;
        let below = below.trim_start_matches('/');
        // No parse fails for an absolute path any more: that was cut off.
        let parsed = EntryPath::parse(below.as_bytes()).map_err(|_| refuse("be a path without `..`"))?;
        if parsed.is_root() {
            return Err(refuse("be something in `~/`, not all of it"));
        }
        // Cut out of a string at slashes, it is one again.
        Ok(String::from_utf8_lossy(parsed.as_bytes()).into_owned())
    }

    fn mode(&self) -> Result<u32, ConfigError> {
        let wanted = "be permission bits in octal, from \"0000\" to \"0777\"";
        let text = self.string(Some("write it as a string: \"0600\""))?;
        let is_octal =
            (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= MODE_MAX);
        mode.ok_or_else(|| self.refuse(wanted, &format!("{text:?}"), None))
    }
}
