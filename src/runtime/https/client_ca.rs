//! The certificate authorities of the API server's client certificate. The file is read again every few seconds, and a changed
//! content is used for the next handshake.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::runtime::log::Chain;

/// Time between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The certificate authorities in a file. Clones share the content.
#[derive(Clone, Debug)]
pub struct ClientCa {
    path: PathBuf,
    verifier: Arc<Reloaded>,
}

/// A file with certificate authorities that cannot be used.
#[derive(Debug)]
pub struct ClientCaError {
    path: PathBuf,
    cause: UnusableFile,
}

#[derive(Debug)]
enum UnusableFile {
    Unreadable(io::Error),
    InvalidPem(rustls::pki_types::pem::Error),
    NoCertificate,
    Unusable(Box<dyn Error + Send + Sync>),
}

/// Verifies client certificates with the last valid content of the file.
#[derive(Debug)]
struct Reloaded(ArcSwap<CaContent>);

#[derive(Debug)]
struct CaContent {
    pem: Vec<u8>,
    verifier: Arc<dyn ClientCertVerifier>,
}

// === impl ClientCa ===

impl ClientCa {
    /// Reads the file: one or more PEM certificates.
    ///
    /// # Errors
    /// Fails if the file cannot be used. The error names the file.
    pub fn read(path: &Path) -> Result<Self, ClientCaError> {
        let content =
            CaContent::read(path).map_err(|cause| ClientCaError { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), verifier: Arc::new(Reloaded(ArcSwap::from_pointee(content))) })
    }

    /// The same TLS, for clients with a certificate of these authorities only.
    ///
    /// # Errors
    /// Does not fail in practice: the crypto provider has TLS 1.2 and 1.3.
    pub fn required_by(&self, tls: &ServerConfig) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier: Arc<dyn ClientCertVerifier> = Arc::<Reloaded>::clone(&self.verifier);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&tls.cert_resolver));
        config.alpn_protocols.clone_from(&tls.alpn_protocols);
        // A resumed session would not be verified again after a change of the authorities.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Uses every valid change of the file, as long as the future is polled. After an invalid change the previous content stays
    /// active, and the error is logged once.
    pub async fn follow(self) {
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

    fn reload(&self) -> Result<(), ClientCaError> {
        let content =
            CaContent::read(&self.path).map_err(|cause| ClientCaError { path: self.path.clone(), cause })?;
        if content.pem != self.verifier.0.load().pem {
            self.verifier.0.store(Arc::new(content));
            tracing::info!(file = %self.path.display(), "The certificate authorities of clients have changed");
        }
        Ok(())
    }
}

// === impl CaContent ===

impl CaContent {
    fn read(path: &Path) -> Result<Self, UnusableFile> {
        let pem = fs::read(path).map_err(UnusableFile::Unreadable)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(UnusableFile::InvalidPem)?;
            roots.add(certificate).map_err(|error| UnusableFile::Unusable(error.into()))?;
        }
        if roots.is_empty() {
            return Err(UnusableFile::NoCertificate);
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { pem, verifier: verifier.map_err(|error| UnusableFile::Unusable(error.into()))? })
    }
}

// === impl Reloaded ===

impl ClientCertVerifier for Reloaded {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client needs no hint: it has one certificate. The hints of a content that is replaced could not be borrowed.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.load().verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().verifier.supported_verify_schemes()
    }
}

// === impl ClientCaError ===

impl fmt::Display for ClientCaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            UnusableFile::Unreadable(_) => write!(f, "cannot read {path} of --client-ca"),
            UnusableFile::InvalidPem(_) => {
                write!(f, "{path} of --client-ca is not valid; expected PEM certificates")
            }
            UnusableFile::NoCertificate => {
                write!(
                    f,
                    "{path} of --client-ca contains no certificate; expected one or more PEM certificates"
                )
            }
            UnusableFile::Unusable(_) => {
                write!(
                    f,
                    "{path} of --client-ca has a certificate that cannot be used; expected certificate authorities"
                )
            }
        }
    }
}

impl Error for ClientCaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            UnusableFile::Unreadable(error) => Some(error),
            UnusableFile::InvalidPem(error) => Some(error),
            UnusableFile::NoCertificate => None,
            UnusableFile::Unusable(error) => Some(&**error),
        }
    }
}
