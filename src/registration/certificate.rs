//! The serving certificate: a certificate chain and a private key, each in a PEM file.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// A certificate or key file that cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Unreadable(io::Error),
    InvalidPem { expected: &'static str, error: rustls::pki_types::pem::Error },
    NoCertificate,
    UnusableKey { certificate: PathBuf, error: rustls::Error },
}

const CHAIN: &str = "a PEM certificate chain, leaf certificate first";
const KEY: &str = "a PEM private key";

/// Configures TLS 1.2 and 1.3 with a certificate chain and its private key.
///
/// # Errors
/// Fails if a file cannot be used. The error names the file and the expected content.
pub fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let invalid = |expected| move |error| Cause::InvalidPem { expected, error };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(invalid(CHAIN))
        .and_then(|chain| if chain.is_empty() { Err(Cause::NoCertificate) } else { Ok(chain) })
        .map_err(|cause| CertificateError::new(cert, cause))?;
    let private_key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(invalid(KEY))
        .map_err(|cause| CertificateError::new(key, cause))?;
    let unusable = |error| Cause::UnusableKey { certificate: cert.to_owned(), error };
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(|error| CertificateError::new(key, unusable(error)))?;
    // The API server uses only HTTP/1.1 for webhooks: an HTTP/2 client would send all requests to one of several backends
    // (kubernetes#75791).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|error| CertificateError::new(path, Cause::Unreadable(error)))
}

// === impl CertificateError ===

impl CertificateError {
    fn new(path: &Path, cause: Cause) -> Self {
        Self { path: path.to_owned(), cause }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Unreadable(_) => write!(f, "cannot read {path}"),
            Cause::InvalidPem { expected, .. } => write!(f, "{path} is not valid; expected {expected}"),
            Cause::NoCertificate => write!(f, "{path} contains no certificate; expected {CHAIN}"),
            Cause::UnusableKey { certificate, .. } => write!(
                f,
                "cannot use the private key {path} with the certificate {}; give the key of this certificate",
                certificate.display()
            ),
        }
    }
}

impl Error for CertificateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Unreadable(error) => Some(error),
            Cause::InvalidPem { error, .. } => Some(error),
            Cause::NoCertificate => None,
            Cause::UnusableKey { error, .. } => Some(error),
        }
    }
}
