//! The variables that say how to reach the network, as whoever asks has them: the daemon may have been
//! started long ago, in another shell.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use banger_api::environment::{HELPER_VARIABLES, UMASK, VARIABLES};

tokio::task_local! {
    static CALLER: Environment;
}

/// Where a client does not tell its own.
const USUAL_UMASK: u32 = 0o022;

/// Of the daemon itself, or of a client that has sent its own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Option<Arc<BTreeMap<String, String>>>);

impl Environment {
    /// What a client has sent. Only [`VARIABLES`], [`HELPER_VARIABLES`] and [`UMASK`] count, and those that
    /// are missing are unset there.
    pub fn of_client(variables: BTreeMap<String, String>) -> Self {
        let is_known =
            |name: &str| VARIABLES.contains(&name) || HELPER_VARIABLES.contains(&name) || name == UMASK;
        let known = variables.into_iter().filter(|(name, _)| is_known(name));
        Self(Some(Arc::new(known.collect())))
    }

    /// Of the request that is being answered; elsewhere, the daemon's own.
    pub fn of_caller() -> Self {
        CALLER.try_with(Clone::clone).unwrap_or_default()
    }

    /// Answers a request of whoever has this environment.
    pub async fn scope<F: Future>(self, request: F) -> F::Output {
        CALLER.scope(self, request).await
    }

    /// A variable; the daemon's own where the client's is not asked for.
    pub fn get(&self, name: &str) -> Option<String> {
        match &self.0 {
            Some(variables) if VARIABLES.contains(&name) => variables.get(name).cloned(),
            _ => std::env::var(name).ok(),
        }
    }

    /// Which bits the caller's new files do not get.
    pub fn umask(&self) -> u32 {
        let sent = self.0.as_ref().and_then(|variables| variables.get(UMASK));
        sent.and_then(|umask| u32::from_str_radix(umask, 8).ok()).map_or(USUAL_UMASK, |umask| umask & 0o777)
    }

    /// What a program that knows the user's credentials needs besides the daemon's own environment.
    pub fn for_helpers(&self) -> Vec<(&'static str, String)> {
        let variables = self.0.as_deref();
        let sent = |name: &&'static str| Some((*name, variables?.get(*name)?.clone()));
        HELPER_VARIABLES.iter().filter_map(sent).collect()
    }

    /// What a program needs to be given or spared besides the daemon's own environment.
    pub fn differences(&self) -> Vec<(&'static str, Option<String>)> {
        match &self.0 {
            Some(variables) => VARIABLES.iter().map(|name| (*name, variables.get(*name).cloned())).collect(),
            None => Vec::new(),
        }
    }
}

impl fmt::Debug for Environment {
    /// Without the values: a proxy may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(variables) => f.debug_set().entries(variables.keys()).finish(),
            None => f.write_str("own"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(variables: &[(&str, &str)]) -> Environment {
        Environment::of_client(variables.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn the_umask_is_the_callers() {
        let umask = |sent: &[(&str, &str)]| client(sent).umask();
        assert_eq!(umask(&[("umask", "0027")]), 0o027);
        assert_eq!(umask(&[("umask", "0000")]), 0);
        assert_eq!(
            (umask(&[]), umask(&[("umask", "x")]), Environment::default().umask()),
            (0o022, 0o022, 0o022)
        );
        let helped = client(&[("AWS_PROFILE", "work"), ("LD_PRELOAD", "/x"), ("umask", "0")]).for_helpers();
        assert_eq!(helped, [("AWS_PROFILE", "work".to_owned())]);
    }

    #[test]
    fn a_client_decides_about_the_network_and_nothing_else() {
        let environment = client(&[("https_proxy", "http://u:hunter2@p:1"), ("PATH", "/tmp")]);
        assert_eq!(environment.get("https_proxy").as_deref(), Some("http://u:hunter2@p:1"));
        // Unset there, whatever the daemon has.
        assert_eq!(environment.get("SSL_CERT_FILE"), None);
        assert_eq!(environment.get("PATH"), std::env::var("PATH").ok());
        let differences = environment.differences();
        assert_eq!(differences.len(), VARIABLES.len());
        assert!(differences.contains(&("https_proxy", Some("http://u:hunter2@p:1".into()))));
        assert!(differences.contains(&("http_proxy", None)));
        assert!(!format!("{environment:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn it_is_the_callers_while_his_request_is_answered() {
        let environment = client(&[("no_proxy", "x")]);
        assert_eq!(environment.clone().scope(async { Environment::of_caller() }).await, environment);
        assert_eq!(Environment::of_caller(), Environment::default());
        assert_eq!(Environment::default().differences(), []);
    }
}
