//! The order of a rotation. Each step is one write, and follows from what is stored and what the API server shows. So the next leader goes on
//! wherever the last one ended.
//!
//! 1. A new CA is stored in front of the old one. The serving certificate stays.
//! 2. The `caBundle` of the live configuration gets both, and the watch shows it.
//! 3. The new CA issues a serving certificate. The replicas take it from the Secret.
//! 4. Every replica serves it.
//! 5. The old CA is removed from the Secret, and then from the `caBundle`.
//!
//! A serving certificate alone is renewed with step 3. A certificate that no API server can accept is replaced at once: the order protects
//! nothing then.

use rustls::pki_types::CertificateDer;

use super::{
    certificates::{Authority, CertificatePair, Validity, distinct, trusts},
    live::{self, LiveEntry},
    observed::SETTLE,
    stored::{Content, MAX_AUTHORITIES, StoredCertificate},
};

/// How long certificates are valid, in seconds. The last third of this time is for their renewal.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of a CA.
    pub authority: i64,
    /// Of a serving certificate. At most a third of the CA's lifetime.
    pub certificate: i64,
}

/// What the next step depends on.
#[derive(Debug)]
pub(super) struct Situation<'s> {
    /// The content of the Secret; none if there is no Secret.
    pub(super) stored: Option<&'s StoredCertificate>,
    /// The last content that could be used, from this replica's memory.
    pub(super) kept: Option<&'s StoredCertificate>,
    /// The entries of the live configuration; none if there is no configuration.
    pub(super) live: Option<&'s [LiveEntry]>,
    /// Since when each entry has the CA that signs, as Unix time.
    pub(super) trusted_since: Option<i64>,
    /// The names of the serving certificate.
    pub(super) names: &'s [String],
    /// Whether every replica serves the stored certificate; none if they were not asked since it was stored.
    pub(super) served_by_all: Option<bool>,
    pub(super) lifetimes: Lifetimes,
    /// Unix time.
    pub(super) now: i64,
}

/// The next step of the leader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RotationStep {
    /// Everything is as it should be.
    Rest,
    /// Write the last usable content again.
    Restore,
    /// Store a new CA and keep the serving certificate.
    AddAuthority,
    /// Store a new CA and a serving certificate: no replica has a usable one.
    Begin,
    /// Wait until the live configuration trusts the new CA.
    AwaitTrust,
    /// Store a new serving certificate.
    Issue,
    /// Ask each replica which certificate it serves.
    AskReplicas,
    /// Remove every CA but the one that signs.
    DropAuthorities,
}

// === impl Situation ===

impl Situation<'_> {
    /// The next step.
    pub(super) fn step(&self) -> RotationStep {
        let Some(stored) = self.stored else {
            return if self.can_restore() { RotationStep::Restore } else { RotationStep::Begin };
        };
        let authority = stored.authority.as_ref().filter(|authority| authority.validity.contains(self.now));
        let pair = stored.pair.as_ref().filter(|pair| pair.validity.contains(self.now));
        match (authority, pair) {
            (None, _) if self.can_restore() => RotationStep::Restore,
            (None, None) => RotationStep::Begin,
            (None, Some(_)) => RotationStep::AddAuthority,
            (Some(authority), _) if self.is_due(authority.validity, self.lifetimes.authority) => {
                if pair.is_some() { RotationStep::AddAuthority } else { RotationStep::Begin }
            }
            (Some(_), None) => RotationStep::Issue,
            (Some(authority), Some(pair)) => self.step_of_pair(stored, &authority.certificate, pair),
        }
    }

    fn step_of_pair(
        &self,
        stored: &StoredCertificate,
        authority: &CertificateDer<'_>,
        pair: &CertificatePair,
    ) -> RotationStep {
        let is_trusted = |authorities: &[CertificateDer<'_>]| {
            self.names.iter().all(|name| trusts(authorities, pair, name, self.now))
        };
        if !is_trusted(&stored.trusted) {
            // It has other names, or a CA that is not stored any more.
            return RotationStep::Issue;
        }
        let is_signed = is_trusted(std::slice::from_ref(authority));
        if !is_signed || self.is_due(pair.validity, self.lifetimes.certificate) {
            return if self.has_settled() { RotationStep::Issue } else { RotationStep::AwaitTrust };
        }
        let mut others = stored.trusted.iter().skip(1).map(Validity::of).peekable();
        match self.served_by_all {
            _ if others.peek().is_none() => RotationStep::Rest,
            Some(true) => RotationStep::DropAuthorities,
            _ if others.all(|other| other.is_ok_and(|other| other.not_after < self.now)) => {
                RotationStep::DropAuthorities
            }
            Some(false) | None => RotationStep::AskReplicas,
        }
    }

    /// Whether the API server has trusted the CA that signs for long enough, or does not call the webhook.
    fn has_settled(&self) -> bool {
        self.live.is_none_or(<[_]>::is_empty)
            || self.trusted_since.is_some_and(|since| self.now >= since.saturating_add(SETTLE))
    }

    /// Whether less than a third of the lifetime is left.
    fn is_due(&self, validity: Validity, lifetime: i64) -> bool {
        validity.not_after.saturating_sub(self.now) < lifetime / 3
    }

    fn can_restore(&self) -> bool {
        self.kept.is_some_and(|kept| {
            let validity = kept.authority.as_ref().map(|authority| authority.validity);
            let validities = [validity, kept.pair.as_ref().map(|pair| pair.validity)];
            validities
                .into_iter()
                .all(|validity| validity.is_some_and(|validity| validity.contains(self.now)))
        })
    }

    /// What the step writes; none if it writes nothing.
    ///
    /// # Errors
    /// Fails if a name is not valid, or if the system has no random numbers.
    pub(super) fn content(&self, step: &RotationStep) -> Result<Option<Content>, rcgen::Error> {
        let new_authority = || {
            let authority = Authority::generate(self.now, self.lifetimes.authority)?;
            let mut trusted = vec![authority.certificate.clone()];
            trusted.extend(self.earlier_authorities());
            Ok::<_, rcgen::Error>((authority, trusted))
        };
        let issue = |authority: &Authority| authority.issue(self.names, self.now, self.lifetimes.certificate);
        let signing = self.stored.and_then(|stored| Some((stored, stored.authority.as_ref()?)));
        Ok(match (step, self.stored, signing) {
            (RotationStep::Restore, ..) => self.kept.map(StoredCertificate::content),
            (RotationStep::Begin, ..) => {
                let (authority, trusted) = new_authority()?;
                Some(Content::new(&authority, &trusted, &issue(&authority)?))
            }
            (RotationStep::AddAuthority, Some(stored), _) => {
                let (authority, trusted) = new_authority()?;
                Some(stored.with_authority(&authority, &trusted))
            }
            (RotationStep::Issue, _, Some((stored, authority))) => Some(stored.with_pair(&issue(authority)?)),
            (RotationStep::DropAuthorities, _, Some((stored, authority))) => {
                Some(stored.with_trusted(std::slice::from_ref(&authority.certificate)))
            }
            _ => None,
        })
    }

    /// The CA certificates to trust beside a new CA: the stored ones, else those that the API server trusts now, because replicas can still
    /// serve their certificates.
    fn earlier_authorities(&self) -> Vec<CertificateDer<'static>> {
        let stored = self.stored.map(|stored| &stored.trusted).filter(|trusted| !trusted.is_empty());
        let mut earlier = match stored {
            Some(stored) => distinct(stored, self.now),
            None => distinct(live::authorities(self.live.unwrap_or_default()), self.now),
        };
        earlier.truncate(MAX_AUTHORITIES - 1);
        earlier
    }
}

// === impl Lifetimes ===

impl Default for Lifetimes {
    /// Two years and 90 days.
    fn default() -> Self {
        Self { authority: 730 * 86_400, certificate: 90 * 86_400 }
    }
}
