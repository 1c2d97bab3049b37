//! The certificate that the servers of this process use now. It can change at any time; open connections keep theirs.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{certificates::CertificatePair, files::FileContent};

/// The certificate in use. Clones refer to the same certificate.
#[derive(Clone, Debug, Default)]
pub struct ServingCertificate(Arc<ArcSwapOption<CertificatePair>>);

// === impl ServingCertificate ===

impl ServingCertificate {
    /// The certificate of files.
    #[must_use]
    pub fn of(content: &FileContent) -> Self {
        let serving = Self::default();
        serving.set(content.pair.clone());
        serving
    }

    /// Uses this certificate for new connections.
    pub(super) fn set(&self, pair: CertificatePair) {
        self.0.store(Some(Arc::new(pair)));
    }

    /// The certificate; none before the first one. Then every handshake fails.
    #[must_use]
    pub(super) fn current(&self) -> Option<Arc<CertificatePair>> {
        self.0.load_full()
    }

    /// TLS 1.2 and 1.3 with this certificate, with the provider `ring`.
    ///
    /// # Errors
    /// Does not fail in practice: `ring` has cipher suites of both versions.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        // The API server uses only HTTP/1.1 for webhooks: an HTTP/2 client would send all requests to one of several backends
        // (kubernetes#75791).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|pair| Arc::clone(&pair.certified))
    }
}
