use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::oci_layout::OciLayout;
use crate::spawn::{command, tool};
use crate::wait::until;

/// `password` as `htpasswd -B` hashes it, with the least effort.
const HASH_OF_PASSWORD: &str = "$2y$04$.YMATrgpnLADwLUVgmY0l.lnNhmR3Lnm3FdhVIGhj9A5PwrBWE4P6";

/// Who may pull from a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Everybody,
    /// `user` with the password `password`.
    User,
}

/// Debian's `docker-registry` on a port of the loopback interface, killed when dropped.
pub struct Registry {
    dir: PathBuf,
    port: u16,
    child: Child,
    access: Access,
    tls: bool,
}

impl Registry {
    /// One that keeps its things in `dir`.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start(dir: impl Into<PathBuf>, access: Access) -> Self {
        Self::serve(dir.into(), access, false)
    }

    /// One with a certificate of [`Self::authority`]'s.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn with_tls(dir: impl Into<PathBuf>) -> Self {
        Self::serve(dir.into(), Access::Everybody, true)
    }

    fn serve(dir: PathBuf, access: Access, tls: bool) -> Self {
        fs::create_dir_all(&dir).expect("a directory for the registry");
        if tls {
            make_certificates(&dir);
        }
        // Somebody else may take the port before the registry does.
        for _ in 0..5 {
            let port = free_port();
            let config = dir.join("config.yml");
            fs::write(&config, configuration(&dir, port, access, tls)).expect("its configuration");
            let log = fs::File::create(dir.join("log")).expect("its log");
            let mut child = command("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("its log"))
                .stderr(log)
                .spawn()
                .expect("docker-registry is installed (scripts/setup test)");
            let mut ended = false;
            until("the registry listens", Duration::from_secs(10), || {
                ended = child.try_wait().is_ok_and(|status| status.is_some());
                ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !ended {
                return Self { dir, port, child, access, tls };
            }
        }
        panic!("the registry does not start: {}", fs::read_to_string(dir.join("log")).unwrap_or_default());
    }

    /// `localhost:PORT`, as it stands in references.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// A reference to something in it.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// The certificate of the authority that vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A Docker configuration file's text that logs in.
    pub fn docker_config(&self) -> String {
        // "user:password".
        format!(r#"{{ "auths": {{ "{}": {{ "auth": "dXNlcjpwYXNzd29yZA==" }} }} }}"#, self.address())
    }

    /// Puts what `layout` calls `tag` into the registry as `name`, all architectures of it.
    ///
    /// # Panics
    ///
    /// When it does not take it.
    #[track_caller]
    pub fn push(&self, layout: &OciLayout, tag: &str, name: &str) {
        let from = format!("oci:{}:{tag}", layout.dir().display());
        let to = format!("docker://{}", self.reference(name));
        let mut argv = vec!["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"];
        argv.push("--dest-tls-verify=false");
        if self.access == Access::User {
            argv.push("--dest-creds=user:password");
        }
        argv.extend([from.as_str(), to.as_str()]);
        let (pushed, said) = tool(&argv).expect("skopeo is installed (scripts/setup test)");
        assert!(pushed, "{argv:?}: {said}");
    }

    /// The blobs and manifests it was asked for since it was started, as paths; a push asks with other
    /// methods.
    pub fn downloads(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let requests = log.lines().filter_map(|line| line.split_once("\"GET ")?.1.split(' ').next());
        requests.filter(|path| path.contains("/blobs/")).map(str::to_owned).collect()
    }

    /// Where a blob's bytes lie in its storage.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    pub fn has_tls(&self) -> bool {
        self.tls
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of the loopback interface");
    listener.local_addr().expect("an address").port()
}

fn configuration(dir: &Path, port: u16, access: Access, tls: bool) -> String {
    let mut text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:{port}\n  secret: none\n",
        dir.join("storage").display()
    );
    if tls {
        let (certificate, key) = (dir.join("server.crt"), dir.join("server.key"));
        text += &format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
    }
    if access == Access::User {
        let users = dir.join("htpasswd");
        fs::write(&users, format!("user:{HASH_OF_PASSWORD}\n")).expect("a file of users");
        text += &format!("auth:\n  htpasswd:\n    realm: e2e\n    path: {}\n", users.display());
    }
    text
}

/// An authority, and a certificate of its for `localhost`.
fn make_certificates(dir: &Path) {
    let path = |name: &str| dir.join(name).display().to_string();
    let run = |argv: &[&str]| {
        let (made, said) = tool(argv).expect("openssl is installed (scripts/setup test)");
        assert!(made, "{argv:?}: {said}");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = [path("ca.key"), path("ca.crt")];
    run(&[
        &["openssl", "req", "-x509", "-days", "2", "-subj", "/CN=e2e authority"][..],
        &key,
        &["-keyout", &ca[0], "-out", &ca[1]],
    ]
    .concat());
    let server = [path("server.key"), path("server.csr"), path("server.crt"), path("server.ext")];
    run(&[
        &["openssl", "req", "-subj", "/CN=localhost"][..],
        &key,
        &["-keyout", &server[0], "-out", &server[1]],
    ]
    .concat());
    fs::write(&server[3], "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("an extension file");
    let mut sign = vec!["openssl", "x509", "-req", "-days", "2", "-CAcreateserial"];
    sign.extend(["-in", &server[1], "-CA", &ca[1], "-CAkey", &ca[0]]);
    sign.extend(["-out", &server[2], "-extfile", &server[3]]);
    run(&sign);
}
