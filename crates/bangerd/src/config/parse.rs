use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use banger_api::size::{parse_mib, written};
use banger_gateway::policy::Policy;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::catalog::catalogs;
use super::error::{ConfigError, Text};
use super::file_sync::file_sync;
use super::{Config, LogLevel, NetworkChoice, Setting, VmmChoice};
use crate::spelling::nearest;

pub(super) type Key<'i> = Spanned<DeString<'i>>;
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

const TOP_KEYS: &[&str] = &[
    "default_image",
    "default_kernel",
    "vmm",
    "qemu_bin",
    "vm_defaults",
    "network",
    "dns",
    "file_sync",
    "catalog",
    "log_level",
];
const VM_DEFAULTS_KEYS: &[&str] = &["vcpu", "memory_mib", "disk_size"];
const NETWORK_KEYS: &[&str] = &["mode", "egress"];
const DNS_KEYS: &[&str] = &["listen"];

/// As many as the VMM takes that takes most; a VM's own is asked when it is made.
const VCPU: RangeInclusive<u64> = 1..=32;
const MEMORY_MIB: RangeInclusive<u64> = 128..=16 << 20;
const DISK_MIB: RangeInclusive<u64> = 64..=16 << 20;

/// Reads the file's text. Walks the document instead of deriving, so that every complaint has its place and
/// its words.
pub(super) fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let text = Text { path, text };
    let document = DeTable::parse(text.text).map_err(|error| {
        let span = error.span().unwrap_or(text.text.len()..text.text.len());
        text.mistake(span, error.message(), None)
    })?;
    let mut config = Config { exists: true, ..Config::builtin(path) };
    for (key, value) in in_order(document.get_ref()) {
        match key.get_ref().as_ref() {
            "default_image" => config.default_image = Setting::configured(text.word(key, value)?.into()),
            "default_kernel" => config.default_kernel = Setting::configured(text.word(key, value)?.into()),
            "vmm" => config.vmm = Setting::configured(text.choice(key, value, VmmChoice::WORDS)?),
            "qemu_bin" => config.qemu_bin = Setting::configured(text.program(key, value)?),
            "vm_defaults" => vm_defaults(text, text.table(key, value)?, &mut config)?,
            "network" => network(text, text.table(key, value)?, &mut config)?,
            "dns" => dns(text, text.table(key, value)?, &mut config)?,
            "file_sync" => config.file_sync = Setting::configured(file_sync(text, key, value)?),
            "catalog" => config.catalogs = Setting::configured(catalogs(text, key, value)?),
            "log_level" => {
                config.log_level = Setting::configured(text.choice(key, value, LogLevel::WORDS)?)
            }
            _ => return Err(text.unknown(key, "", TOP_KEYS)),
        }
    }
    Ok(config)
}

fn vm_defaults(text: Text<'_>, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
    for (key, value) in in_order(table) {
        match key.get_ref().as_ref() {
            // The bound of `VCPU` fits.
            "vcpu" => config.vcpu = Some(text.number(key, value, VCPU)? as u32),
            "memory_mib" => config.memory_mib = Some(text.number(key, value, MEMORY_MIB)?),
            "disk_size" => config.disk_mib = Some(text.disk_mib(key, value)?),
            _ => return Err(text.unknown(key, " in [vm_defaults]", VM_DEFAULTS_KEYS)),
        }
    }
    Ok(())
}

fn network(text: Text<'_>, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
    for (key, value) in in_order(table) {
        match key.get_ref().as_ref() {
            "mode" => config.network = Setting::configured(text.choice(key, value, NetworkChoice::WORDS)?),
            "egress" => config.egress = Setting::configured(text.egress(key, value)?),
            _ => return Err(text.unknown(key, " in [network]", NETWORK_KEYS)),
        }
    }
    Ok(())
}

fn dns(text: Text<'_>, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
    for (key, value) in in_order(table) {
        match key.get_ref().as_ref() {
            "listen" => config.dns_listen = Setting::configured(text.listen(key, value)?),
            _ => return Err(text.unknown(key, " in [dns]", DNS_KEYS)),
        }
    }
    Ok(())
}

/// As they stand in the file, so that the first complaint is about the first mistake.
pub(super) fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Key<'i>, &'a Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

impl Text<'_> {
    /// `place` says which table it is in, if it is not the whole file.
    pub(super) fn unknown(self, key: &Key<'_>, place: &str, known: &[&str]) -> ConfigError {
        let word = key.get_ref();
        let hint = match nearest(word, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("these are known{place}: {}", known.join(", ")),
        };
        self.mistake(key.span(), format!("unknown key `{}`{place}", word.escape_debug()), Some(hint))
    }

    pub(super) fn wrong_type(self, key: &Key<'_>, value: &Value<'_>, wanted: &str) -> ConfigError {
        let message = format!("`{}` must be {wanted}, found {}", key.get_ref(), kind(value.get_ref()));
        self.mistake(value.span(), message, None)
    }

    fn string<'v>(self, key: &Key<'_>, value: &'v Value<'_>, wanted: &str) -> Result<&'v str, ConfigError> {
        value.get_ref().as_str().ok_or_else(|| self.wrong_type(key, value, wanted))
    }

    fn word<'v>(self, key: &Key<'_>, value: &'v Value<'_>) -> Result<&'v str, ConfigError> {
        let word = self.string(key, value, "a string")?;
        if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(self.mistake(value.span(), format!("`{}` must be a name", key.get_ref()), None));
        }
        Ok(word)
    }

    fn choice<T: Copy>(
        self,
        key: &Key<'_>,
        value: &Value<'_>,
        words: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let names = || words.iter().map(|(name, _)| *name);
        let wanted = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        let word = self.string(key, value, &wanted)?;
        words.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| {
            let hint = nearest(word, names()).map(|meant| format!("did you mean \"{meant}\"?"));
            let message = format!("`{}` must be {wanted}, found {word:?}", key.get_ref());
            self.mistake(value.span(), message, hint)
        })
    }

    /// One text, or a list of them.
    fn egress(self, key: &Key<'_>, value: &Value<'_>) -> Result<Policy, ConfigError> {
        let wanted = "a policy (\"internet\") or a list ([\"github.com\", \"*.debian.org\"])";
        let texts = match value.get_ref() {
            DeValue::Array(array) => array
                .iter()
                .map(|value| self.string(key, value, "a list of strings"))
                .collect::<Result<_, _>>()?,
            _ => vec![self.string(key, value, wanted)?],
        };
        Policy::from_texts(texts).map_err(|error| self.mistake(value.span(), error.to_string(), None))
    }

    fn program(self, key: &Key<'_>, value: &Value<'_>) -> Result<PathBuf, ConfigError> {
        let program = Path::new(self.string(key, value, "a string")?);
        let is_name = program.components().count() == 1 && program.file_name() == Some(program.as_os_str());
        if program.is_absolute() || is_name {
            return Ok(program.to_owned());
        }
        let message =
            format!("`{}` must be an absolute path, or the name of a program on PATH", key.get_ref());
        Err(self.mistake(value.span(), message, None))
    }

    fn number(
        self,
        key: &Key<'_>,
        value: &Value<'_>,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let (min, max) = (range.start(), range.end());
        let wanted = format!("an integer from {min} to {max}");
        let DeValue::Integer(integer) = value.get_ref() else {
            return Err(self.wrong_type(key, value, &wanted));
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            self.mistake(value.span(), format!("`{}` must be {wanted}, found {integer}", key.get_ref()), None)
        })
    }

    fn disk_mib(self, key: &Key<'_>, value: &Value<'_>) -> Result<u64, ConfigError> {
        let wanted = "a size like \"8GiB\" or \"512MiB\"";
        let size = self.string(key, value, wanted)?;
        let (min, max) = (written(*DISK_MIB.start()), written(*DISK_MIB.end()));
        let mistake = |what: String| {
            self.mistake(value.span(), format!("`{}` must be {what}, found {size:?}", key.get_ref()), None)
        };
        let mib = parse_mib(size).map_err(|_| mistake(wanted.into()))?;
        if DISK_MIB.contains(&mib) { Ok(mib) } else { Err(mistake(format!("from {min} to {max}"))) }
    }

    /// An address and a port, or none.
    fn listen(self, key: &Key<'_>, value: &Value<'_>) -> Result<Option<SocketAddr>, ConfigError> {
        let wanted = "an address and a port like \"127.0.0.1:42069\", or \"off\"";
        let word = self.string(key, value, wanted)?;
        match (word, word.parse::<SocketAddr>()) {
            ("off", _) => Ok(None),
            (_, Ok(address)) if address.port() != 0 => Ok(Some(address)),
            _ => {
                let message = format!("`{}` must be {wanted}, found {word:?}", key.get_ref());
                Err(self.mistake(value.span(), message, None))
            }
        }
    }

    fn table<'v, 'i>(self, key: &Key<'_>, value: &'v Value<'i>) -> Result<&'v DeTable<'i>, ConfigError> {
        value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, value, "a table"))
    }
}
