//! How the daemon reaches registries and web servers, and what it keeps of what it gets there.

mod environment;
#[cfg(test)]
pub(crate) mod fake;
mod web;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use banger_host::command::Command;
use banger_registry::{
    BlobStore, Client, CredentialHelper, HelperFuture, HelperOutput, Keychain, RegistryError, Settings,
};

pub use environment::Environment;
pub use web::{OnProgress, Web};

/// The client, and the layers it has brought.
#[derive(Clone, Debug)]
pub struct Downloads {
    cache: PathBuf,
    blobs: Arc<OnceLock<BlobStore>>,
}

impl Downloads {
    /// Keeps what it gets below `cache`, which may be emptied at any time. Touches nothing yet.
    pub fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned(), blobs: Arc::default() }
    }

    /// The directory below which everything is kept.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// # Errors
    ///
    /// When its directories are not there and cannot be made.
    pub fn blobs(&self) -> Result<&BlobStore, RegistryError> {
        // Makes them anew for who has emptied the cache; who uses which blob is known to the first one only.
        let opened = BlobStore::open(&self.cache)?;
        Ok(self.blobs.get_or_init(|| opened))
    }

    /// A client as `environment` wants it: proxies, certificates, credentials.
    ///
    /// # Errors
    ///
    /// When the environment names a proxy that is none.
    pub fn client(&self, environment: &Environment) -> Result<Client, RegistryError> {
        let lookup = |name: &str| environment.get(name);
        let keychain =
            Keychain::from_environment(&lookup, Some(Arc::new(Helpers(environment.for_helpers()))));
        Client::new(&Settings::from_environment(&lookup), keychain)
    }
}

/// Docker's credential helpers, as programs on PATH, with what they need of the caller's environment.
struct Helpers(Vec<(&'static str, String)>);

/// Every code but that of a program that was killed: what it means is in the output.
const ALL_CODES: &[i32] = &{
    let mut codes = [0; 256];
    let mut code = 0;
    while code < codes.len() {
        codes[code] = code as i32;
        code += 1;
    }
    codes
};

impl CredentialHelper for Helpers {
    fn get(&self, program: String, key: String) -> HelperFuture {
        let environment = self.0.clone();
        Box::pin(async move {
            let command = Command::new(&program).arg("get");
            let command = environment.iter().fold(command, |command, (name, value)| command.env(name, value));
            let command = command.stdin(format!("{key}\n").into_bytes());
            let output = command.ok_codes(ALL_CODES).run().await?;
            Ok(HelperOutput { success: output.code == 0, stdout: output.stdout })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_helper_is_asked_on_its_stdin_and_may_say_no() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("docker-credential-test");
        std::fs::write(&program, "#!/bin/sh\nread key\necho \"$1 $key\"\n[ $key = yes ]\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.display().to_string();
        for (key, success) in [("yes", true), ("no", false)] {
            let output = Helpers(Vec::new()).get(program.clone(), key.into()).await.unwrap();
            assert_eq!((output.success, output.stdout), (success, format!("get {key}\n").into_bytes()));
        }
        assert!(Helpers(Vec::new()).get("/none/docker-credential-none".into(), "x".into()).await.is_err());
    }
}
