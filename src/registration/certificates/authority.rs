//! The server's own CA.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::pair::Validity;

/// Time by which certificates are valid before their creation. The clocks of the server and of an API server can differ by this time.
const BACKDATE: i64 = 24 * 3600;

/// A CA certificate with its key.
pub(in crate::registration) struct Authority {
    pub(in crate::registration) certificate: CertificateDer<'static>,
    pub(in crate::registration) validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

/// A new certificate and its key, in PEM.
pub(in crate::registration) struct IssuedPair {
    pub(in crate::registration) certificate: String,
    pub(in crate::registration) key: String,
}

// === impl Authority ===

impl Authority {
    /// Generates a CA with an ECDSA P-256 key: some API servers reject Ed25519 (dapr PR#9841), and every one accepts this type.
    ///
    /// # Errors
    /// Fails if the system has no random numbers.
    pub(in crate::registration) fn generate(now: i64, lifetime: i64) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters = parameters(&[], now, now.saturating_add(lifetime))?;
        // Two CAs of a rotation have different names.
        parameters.distinguished_name.push(DnType::CommonName, format!("vdi-metrics CA {now}"));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key)?.der().clone();
        Self::new(certificate, key)
    }

    /// A CA from its certificate and its PEM key.
    ///
    /// # Errors
    /// Fails if one of them cannot be used, or if the key belongs to another certificate.
    pub(in crate::registration) fn from_parts(
        certificate: &CertificateDer<'_>,
        key: &str,
    ) -> Result<Self, rcgen::Error> {
        Self::new(certificate.clone().into_owned(), KeyPair::from_pem(key)?)
    }

    fn new(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, rcgen::Error> {
        let could_not_parse = |_| rcgen::Error::CouldNotParseCertificate;
        let validity = Validity::of(&certificate).map_err(could_not_parse)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(rcgen::Error::CouldNotParseKeyPair);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate, validity, issuer })
    }

    /// The private key in PEM.
    pub(in crate::registration) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a serving certificate for these DNS names and IP addresses. It is not valid for longer than the CA.
    ///
    /// # Errors
    /// Fails if a name is not valid, or if the system has no random numbers.
    pub(in crate::registration) fn issue(
        &self,
        names: &[String],
        now: i64,
        lifetime: i64,
    ) -> Result<IssuedPair, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters =
            parameters(names, now, now.saturating_add(lifetime).min(self.validity.not_after))?;
        let name = names.first().cloned().unwrap_or_default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(IssuedPair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl std::fmt::Debug for Authority {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("validity", &self.validity).finish_non_exhaustive()
    }
}

fn parameters(names: &[String], now: i64, not_after: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    (parameters.not_before, parameters.not_after) = (date(now.saturating_sub(BACKDATE)), date(not_after));
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    Ok(parameters)
}

fn date(unix: i64) -> OffsetDateTime {
    // A time out of range comes from a wrong clock.
    OffsetDateTime::from_unix_timestamp(unix).unwrap_or_else(|_| date_time_ymd(1975, 1, 1))
}
