//! The certificate authorities of the API server's client certificate. The file is read again every few seconds, and a changed
//! content is used for the next handshake.

use std::{
    error::Error,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::SharedTls;
use crate::runtime::log::Chain;

/// Time between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// TLS for clients with a certificate of one of the authorities in a file.
#[derive(Debug)]
pub struct ClientCa {
    path: PathBuf,
    /// The last valid content.
    pem: Vec<u8>,
    tls: SharedTls,
}

/// A file with certificate authorities that cannot be used.
#[derive(Debug)]
pub struct ClientCaError {
    path: PathBuf,
    cause: Box<dyn Error + Send + Sync>,
}

// === impl ClientCa ===

impl ClientCa {
    /// Reads the file: one or more PEM certificates. The rest of the TLS is the same as in `tls`.
    ///
    /// # Errors
    /// Fails if the file cannot be used. The error names the file.
    pub fn read(path: &Path, tls: &ServerConfig) -> Result<Self, ClientCaError> {
        let error = |cause| ClientCaError { path: path.to_owned(), cause };
        let pem = fs::read(path).map_err(|cause| error(cause.into()))?;
        let tls = requiring_authorities(tls, &pem).map_err(error)?;
        Ok(Self { path: path.to_owned(), pem, tls: Arc::new(ArcSwap::from_pointee(tls)) })
    }

    /// The TLS, which changes with the file.
    #[must_use]
    pub fn tls(&self) -> SharedTls {
        Arc::clone(&self.tls)
    }

    /// Uses every valid change of the file, as long as the future is polled. After an invalid change the previous content stays
    /// active, and the error is logged once.
    pub async fn follow(mut self) {
        let mut last_error = None;
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let error = self.reload().err().map(|error| Chain(&error).to_string());
            if let Some(error) = error.as_ref().filter(|_| error != last_error) {
                tracing::error!(
                    error,
                    "Cannot use the changed file of --client-ca; the previous content stays active"
                );
            }
            last_error = error;
        }
    }

    fn reload(&mut self) -> Result<(), ClientCaError> {
        let read = Self::read(&self.path, &self.tls.load())?;
        if read.pem != self.pem {
            self.pem = read.pem;
            self.tls.store(read.tls.load_full());
            tracing::info!(file = %self.path.display(), "Reloaded the CAs of --client-ca");
        }
        Ok(())
    }
}

/// The same TLS, for clients with a certificate of these authorities only.
fn requiring_authorities(
    tls: &ServerConfig,
    pem: &[u8],
) -> Result<ServerConfig, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    let provider = Arc::clone(tls.crypto_provider());
    // Without hints, which the API server does not need: it has one certificate.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .clear_root_hint_subjects()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&tls.cert_resolver));
    config.alpn_protocols.clone_from(&tls.alpn_protocols);
    // A resumed session would not be verified again after a change of the authorities.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

// === impl ClientCaError ===

impl fmt::Display for ClientCaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "cannot use {path} of --client-ca; expected PEM certificates of one or more authorities")
    }
}

impl Error for ClientCaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}
