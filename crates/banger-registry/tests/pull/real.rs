//! Pulls from a registry that others wrote.

use std::fs;
use std::path::Path;

use banger_registry::{
    Certificates, ExposedPort, Keychain, Protocol, Reference, RegistryError, Resolved, Roots, Security,
    Settings,
};

use crate::bench::{Bench, settings, shown};
use crate::real_registry::{RealRegistry, Setup, run};

/// Pulls the image for amd64, and looks whether its layer is the right one.
async fn pull(bench: &Bench, registry: &RealRegistry, file: &[u8]) -> Resolved {
    let image = bench.resolve(&format!("{}/team/app:1", registry.address)).await.unwrap();
    let leases = bench.fetch(&image).await.unwrap();
    assert_eq!(image.config.env.last().map(String::as_str), Some("A=1"));
    assert_eq!(
        (image.config.working_dir.as_str(), &image.config.cmd[..]),
        ("/srv", &["/amd64".to_owned()][..])
    );
    assert_eq!(image.config.exposed_ports, [ExposedPort { port: 80, protocol: Protocol::Tcp }]);
    let found = leases.iter().any(|lease| unpacked(lease.path(), file));
    assert!(found, "no layer has the file");
    image
}

/// Whether a packed layer holds these bytes. It is not given to tar: umoci 0.4 leaves out the end of the
/// archive.
fn unpacked(layer: &Path, file: &[u8]) -> bool {
    let tar = run("zcat", &["-f", &layer.display().to_string()]);
    tar.windows(file.len()).any(|window| window == file)
}

fn trusting(certificates: Certificates) -> Bench {
    Bench::with(&Settings { certificates, ..settings() }, Keychain::empty())
}

#[tokio::test]
async fn an_open_registry_by_tag_and_by_digest() {
    let registry = RealRegistry::start(Setup::default());
    let file = registry.push_two_architectures();
    let bench = Bench::new();
    let image = pull(&bench, &registry, &file).await;
    let index = image.index_digest.expect("the tag names an index");

    for digest in [index, image.digest] {
        let other = Bench::new();
        let by_digest = other.resolve(&format!("{}/team/app@{digest}", registry.address)).await.unwrap();
        assert_eq!((by_digest.digest, &by_digest.layers), (image.digest, &image.layers));
        other.fetch(&by_digest).await.unwrap();
    }
    for unknown in ["team/app:2", "team/nothing:1"] {
        let error = bench.resolve(&format!("{}/{unknown}", registry.address)).await.unwrap_err();
        assert!(matches!(error, RegistryError::NotFound { .. }), "{}", shown(&error));
    }
}

#[tokio::test]
async fn a_registry_with_passwords() {
    let registry = RealRegistry::start(Setup { password: true, tls: false });
    let file = registry.push_two_architectures();
    let config = registry.dir.path().join("docker.json");
    let login = |password: &str| {
        let entry = format!(r#"{{"username":"user","password":"{password}"}}"#);
        fs::write(&config, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.address)).unwrap();
        Bench::with(&settings(), Keychain::new(vec![config.clone()], None))
    };
    pull(&login("hunter2"), &registry, &file).await;
    let reference = format!("{}/team/app:1", registry.address);
    for bench in [login("swordfish"), Bench::new()] {
        let error = bench.resolve(&reference).await.unwrap_err();
        let text = shown(&error);
        assert!(matches!(error, RegistryError::Denied { .. }), "{text}");
        assert!(text.contains("docker login") && !text.contains("swordfish"), "{text}");
    }
}

#[tokio::test]
async fn a_registry_with_a_certificate_of_its_own() {
    let registry = RealRegistry::start(Setup { password: false, tls: true });
    let file = registry.push_two_architectures();
    let ca = registry.certificate();

    let roots = Roots::Named { file: Some(ca.clone()), dirs: Vec::new() };
    pull(&trusting(Certificates { roots, host_dirs: Vec::new() }), &registry, &file).await;

    let host_dirs = vec![registry.dir.path().join("certs.d")];
    let own = host_dirs[0].join(&registry.address);
    fs::create_dir_all(&own).unwrap();
    fs::copy(&ca, own.join("ca.crt")).unwrap();
    let certificates = Certificates { roots: Roots::Named { file: None, dirs: Vec::new() }, host_dirs };
    pull(&trusting(certificates), &registry, &file).await;

    let bench = Bench::new();
    let reference: Reference = format!("{}/team/app:1", registry.address).parse().unwrap();
    let error = bench.client.resolve(&bench.store, &reference, Security::Verified).await.unwrap_err();
    let text = shown(&error);
    assert!(matches!(error, RegistryError::Untrusted { .. }), "{text}");
    assert!(
        text.contains(&format!("certs.d/{}/ca.crt", registry.address)) && text.contains("--insecure"),
        "{text}"
    );
    let image = bench.client.resolve(&bench.store, &reference, Security::Insecure).await.unwrap();
    bench.fetch(&image).await.unwrap();

    // The system's roots are those in the environment of the process, so this takes another process.
    let this = std::env::current_exe().unwrap().display().to_string();
    let child = ["--exact", "--ignored", "--nocapture", "real::pull_as_a_child"];
    let environment =
        [format!("SSL_CERT_FILE={}", ca.display()), format!("BANGER_TEST_REFERENCE={reference}")];
    let arguments: Vec<&str> =
        environment.iter().map(String::as_str).chain([this.as_str()]).chain(child).collect();
    run("env", &arguments);
    let unset: Vec<&str> = ["-u", "SSL_CERT_FILE", &environment[1], &this].into_iter().chain(child).collect();
    assert!(std::panic::catch_unwind(|| run("env", &unset)).is_err(), "it believes everybody");
}

#[tokio::test]
#[ignore = "run by a_registry_with_a_certificate_of_its_own"]
async fn pull_as_a_child() {
    let certificates = Certificates { roots: Roots::System, host_dirs: Vec::new() };
    let reference = std::env::var("BANGER_TEST_REFERENCE").unwrap();
    trusting(certificates).resolve(&reference).await.unwrap();
}
