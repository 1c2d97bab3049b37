//! Tests of the rotation with a simulated cluster: a Secret, a webhook configuration, API servers and replicas.

mod rotation;
mod world;

use rustls::pki_types::CertificateDer;

use super::{
    certificates::{Authority, CertificatePair, trusts},
    observed::Observed,
};

const NAME: &str = "vdi-metrics-webhook.desktops.svc";

fn pair(authority: &Authority, now: i64, lifetime: i64) -> CertificatePair {
    let issued = authority.issue(&[NAME.to_owned()], now, lifetime).unwrap();
    CertificatePair::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap()
}

#[test]
fn a_certificate_is_trusted_for_its_names_in_its_time_and_by_its_ca_only() {
    let (authority, other) =
        (Authority::generate(1_000_000, 3000).unwrap(), Authority::generate(1_000_000, 3000).unwrap());
    let pair = pair(&authority, 1_000_000, 900);
    let accepts = |authorities: &[&Authority], name: &str, now: i64| {
        let authorities: Vec<CertificateDer<'_>> =
            authorities.iter().map(|it| it.certificate.clone()).collect();
        trusts(&authorities, &pair, name, now)
    };
    assert!(accepts(&[&authority], NAME, 1_000_000));
    assert!(accepts(&[&other, &authority], NAME, 1_000_900));
    assert!(accepts(&[&authority], NAME, 1_000_000 - 23 * 3600), "an API server whose clock is behind");
    assert!(!accepts(&[&other], NAME, 1_000_000));
    assert!(!accepts(&[], NAME, 1_000_000));
    assert!(!accepts(&[&authority], "another.desktops.svc", 1_000_000));
    assert!(!accepts(&[&authority], NAME, 1_000_901));
    assert!(!accepts(&[&authority], "", 1_000_000));
}

#[test]
fn a_certificate_is_not_valid_for_longer_than_its_ca() {
    let authority = Authority::generate(1_000_000, 3000).unwrap();
    assert_eq!(pair(&authority, 1_000_000, 9000).validity.not_after, authority.validity.not_after);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, two) = (Authority::generate(0, 3000).unwrap(), Authority::generate(0, 3000).unwrap());
    let [first, second] = [&one, &two].map(|it| it.issue(&[NAME.to_owned()], 0, 900).unwrap());
    let error = CertificatePair::from_pem(first.certificate.as_bytes(), second.key.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("does not match"), "{error}");
    assert!(Authority::from_parts(&one.certificate, &two.key()).is_err());
    assert!(Authority::from_parts(&one.certificate, &one.key()).is_ok());
}

#[test]
fn a_chain_and_its_key_can_be_in_one_text() {
    let issued = Authority::generate(0, 3000).unwrap().issue(&[NAME.to_owned()], 0, 900).unwrap();
    for text in [issued.key.clone() + &issued.certificate, issued.certificate + &issued.key] {
        CertificatePair::from_pem(text.as_bytes(), text.as_bytes()).unwrap();
    }
}

/// The kubelet renews the files of each node at another time.
#[test]
fn a_changed_ca_in_files_keeps_the_old_one_trusted_until_every_replica_has_the_new_files() {
    let [old, new] = [0; 2].map(|now| Authority::generate(now, 3000).unwrap().certificate);
    let expired = Authority::generate(0, 10).unwrap().certificate;
    let mut observed = Observed::default();
    observed.see_live(Some(world::entries(&[old.clone(), expired])), 20);
    let files = std::slice::from_ref(&new);
    assert_eq!(observed.bundle_of_files(files, 20), [new.clone(), old.clone()]);
    assert!(observed.trusts_others(files, 20));
    assert!(!observed.trusts_others(std::slice::from_ref(&old), 20), "the expired one is no longer trusted");
    observed.served_by_all = Some(true);
    assert_eq!(observed.bundle_of_files(files, 20), [new]);
    assert_eq!(observed.bundle_of_files(&[], 20), [], "another program writes the caBundle");
}

/// Whatever is written into a log must not contain a key.
#[test]
fn no_debug_output_contains_a_key() {
    let authority = Authority::generate(0, 3000).unwrap();
    let issued = authority.issue(&[NAME.to_owned()], 0, 900).unwrap();
    let content =
        super::stored::Content::new(&authority, std::slice::from_ref(&authority.certificate), &issued);
    let stored = world::stored(&content, "1");
    let shown = format!("{authority:?} {content:?} {stored:?}");
    let middle = |pem: &str| pem.lines().nth(1).unwrap_or_default().to_owned();
    for key in [authority.key(), issued.key] {
        assert!(!shown.contains(&middle(&key)) && !shown.contains("PRIVATE"), "{shown}");
    }
}
