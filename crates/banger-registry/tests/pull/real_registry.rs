//! Debian's `docker-registry` on a free port, with images that skopeo and umoci put there.

#![allow(clippy::disallowed_methods, reason = "the tests run the tools they compare with")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use banger_registry::Digest;
use serde_json::{Value, json};

use crate::images::{OCI_INDEX, noise};

/// `user:hunter2` for the registry's file of passwords.
const HTPASSWD: &str = "user:$2a$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";

/// How the registry is set up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup {
    pub(crate) password: bool,
    pub(crate) tls: bool,
}

/// Runs until it is dropped.
pub(crate) struct RealRegistry {
    process: Child,
    pub(crate) address: String,
    pub(crate) dir: tempfile::TempDir,
    setup: Setup,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a tool, and gives what it writes.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (see scripts/setup)"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}", output.status);
    output.stdout
}

impl RealRegistry {
    pub(crate) fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if setup.tls {
            make_certificates(dir.path());
        }
        fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        // Another process may take the port between our look and the registry's.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            let file = dir.path().join("config.json");
            fs::write(&file, config(dir.path(), &address, setup).to_string()).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .env("OTEL_TRACES_EXPORTER", "none")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry (see scripts/setup)");
            if listens(&address, &mut process) {
                return Self { process, address, dir, setup };
            }
        }
        panic!("docker-registry does not start");
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// An image for two architectures under `team/app:1`; gives the bytes of the file in the one for amd64.
    pub(crate) fn push_two_architectures(&self) -> Vec<u8> {
        let layout = self.dir.path().join("layout").display().to_string();
        run("umoci", &["init", "--layout", &layout]);
        let file = noise(5, 600_000);
        let content = self.dir.path().join("content");
        fs::write(&content, &file).unwrap();
        for architecture in ["amd64", "arm64"] {
            let image = format!("{layout}:{architecture}");
            let content = content.display().to_string();
            run("umoci", &["new", "--image", &image]);
            let insert = ["insert", "--rootless", "--image", &image, &content, &format!("/{architecture}")];
            run("umoci", &insert);
            run(
                "umoci",
                &[
                    "config",
                    "--image",
                    &image,
                    "--config.env",
                    "A=1",
                    "--config.workingdir",
                    "/srv",
                    "--config.exposedports",
                    "80/tcp",
                    "--config.cmd",
                    "/amd64",
                    "--architecture",
                    architecture,
                ],
            );
        }
        add_index(Path::new(&layout));
        let from = format!("oci:{layout}:both");
        let to = format!("docker://{}/team/app:1", self.address);
        let mut skopeo =
            vec!["--insecure-policy", "copy", "-q", "--all", "--dest-tls-verify=false", &from, &to];
        if self.setup.password {
            skopeo.push("--dest-creds=user:hunter2");
        }
        run("skopeo", &skopeo);
        file
    }
}

fn config(dir: &Path, address: &str, setup: Setup) -> Value {
    // JSON is YAML.
    let mut config = json!({
        "version": "0.1", "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": dir.join("storage")}},
        "http": {"addr": address, "secret": "for tests"},
    });
    if setup.tls {
        config["http"]["tls"] = json!({"certificate": dir.join("host.crt"), "key": dir.join("host.key")});
    }
    if setup.password {
        config["auth"] = json!({"htpasswd": {"realm": "tests", "path": dir.join("htpasswd")}});
    }
    config
}

fn listens(address: &str, process: &mut Child) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = process.kill();
    false
}

/// An authority of our own, and a certificate of it for 127.0.0.1.
fn make_certificates(dir: &Path) {
    let at = |name: &str| dir.join(name).display().to_string();
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca_key, ca, key, request, crt, extensions) =
        (at("ca.key"), at("ca.crt"), at("host.key"), at("host.csr"), at("host.crt"), at("extensions"));
    let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=tests", "-keyout", &ca_key, "-out", &ca];
    run("openssl", &[&authority[..], &curve].concat());
    let host = ["req", "-subj", "/CN=host", "-keyout", &key, "-out", &request];
    run("openssl", &[&host[..], &curve].concat());
    fs::write(&extensions, "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    run(
        "openssl",
        &[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &extensions,
            "-out",
            &crt,
        ],
    );
}

/// Joins the layout's two images under the name `both`.
fn add_index(layout: &Path) {
    let file = layout.join("index.json");
    let mut top: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let entries: Vec<Value> = top["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
            json!({
                "mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
                "platform": {"os": "linux", "architecture": name},
            })
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
    let digest = Digest::of(index.as_bytes());
    fs::write(layout.join("blobs/sha256").join(digest.hex()), &index).unwrap();
    top["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": OCI_INDEX, "digest": digest.to_string(), "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "both"},
    }));
    fs::write(file, top.to_string()).unwrap();
}
