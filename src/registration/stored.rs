//! The content of the Secret: the CA certificates that the API server must trust, the key of the first of them, and the serving certificate.
//! Each part can be unusable, because any client with the right can write the Secret.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls::pki_types::CertificateDer;

use super::certificates::{Authority, CertificatePair, IssuedPair, Validity, certificates};

/// Keys of the Secret. Those of the serving certificate and of the CA are the keys of cert-manager, so Prometheus reads `ca.crt` of either.
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Maximum number of CA certificates. A rotation has two; more come only from another client.
pub(super) const MAX_AUTHORITIES: usize = 8;

/// The content of the Secret at a resource version.
#[derive(Debug)]
pub(super) struct StoredCertificate {
    pub(super) version: String,
    /// The type of the Secret.
    pub(super) kind: Option<String>,
    /// The CA that signs: the first certificate of the bundle. None if its key is not there or does not fit.
    pub(super) authority: Option<Authority>,
    /// The certificates that the API server must trust, the newest first.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) pair: Option<CertificatePair>,
    content: Content,
}

/// The content as it is written.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content(BTreeMap<&'static str, Vec<u8>>);

// === impl StoredCertificate ===

impl StoredCertificate {
    pub(super) fn read(secret: &Secret) -> Self {
        let text = |key: &str| {
            let data = secret.data.as_ref().and_then(|data| data.get(key));
            data.map_or(&[][..], |bytes| bytes.0.as_slice())
        };
        let mut trusted = certificates(text(CA)).unwrap_or_default();
        trusted.retain(|certificate| Validity::of(certificate).is_ok());
        trusted.truncate(MAX_AUTHORITIES);
        let key = std::str::from_utf8(text(CA_KEY)).unwrap_or_default();
        let authority = trusted.first().and_then(|first| Authority::from_parts(first, key).ok());
        let pair = CertificatePair::from_pem(text(CERTIFICATE), text(KEY)).ok();
        let content = [CA, CA_KEY, CERTIFICATE, KEY].map(|key| (key, text(key).to_vec()));
        let version = secret.resource_version().unwrap_or_default();
        Self {
            version,
            kind: secret.type_.clone(),
            authority,
            trusted,
            pair,
            content: Content(content.into()),
        }
    }

    /// Whether every part can be used.
    pub(super) fn is_usable(&self) -> bool {
        self.authority.is_some() && self.pair.is_some()
    }

    /// The content of all keys.
    pub(super) fn content(&self) -> Content {
        self.content.clone()
    }

    /// The content with a new CA, which is not used before the API server trusts it.
    pub(super) fn with_authority(&self, authority: &Authority, trusted: &[CertificateDer<'_>]) -> Content {
        self.content.clone().trusting(trusted).signing(authority)
    }

    /// The content with a new serving certificate.
    pub(super) fn with_pair(&self, issued: &IssuedPair) -> Content {
        self.content.clone().serving(issued)
    }

    /// The content with these CA certificates.
    pub(super) fn with_trusted(&self, trusted: &[CertificateDer<'_>]) -> Content {
        self.content.clone().trusting(trusted)
    }
}

// === impl Content ===

impl Content {
    /// A new CA and its first serving certificate.
    pub(super) fn new(authority: &Authority, trusted: &[CertificateDer<'_>], issued: &IssuedPair) -> Self {
        Self(BTreeMap::new()).trusting(trusted).signing(authority).serving(issued)
    }

    fn trusting(mut self, trusted: &[CertificateDer<'_>]) -> Self {
        self.0.insert(CA, bundle(trusted).into_bytes());
        self
    }

    fn signing(mut self, authority: &Authority) -> Self {
        self.0.insert(CA_KEY, authority.key().into_bytes());
        self
    }

    fn serving(mut self, issued: &IssuedPair) -> Self {
        self.0.insert(CERTIFICATE, issued.certificate.clone().into_bytes());
        self.0.insert(KEY, issued.key.clone().into_bytes());
        self
    }

    #[cfg(test)]
    pub(super) fn rubbish() -> Self {
        Self([CA, CA_KEY, CERTIFICATE, KEY].map(|key| (key, b"rubbish".to_vec())).into())
    }

    /// The data of the Secret.
    pub(super) fn data(&self) -> BTreeMap<String, ByteString> {
        self.0.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.clone()))).collect()
    }
}

impl fmt::Debug for Content {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.0.iter().map(|(key, bytes)| (key, bytes.len()));
        f.debug_map().entries(lengths).finish()
    }
}

/// The PEM text of certificates.
pub(super) fn bundle(certificates: &[CertificateDer<'_>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let text = |certificate: &CertificateDer<'_>| {
        pem::encode_config(&Pem::new("CERTIFICATE", &**certificate), config)
    };
    certificates.iter().map(text).collect()
}
