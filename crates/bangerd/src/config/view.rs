use std::net::SocketAddr;
use std::path::Path;

use banger_api::config::{ConfigValue, ConfigView, Origin};
use banger_api::size::written;
use banger_api::vm::Acceleration;

use super::{Config, FileSync, HostSize, LogLevel, NetworkChoice, Setting, VmmChoice, vm_defaults};
use crate::catalog::CatalogPlace;
use crate::paths::Paths;

impl Config {
    /// Every key with its value in force and who says so; the directories as well, which the environment
    /// decides.
    pub fn view(&self, paths: &Paths, host: HostSize, acceleration: Acceleration) -> ConfigView {
        let vm = vm_defaults(self, host, acceleration);
        let values = vec![
            row("default_image", quoted(&self.default_image.value), self.default_image.origin),
            row("default_kernel", quoted(&self.default_kernel.value), self.default_kernel.origin),
            choice("vmm", self.vmm, VmmChoice::WORDS),
            row("qemu_bin", path(&self.qemu_bin.value), self.qemu_bin.origin),
            row("vm_defaults.vcpu", vm.vcpu.value.to_string(), vm.vcpu.origin),
            row("vm_defaults.memory_mib", vm.memory_mib.value.to_string(), vm.memory_mib.origin),
            row("vm_defaults.disk_size", quoted(&written(vm.disk_mib.value)), vm.disk_mib.origin),
            choice("network.mode", self.network, NetworkChoice::WORDS),
            row("network.egress", quoted(&self.egress.value.to_string()), self.egress.origin),
            row("dns.listen", quoted(&listen(self.dns_listen.value)), self.dns_listen.origin),
            row("file_sync", file_sync(&self.file_sync.value), self.file_sync.origin),
            row("catalog", catalogs(&self.catalogs.value), self.catalogs.origin),
            choice("log_level", self.log_level, LogLevel::WORDS),
            row("state_dir", path(&paths.state), Origin::Auto),
            row("cache_dir", path(&paths.cache), Origin::Auto),
            row("socket", path(&paths.socket), Origin::Auto),
            row("log_path", path(&paths.log()), Origin::Auto),
        ];
        ConfigView { path: self.path.display().to_string(), exists: self.exists, values }
    }
}

fn row(key: &str, value: String, origin: Origin) -> ConfigValue {
    ConfigValue { key: key.into(), value, origin }
}

fn choice<T: Copy + PartialEq>(key: &str, setting: Setting<T>, words: &[(&str, T)]) -> ConfigValue {
    let word = words.iter().find(|(_, choice)| *choice == setting.value).map_or("", |(name, _)| name);
    row(key, quoted(word), setting.origin)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn listen(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".into(), |address| address.to_string())
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// All entries in one line, as the file could have them.
fn file_sync(entries: &[FileSync]) -> String {
    let shown = |entry: &FileSync| {
        let mode = entry.mode.map(|mode| format!(", mode = \"{mode:04o}\"")).unwrap_or_default();
        let guest = quoted(&format!("~/{}", entry.guest));
        format!("{{ host = {}, guest = {guest}{mode} }}", quoted(&entry.host))
    };
    format!("[{}]", entries.iter().map(shown).collect::<Vec<_>>().join(", "))
}

fn catalogs(places: &[CatalogPlace]) -> String {
    let shown = |place: &CatalogPlace| match place {
        CatalogPlace::File(file) => format!("{{ path = {} }}", path(file)),
        CatalogPlace::Url(url) => format!("{{ url = {} }}", quoted(url)),
    };
    format!("[{}]", places.iter().map(shown).collect::<Vec<_>>().join(", "))
}
