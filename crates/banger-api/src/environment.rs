//! What a client tells the daemon about the network: the daemon may have been started in another shell, with
//! other proxies.

use std::collections::BTreeMap;
use std::env::{join_paths, split_paths};
use std::ffi::OsStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The request header that holds them: `NAME=VALUE`, percent-encoded, separated by `&`.
pub const ENVIRONMENT_HEADER: &str = "banger-environment";

/// The variables that are sent: proxies, credentials' places, certificates.
pub const VARIABLES: [&str; 12] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The variables that the programs need which know a user's credentials (docker-credential-*): how to reach
/// the keyring of his session, his keys, his account in a cloud.
pub const HELPER_VARIABLES: [&str; 16] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ECR_CACHE_DIR",
    "AZURE_CONFIG_DIR",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Which bits new files of the caller's do not get, in octal: sent like a variable, for what the daemon
/// writes for him.
pub const UMASK: &str = "umask";

/// What the daemon keeps of the environment that it is started in. Everything else would be whatever the
/// shell had that happened to start it.
pub fn is_kept_by_daemon(name: &OsStr) -> bool {
    const KEPT: [&str; 16] = [
        "HOME",
        "PATH",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "XDG_CONFIG_HOME",
        "XDG_CONFIG_DIRS",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_DATA_DIRS",
        "XDG_RUNTIME_DIR",
        "RUST_BACKTRACE",
    ];
    let bytes = name.as_encoded_bytes();
    KEPT.iter().any(|kept| name == *kept) || bytes.starts_with(b"LC_") || bytes.starts_with(b"BANGER_")
}

/// The header's value for variables. What is not UTF-8 is left out.
pub fn to_header(lookup: impl Fn(&str) -> Option<String>) -> String {
    let names = VARIABLES.iter().chain(&HELPER_VARIABLES).chain([&UMASK]);
    let set = names.filter_map(|name| {
        let value = from_anywhere(name, lookup(name)?);
        Some(format!("{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)))
    });
    set.collect::<Vec<_>>().join("&")
}

/// A variable of this process, or its [`UMASK`].
pub fn of_this_process(name: &str) -> Option<String> {
    if name != UMASK {
        return std::env::var(name).ok();
    }
    // The one place where it can be read without being set.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix("Umask:")?.trim().to_owned()))
}

/// The value as it is understood in another working directory: the daemon's.
fn from_anywhere(name: &str, value: String) -> String {
    let absolute = |path: &str| std::path::absolute(path).ok()?.into_os_string().into_string().ok();
    match name {
        "DOCKER_CONFIG"
        | "REGISTRY_AUTH_FILE"
        | "SSL_CERT_FILE"
        | "GNUPGHOME"
        | "PASSWORD_STORE_DIR"
        | "AWS_CONFIG_FILE"
        | "AWS_SHARED_CREDENTIALS_FILE"
        | "GOOGLE_APPLICATION_CREDENTIALS" => absolute(&value).unwrap_or(value),
        "SSL_CERT_DIR" => {
            let dirs = split_paths(&value).map(|dir| std::path::absolute(&dir).unwrap_or(dir));
            let joined = join_paths(dirs).ok().and_then(|dirs| dirs.into_string().ok());
            joined.unwrap_or(value)
        }
        _ => value,
    }
}

/// The variables of a header's value. None when it is none.
pub fn from_header(value: &str) -> Option<BTreeMap<String, String>> {
    let pairs = value.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), percent_decode_str(value).decode_utf8().ok()?.into_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_keeps_little() {
        for kept in ["HOME", "PATH", "LC_ALL", "XDG_STATE_HOME", "BANGER_LOG"] {
            assert!(is_kept_by_daemon(OsStr::new(kept)), "{kept}");
        }
        for dropped in
            ["SSH_AUTH_SOCK", "http_proxy", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "XDG_SESSION_ID", "LC", ""]
        {
            assert!(!is_kept_by_daemon(OsStr::new(dropped)), "{dropped}");
        }
    }

    #[test]
    fn the_umask_is_that_of_this_process() {
        let umask = of_this_process(UMASK).unwrap();
        assert!(u32::from_str_radix(&umask, 8).unwrap() <= 0o777, "{umask}");
        assert_eq!(of_this_process("HOME"), std::env::var("HOME").ok());
    }

    #[test]
    fn what_is_sent_arrives_and_means_the_same() {
        let lookup = |name: &str| match name {
            "http_proxy" => Some("http://ü:p&=%w@[::1]:3128/\n".to_owned()),
            "NO_PROXY" => Some(String::new()),
            "SECRET" => Some("x".to_owned()),
            _ => None,
        };
        let header = to_header(lookup);
        assert!(header.bytes().all(|byte| byte.is_ascii_graphic()), "{header}");
        let arrived = from_header(&header).unwrap();
        assert_eq!(arrived.len(), 2);
        assert_eq!(arrived["http_proxy"], "http://ü:p&=%w@[::1]:3128/\n");
        assert_eq!(arrived["NO_PROXY"], "");
        assert_eq!(from_header(""), Some(BTreeMap::new()));
        let here = std::env::current_dir().unwrap().display().to_string();
        let relative = |name: &str| match name {
            "SSL_CERT_DIR" => Some("certs:/etc/ssl/certs".to_owned()),
            "DOCKER_CONFIG" | "http_proxy" => Some("x".to_owned()),
            _ => None,
        };
        let arrived = from_header(&to_header(relative)).unwrap();
        assert_eq!(arrived["SSL_CERT_DIR"], format!("{here}/certs:/etc/ssl/certs"));
        assert_eq!((&*arrived["DOCKER_CONFIG"], &*arrived["http_proxy"]), (&*format!("{here}/x"), "x"));
        assert_eq!(from_header("x"), None);
        assert_eq!(from_header("x=%ff"), None);
    }
}
