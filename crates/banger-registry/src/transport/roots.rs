//! Which certificates are believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::settings::Roots;

/// Largest certificate file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The authorities for all hosts. What cannot be read is left out: then hosts fail by name, with a hint.
pub(super) fn load(roots: &Roots) -> RootCertStore {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Roots::Named { file, dirs } => {
            let files = file.iter().map(|file| (Some(file.as_path()), None));
            let dirs = dirs.iter().map(|dir| (None, Some(dir.as_path())));
            for (file, dir) in files.chain(dirs) {
                let loaded = rustls_native_certs::load_certs_from_paths(file, dir);
                store.add_parsable_certificates(loaded.certs);
            }
        }
    }
    store
}

/// The `*.crt` of `DIR/HOST[:PORT]`, in the manner of Docker's `certs.d`.
pub(super) fn host_files(dirs: &[PathBuf], names: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in dirs {
        for name in names.iter().filter(|name| is_plain_name(name)) {
            let Ok(entries) = fs::read_dir(dir.join(name)) else { continue };
            let files = entries.flatten().map(|entry| entry.path());
            found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "crt")));
        }
    }
    found.sort();
    found
}

/// Hosts come from servers too, and become part of a path here.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

pub(super) fn add_files<'a>(store: &mut RootCertStore, files: impl Iterator<Item = &'a Path>) {
    for file in files {
        let small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_FILE_BYTES);
        // As OpenSSL does: a store has links to nowhere. The server that is not trusted then is named.
        let Some(bytes) = small.then(|| fs::read(file).ok()).flatten() else { continue };
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
    }
}

/// The TLS of a connection whose host must prove itself, or of one that need not.
pub(super) fn tls_config(roots: RootCertStore, verify: bool) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3");
    if verify {
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth()
    }
}

/// What `--insecure` asks for: the connection is encrypted, with whomever.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_finds_its_own_certificates_and_leaves_its_directory_never() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["r.example:5000/ca.crt", "r.example:5000/client.key", "other/ca.crt"] {
            let path = dir.path().join("certs.d").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let dirs = [dir.path().join("certs.d")];
        let found = host_files(&dirs, &["r.example:5000".to_owned(), "r.example".to_owned()]);
        assert_eq!(found, [dirs[0].join("r.example:5000/ca.crt")]);
        fs::write(dir.path().join("ca.crt"), "x").unwrap();
        for hostile in ["..", ".", "", "a/../other", "../certs.d/other"] {
            assert_eq!(host_files(&dirs, &[hostile.to_owned()]), [] as [PathBuf; 0], "{hostile}");
        }
    }
}
