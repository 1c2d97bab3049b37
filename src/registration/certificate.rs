//! The serving certificate, from a pair of PEM files.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Which file cannot be used, and why.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Unreadable(io::Error),
    Pem(rustls::pki_types::pem::Error),
    NoCertificate,
    Unusable(rustls::Error),
}

/// TLS 1.2 and 1.3 with the certificate chain (leaf first) and the private key of these files.
///
/// # Errors
/// Names the file, and says what is expected in it.
pub fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| Error::new(cert, Cause::Pem(cause)))?;
    if chain.is_empty() {
        return Err(Error::new(cert, Cause::NoCertificate));
    }
    let key_der =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|cause| Error::new(key, Cause::Pem(cause)))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|cause| Error::new(key, Cause::Unusable(cause)))?;
    // The API server calls webhooks over HTTP/1.1, so that connections spread over the replicas.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|cause| Error::new(path, Cause::Unreadable(cause)))
}

// === impl Error ===

impl Error {
    fn new(path: &Path, cause: Cause) -> Self {
        Self { path: path.to_owned(), cause }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Unreadable(error) => write!(f, "cannot read {path}: {error}"),
            Cause::Pem(error) => write!(f, "{path} is not the PEM file that is expected here: {error}"),
            Cause::NoCertificate => {
                write!(f, "{path} holds no certificate: expected a PEM chain, leaf first")
            }
            Cause::Unusable(error) => write!(f, "the key in {path} does not serve its certificate: {error}"),
        }
    }
}

impl std::error::Error for Error {}
