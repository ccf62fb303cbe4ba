//! How to reach the network: proxies, certificates, retries. All of it comes in by constructor.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Looks up a variable of the environment that counts (the daemon's, or that of a test).
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything about the network that is not part of one request.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub proxies: Proxies,
    pub certificates: Certificates,
    pub timeouts: Timeouts,
    pub retries: Retries,
}

impl Settings {
    /// What a program started in this environment should use.
    #[must_use]
    pub fn from_environment(lookup: Lookup<'_>) -> Self {
        let proxies = Proxies::from_environment(lookup);
        let certificates = Certificates { roots: Roots::from_environment(lookup), ..Certificates::default() };
        Self { proxies, certificates, ..Self::default() }
    }
}

/// Proxies as the usual variables name them; hosts on the loopback interface are always reached directly.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain http.
    pub http: Option<String>,
    /// For https.
    pub https: Option<String>,
    /// For both, where there is none of their own.
    pub all: Option<String>,
    /// Hosts, domains and networks that are reached directly, separated by commas; `*` is all of them.
    pub no_proxy: Option<String>,
}

impl Proxies {
    /// From `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower case first, then in upper case.
    #[must_use]
    pub fn from_environment(lookup: Lookup<'_>) -> Self {
        let either = |name: &str| {
            [name.to_owned(), name.to_ascii_uppercase()]
                .iter()
                .find_map(|name| lookup(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty()))
        };
        Self {
            http: either("http_proxy"),
            https: either("https_proxy"),
            all: either("all_proxy"),
            no_proxy: either("no_proxy"),
        }
    }
}

impl fmt::Debug for Proxies {
    /// Names which are set: their values may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |value: &Option<String>| if value.is_some() { "set" } else { "unset" };
        f.debug_struct("Proxies")
            .field("http", &set(&self.http))
            .field("https", &set(&self.https))
            .field("all", &set(&self.all))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Which certificate authorities are believed.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub roots: Roots,
    /// Directories in the manner of `/etc/docker/certs.d`: `HOST[:PORT]/*.crt` are believed for that host
    /// too.
    pub host_dirs: Vec<PathBuf>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            roots: Roots::System,
            host_dirs: vec!["/etc/docker/certs.d".into(), "/etc/containers/certs.d".into()],
        }
    }
}

/// Where the certificate authorities for all hosts come from.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The system's.
    System,
    /// Only those in this PEM file and those in the files of these directories.
    Named { file: Option<PathBuf>, dirs: Vec<PathBuf> },
}

impl Roots {
    /// What `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead of the system's.
    fn from_environment(lookup: Lookup<'_>) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        match (set("SSL_CERT_FILE"), set("SSL_CERT_DIR")) {
            (None, None) => Self::System,
            (file, dirs) => Self::Named {
                file: file.map(PathBuf::from),
                dirs: dirs.iter().flat_map(std::env::split_paths).collect(),
            },
        }
    }
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, TLS and proxy included.
    pub connect: Duration,
    /// For the next bytes: a transfer of less than 1 KiB in this time has stalled.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), stall: Duration::from_secs(30) }
    }
}

/// How often to try again, and when.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// How many attempts may fail in a row; one that brings something new begins the count again.
    pub attempts: u32,
    /// Pause after the first of them; it doubles.
    pub first_pause: Duration,
    /// Longest pause, and the longest that a server may ask for with `Retry-After`.
    pub longest_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 5, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(60) }
    }
}

impl Retries {
    /// The pause after this failed attempt in a row, counted from 1.
    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        self.first_pause.saturating_mul(doubled).min(self.longest_pause)
    }
}

/// What the user allows for one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// https with a valid certificate; a registry on the loopback interface may speak plain http.
    #[default]
    Verified,
    /// `--insecure`: the named host may speak plain http or show any certificate.
    Insecure,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_case_variables_win_and_empty_ones_count_as_unset() {
        let lookup = |name: &str| match name {
            "http_proxy" => Some("http://low:1".to_owned()),
            "HTTP_PROXY" => Some("http://up:1".to_owned()),
            "https_proxy" => Some(String::new()),
            "HTTPS_PROXY" => Some("http://user:hunter2@up:2".to_owned()),
            "NO_PROXY" => Some("a,b".to_owned()),
            _ => None,
        };
        let settings = Settings::from_environment(&lookup);
        assert_eq!(settings.proxies.http.as_deref(), Some("http://low:1"));
        assert_eq!(settings.proxies.https.as_deref(), Some("http://user:hunter2@up:2"));
        assert_eq!(settings.proxies.all, None);
        assert_eq!(settings.proxies.no_proxy.as_deref(), Some("a,b"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn named_certificates_count_instead_of_the_systems() {
        let none = Settings::from_environment(&|_| None);
        assert!(matches!(none.certificates.roots, Roots::System));
        let dirs = |name: &str| (name == "SSL_CERT_DIR").then(|| "/a:/b".to_owned());
        let Roots::Named { file: None, dirs } = Settings::from_environment(&dirs).certificates.roots else {
            panic!("the system's");
        };
        assert_eq!(dirs, ["/a", "/b"].map(PathBuf::from));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retries = Retries::default();
        assert_eq!(retries.pause_after(1), Duration::from_millis(500));
        assert_eq!(retries.pause_after(3), Duration::from_secs(2));
        assert_eq!(retries.pause_after(u32::MAX), Duration::from_secs(60));
    }
}
