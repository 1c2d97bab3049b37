//! Whether an API server with a `caBundle` accepts a certificate.

use std::{sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::pair::{CertificatePair, Validity};

/// The certificates that have not expired at this Unix time, each once. One that is not valid yet stays: the clock can be wrong.
pub(in crate::registration) fn distinct<'c>(
    certificates: impl IntoIterator<Item = &'c CertificateDer<'static>>,
    now: i64,
) -> Vec<CertificateDer<'static>> {
    let mut distinct = vec![];
    for certificate in certificates {
        if Validity::of(certificate).is_ok_and(|validity| now <= validity.not_after)
            && !distinct.contains(certificate)
        {
            distinct.push(certificate.clone());
        }
    }
    distinct
}

/// Whether these CA certificates trust the certificate for this host, a DNS name or an IP address, at this Unix time. The API server also
/// requires that the CA certificate itself is valid.
pub(in crate::registration) fn trusts(
    authorities: &[CertificateDer<'_>],
    pair: &CertificatePair,
    host: &str,
    now: i64,
) -> bool {
    let is_valid = |authority: &&CertificateDer<'_>| {
        Validity::of(authority).is_ok_and(|validity| validity.contains(now))
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().filter(is_valid).map(|it| it.clone().into_owned()));
    let provider = Arc::new(ring::default_provider());
    // Without a usable root there is no verifier.
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let (Ok(verifier), Ok(name)) = (verifier, ServerName::try_from(host)) else { return false };
    let [leaf, chain @ ..] = &*pair.certified.cert else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
    verifier.verify_server_cert(leaf, chain, &name, &[], now).is_ok()
}
