//! What this replica knows of the cluster, and which certificate it serves.

use rustls::pki_types::CertificateDer;

use super::{
    certificates::{CertificatePair, distinct},
    live::{self, LiveEntry},
    stored::{MAX_AUTHORITIES, StoredCertificate},
};

/// Time after which every API server of a control plane uses a changed configuration: each has its own watch.
pub(super) const SETTLE: i64 = 10;

/// Objects of the watches.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The entries of the live configuration; none before the first list, and without a configuration.
    pub(super) live: Option<Vec<LiveEntry>>,
    /// Whether the watch has shown whether there is a configuration.
    pub(super) knows_live: bool,
    /// Unix time of the last change of the entries.
    live_since: i64,
    /// The content of the Secret; none before the first list, and without a Secret.
    pub(super) stored: Option<StoredCertificate>,
    /// The last content that could be used, if the present one cannot be.
    pub(super) kept: Option<StoredCertificate>,
    /// The CA that signs, and since when each live entry has it, in Unix time.
    trusted: Option<(CertificateDer<'static>, i64)>,
    /// Whether every replica serves the stored certificate.
    pub(super) served_by_all: Option<bool>,
}

// === impl Observed ===

impl Observed {
    /// Takes the entries of the live configuration; none if there is no configuration.
    pub(super) fn see_live(&mut self, live: Option<Vec<LiveEntry>>, now: i64) {
        if self.live != live {
            self.live_since = now;
        }
        (self.live, self.knows_live) = (live, true);
        self.see_trust(now);
    }

    /// Takes the content of the Secret; none if there is no Secret.
    pub(super) fn see_stored(&mut self, stored: Option<StoredCertificate>, now: i64) {
        let earlier = std::mem::replace(&mut self.stored, stored);
        if let Some(earlier) = earlier.filter(StoredCertificate::is_usable) {
            self.kept = Some(earlier);
        }
        self.served_by_all = None;
        self.see_trust(now);
    }

    /// Since when each live entry has the CA that signs, in Unix time.
    pub(super) fn trusted_since(&self) -> Option<i64> {
        self.trusted.as_ref().map(|(_, since)| *since)
    }

    fn see_trust(&mut self, now: i64) {
        let authority = self.stored.as_ref().and_then(|stored| stored.authority.as_ref());
        let trusted = authority
            .map(|authority| &authority.certificate)
            .filter(|authority| self.live.as_deref().is_some_and(|live| live::all_have(live, authority)));
        let earlier = self.trusted.take();
        self.trusted = trusted.map(|authority| match earlier {
            Some((earlier, since)) if earlier == *authority => (earlier, since),
            _ => (authority.clone(), now),
        });
    }

    /// Whether the API server accepts this certificate wherever it calls the webhook. False before the watch has shown it.
    pub(super) fn trusts(&self, pair: &CertificatePair, now: i64) -> bool {
        self.knows_live && self.live.as_deref().is_none_or(|live| live::all_trust(live, pair, now))
    }

    /// Whether the API server also trusts other CAs than these.
    pub(super) fn trusts_others(&self, authorities: &[CertificateDer<'_>], now: i64) -> bool {
        let live = live::authorities(self.live.as_deref().unwrap_or_default());
        !authorities.is_empty()
            && distinct(live, now).iter().any(|authority| !authorities.contains(authority))
    }

    /// The `caBundle` for the CAs of the files. Until every replica serves a certificate of them, it also has the CAs that the API server
    /// trusts now: the kubelet renews the mounted files of each node at another time.
    pub(super) fn bundle_of_files(
        &self,
        authorities: &[CertificateDer<'static>],
        now: i64,
    ) -> Vec<CertificateDer<'static>> {
        if authorities.is_empty() || self.served_by_all == Some(true) {
            return authorities.to_vec();
        }
        let live = live::authorities(self.live.as_deref().unwrap_or_default());
        let mut bundle = distinct(authorities.iter().chain(live), now);
        bundle.truncate(authorities.len() + MAX_AUTHORITIES);
        bundle
    }

    /// The certificate to serve: the offered one, except while an API server may accept only the current one.
    pub(super) fn choose<'p>(
        &self,
        current: Option<&'p CertificatePair>,
        offered: Option<&'p CertificatePair>,
        now: i64,
    ) -> Option<&'p CertificatePair> {
        let accepts = |pair: &&CertificatePair| self.trusts(pair, now);
        let current_accepted = current.filter(accepts);
        let has_settled = now >= self.live_since.saturating_add(SETTLE);
        let offered_accepted = offered.filter(accepts).filter(|_| has_settled || current_accepted.is_none());
        offered_accepted.or(current_accepted).or(offered).or(current)
    }
}
