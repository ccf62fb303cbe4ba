use std::path::Path;

use banger_api::config::Origin;
use banger_api::vm::Acceleration;
use proptest::prelude::*;

use super::*;
use crate::paths::Paths;

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/home/u/config.toml"))
}

pub(super) fn complaint(text: &str) -> (String, Option<String>) {
    let error = parse(text).expect_err(text);
    (error.to_string().replace("/home/u/", ""), error.hint())
}

const WHOLE: &str = r#"
default_image = "debian-bookworm"
default_kernel = 'debian-6.1'
vmm = "qemu"
qemu_bin = "/opt/qemu/bin/qemu-system-x86_64"
log_level = "debug"

[vm_defaults]
vcpu = 0x3
memory_mib = 1_024
disk_size = "20GiB"

[network]
mode = "none"
egress = ["github.com", "host:11434"]

[dns]
listen = "127.0.0.2:5300"

[[file_sync]]
host = "~/.ssh/id_ed25519"
guest = "~/.ssh/id_ed25519"

[[file_sync]]
host = "/srv/tool\\ts/"
guest = "/root/.//tools/"
mode = "755"

[[catalog]]
path = "/srv/catalog.json"

[[catalog]]
url = "https://h.example/catalog.json"
"#;

#[test]
fn every_key_has_its_effect() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.default_image, Setting::configured("debian-bookworm".into()));
    assert_eq!(config.default_kernel, Setting::configured("debian-6.1".into()));
    assert_eq!(config.vmm, Setting::configured(VmmChoice::Qemu));
    assert_eq!(config.qemu_bin, Setting::configured("/opt/qemu/bin/qemu-system-x86_64".into()));
    assert_eq!((config.vcpu, config.memory_mib, config.disk_mib), (Some(3), Some(1024), Some(20 << 10)));
    assert_eq!(config.network.value.mode(), NetworkMode::None);
    assert_eq!(config.egress.value.to_string(), "github.com,host:11434");
    assert_eq!(parse("network.egress = \"all\"").unwrap().egress.value.to_string(), "all");
    assert_eq!(config.dns_listen, Setting::configured("127.0.0.2:5300".parse().ok()));
    assert_eq!(parse("dns.listen = \"off\"").unwrap().dns_listen.value, None);
    assert_eq!(config.log_level, Setting::configured(LogLevel::Debug));
    assert!(config.exists);
    let key = ".ssh/id_ed25519".to_owned();
    let synced = [
        FileSync { host: "~/.ssh/id_ed25519".into(), guest: key, mode: None },
        FileSync { host: "/srv/tool\\ts/".into(), guest: "tools".into(), mode: Some(0o755) },
    ];
    assert_eq!(config.file_sync, Setting::configured(synced.into()));
}

#[test]
fn without_a_file_all_is_built_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none/config.toml");
    let config = Config::load(&path).unwrap();
    assert_eq!(config, Config::builtin(&path));
    assert_eq!(
        Config { exists: false, ..parse("").unwrap() },
        Config::builtin(Path::new("/home/u/config.toml"))
    );
}

#[test]
fn complaints_name_the_place_and_the_way_out() {
    for (text, message, hint) in [
        ("\n  vmn = \"qemu\"", "config.toml:2:3: unknown key `vmn`", Some("did you mean `vmm`?")),
        (
            "[network]\nbridge = \"br0\"",
            "config.toml:2:1: unknown key `bridge` in [network]",
            Some("these are known in [network]: mode, egress"),
        ),
        (
            "vm_defaults.memory_mb = 1",
            "config.toml:1:13: unknown key `memory_mb` in [vm_defaults]",
            Some("did you mean `memory_mib`?"),
        ),
        ("default_image = 7", "config.toml:1:17: `default_image` must be a string, found an integer", None),
        ("default_image = \"\"", "config.toml:1:17: `default_image` must be a name", None),
        (
            "vmm = \"qeum\"",
            "config.toml:1:7: `vmm` must be \"auto\" or \"qemu\", found \"qeum\"",
            Some("did you mean \"qemu\"?"),
        ),
        ("[vm_defaults]\nvcpu = 0", "config.toml:2:8: `vcpu` must be an integer from 1 to 32, found 0", None),
        (
            "[vm_defaults]\nvcpu = -1",
            "config.toml:2:8: `vcpu` must be an integer from 1 to 32, found -1",
            None,
        ),
        (
            "[vm_defaults]\nvcpu = 1.5",
            "config.toml:2:8: `vcpu` must be an integer from 1 to 32, found a fraction",
            None,
        ),
        (
            "[vm_defaults]\ndisk_size = \"8KB\"",
            "config.toml:2:13: `disk_size` must be a size like \"8GiB\" or \"512MiB\", found \"8KB\"",
            None,
        ),
        (
            "[vm_defaults]\ndisk_size = \"8\"",
            "config.toml:2:13: `disk_size` must be from 64MiB to 16384GiB, found \"8\"",
            None,
        ),
        (
            "[vm_defaults]\ndisk_size = \"1M\"",
            "config.toml:2:13: `disk_size` must be from 64MiB to 16384GiB, found \"1M\"",
            None,
        ),
        (
            "qemu_bin = \"bin/qemu\"",
            "config.toml:1:12: `qemu_bin` must be an absolute path, or the name of a program on PATH",
            None,
        ),
        (
            "[dns]\nlisten = \"127.0.0.1\"",
            "config.toml:2:10: `listen` must be an address and a port like \"127.0.0.1:42069\", or \"off\", found \"127.0.0.1\"",
            None,
        ),
        (
            "[dns]\nlisten = 42069",
            "config.toml:2:10: `listen` must be an address and a port like \"127.0.0.1:42069\", or \"off\", found an integer",
            None,
        ),
        (
            "[dns]\nport = 1",
            "config.toml:2:1: unknown key `port` in [dns]",
            Some("these are known in [dns]: listen"),
        ),
        ("network = \"user\"", "config.toml:1:11: `network` must be a table, found a string", None),
        (
            "# ü\nvmm = \"qemu\" # é\nü = 1",
            "config.toml:3:1: invalid unquoted key, expected letters, numbers, `-`, `_`",
            None,
        ),
        (
            "\"é\" = 1",
            "config.toml:1:1: unknown key `é`",
            Some(
                "these are known: default_image, default_kernel, vmm, qemu_bin, vm_defaults, network, dns, file_sync, catalog, log_level",
            ),
        ),
        ("z = 1\na = 1", "config.toml:1:1: unknown key `z`", None),
    ] {
        let (seen_message, seen_hint) = complaint(text);
        assert_eq!(seen_message, message, "{text}");
        if hint.is_some() {
            assert_eq!(seen_hint.as_deref(), hint, "{text}");
        }
    }
}

#[test]
fn a_key_given_twice_is_refused() {
    let (message, _) = complaint("vmm = \"qemu\"\nvmm = \"auto\"");
    assert!(message.starts_with("config.toml:2:1: "), "{message}");
}

#[test]
fn files_that_are_no_text_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, b"vmm = \"qemu\"\nlog_level = \"\xff\"").unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.ends_with("config.toml:2:14: this is not UTF-8 text"), "{message}");
    assert!(matches!(Config::load(dir.path()), Err(ConfigError::Read { .. })));
    assert!(matches!(Config::load(Path::new("/dev/zero")), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for text in ["[".repeat(100_000), format!("a = {}", "[".repeat(100_000)), "a.".repeat(100_000) + "a = 1"]
    {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn the_view_can_be_read_back() {
    let paths = Paths {
        config_file: "/c/config.toml".into(),
        state: "/state dir".into(),
        cache: "/cache".into(),
        socket: "/run/s".into(),
    };
    let config = parse(WHOLE).unwrap();
    let view = config.view(&paths, HostSize { cpus: 8, memory_mib: 16_384 }, Acceleration::Tcg);
    let is_path = |key: &str| ["state_dir", "cache_dir", "socket", "log_path"].contains(&key);
    let (fixed, keys): (Vec<_>, Vec<_>) = view.values.iter().partition(|value| is_path(&value.key));
    assert_eq!(fixed.len(), 4);
    assert!(keys.iter().all(|value| value.origin == Origin::Config));
    let text: String = keys.iter().map(|value| format!("{} = {}\n", value.key, value.value)).collect();
    assert_eq!(parse(&text).unwrap(), config);
}

/// Lines as somebody might write them, right and wrong.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("vmm".to_owned()),
        Just("[vm_defaults]\nvcpu".to_owned()),
        Just("vm_defaults.disk_size".to_owned()),
        Just("network".to_owned()),
        "[a-z_.\"é]{0,8}",
    ];
    let value = prop_oneof![
        Just("\"qemu\"".to_owned()),
        Just("{ mode = \"user\" }".to_owned()),
        "[0-9]{0,24}",
        "\"\\PC{0,6}\"",
        "\\PC{0,10}"
    ];
    (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"))
}

proptest! {
    #[test]
    fn no_text_breaks_it_and_every_mistake_has_a_place(lines in prop::collection::vec(line(), 0..4), noise in "\\PC{0,40}") {
        for text in [lines.concat(), format!("{}{noise}", lines.concat()), noise.clone()] {
            if let Err(ConfigError::Invalid { mistake }) = parse(&text) {
                let line = text.split('\n').nth(mistake.line - 1);
                prop_assert!(line.is_some_and(|line| mistake.column <= line.chars().count() + 1), "{mistake} in {text:?}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_found_where_it_is(before in 0..5_usize, indent in 0..5_usize) {
        let text = format!("{}{}colour = 1\n", "# é\n".repeat(before), " ".repeat(indent));
        let ConfigError::Invalid { mistake } = parse(&text).unwrap_err() else { panic!("{text}") };
        prop_assert_eq!((mistake.line, mistake.column), (before + 1, indent + 1));
    }
}
