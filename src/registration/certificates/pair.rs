//! A certificate chain with its private key.

use std::{error::Error, fmt, sync::Arc};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::parse_x509_certificate;

/// A certificate chain with its private key, checked against each other.
#[derive(Clone, Debug)]
pub(in crate::registration) struct CertificatePair {
    pub(in crate::registration) certified: Arc<CertifiedKey>,
    pub(in crate::registration) validity: Validity,
}

/// The time in which a certificate is valid, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registration) struct Validity {
    pub(in crate::registration) not_before: i64,
    pub(in crate::registration) not_after: i64,
}

/// Why a chain and a key cannot be used. The error contains no part of the key.
#[derive(Debug)]
pub(in crate::registration) enum PairError {
    /// The chain is not PEM, or not X.509.
    Certificate(Box<dyn Error + Send + Sync>),
    /// The PEM has no certificate.
    NoCertificate,
    /// The PEM has no private key in PKCS #8, PKCS #1 or SEC 1.
    Key(rustls::pki_types::pem::Error),
    /// The key is of another type than RSA, ECDSA or Ed25519, or it belongs to another certificate.
    Mismatch(rustls::Error),
}

// === impl CertificatePair ===

impl CertificatePair {
    /// Reads a PEM chain, leaf certificate first, and the PEM key of the leaf. Both can be in one text.
    ///
    /// # Errors
    /// Fails if one of them cannot be used, or if the key belongs to another certificate.
    pub(in crate::registration) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = certificates(chain)?;
        let validity = Validity::of(chain.first().ok_or(PairError::NoCertificate)?)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(PairError::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        Ok(Self { certified: Arc::new(certified.map_err(PairError::Mismatch)?), validity })
    }
}

impl PartialEq for CertificatePair {
    fn eq(&self, other: &Self) -> bool {
        // A leaf certificate has one key.
        self.certified.cert == other.certified.cert
    }
}

/// The certificates of a PEM text.
pub(in crate::registration) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| PairError::Certificate(error.into()))
}

// === impl Validity ===

impl Validity {
    /// The validity of a certificate.
    pub(in crate::registration) fn of(certificate: &CertificateDer<'_>) -> Result<Self, PairError> {
        let (_, parsed) =
            parse_x509_certificate(certificate).map_err(|error| PairError::Certificate(error.into()))?;
        let validity = parsed.validity();
        Ok(Self { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
    }

    /// Whether the certificate is valid at this time.
    pub(in crate::registration) const fn contains(self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

// === impl PairError ===

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) => "expected a PEM certificate chain, leaf certificate first",
            Self::NoCertificate => "no certificate; expected a PEM certificate chain, leaf certificate first",
            Self::Key(_) => "expected a PEM private key",
            Self::Mismatch(_) => {
                "the private key does not match the certificate; give the ECDSA or RSA key of this certificate"
            }
        })
    }
}

impl Error for PairError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Certificate(error) => Some(&**error),
            Self::Key(error) => Some(error),
            Self::Mismatch(error) => Some(error),
            Self::NoCertificate => None,
        }
    }
}
