//! A simulated cluster in which leaders keep the certificate.

use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhook, MutatingWebhookConfiguration, ServiceReference, WebhookClientConfig,
    },
    core::v1::Secret,
};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use rustls::pki_types::CertificateDer;

use super::NAME;
use crate::registration::{
    certificates::CertificatePair,
    live::{self, LiveEntry},
    observed::Observed,
    rotation::{Lifetimes, RotationStep, Situation},
    stored::{self, Content, StoredCertificate},
};

pub(super) const LIFETIMES: Lifetimes = Lifetimes { authority: 720, certificate: 180 };

/// Seconds between two looks.
const TICK: i64 = 4;

/// Seconds until the second API server uses a changed configuration.
const LAG: i64 = 8;

/// What happens to the leader at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Before,
    After,
}

/// The cluster.
pub(super) struct World {
    pub(super) now: i64,
    pub(super) secret: Option<Content>,
    version: u64,
    /// The bundle of the live configuration, with the time of each change.
    pub(super) bundles: Vec<(i64, Vec<CertificateDer<'static>>)>,
    /// What each replica knows, and serves. The first one leads.
    pub(super) replicas: Vec<(Observed, Option<CertificatePair>)>,
    /// Every step that was written.
    pub(super) steps: Vec<RotationStep>,
    /// Number of writes until the crash.
    crash: Option<(usize, Crash)>,
    writes: usize,
}

// === impl World ===

impl World {
    /// An empty cluster with two replicas.
    pub(super) fn new(crash: Option<(usize, Crash)>) -> Self {
        let replicas = (0..2).map(|_| (Observed::default(), None)).collect();
        let (bundles, steps) = (vec![(0, vec![])], vec![]);
        let mut world =
            Self { now: 1_000_000, secret: None, version: 1, bundles, replicas, steps, crash, writes: 0 };
        world.show();
        world
    }

    /// Lets time pass; `check` looks at the cluster after each tick.
    pub(super) fn run(&mut self, seconds: i64, mut check: impl FnMut(&Self)) {
        let end = self.now + seconds;
        while self.now < end {
            self.now += TICK;
            self.lead();
            self.show();
            check(self);
        }
    }

    /// The number of replicas whose certificate an API server does not accept.
    pub(super) fn refused(&self) -> usize {
        let bundles = [self.bundle_at(self.now), self.bundle_at(self.now - LAG)];
        let is_refused = |pair: Option<&CertificatePair>| {
            let accepts = |bundle: &Vec<CertificateDer<'static>>| {
                pair.is_some_and(|pair| live::all_trust(&entries(bundle), pair, self.now))
            };
            !bundles.iter().all(accepts)
        };
        self.replicas.iter().filter(|(_, pair)| is_refused(pair.as_ref())).count()
    }

    /// The certificates that the live configuration trusts.
    pub(super) fn trusted(&self) -> usize {
        self.bundle_at(self.now).len()
    }

    pub(super) fn set_bundle(&mut self, bundle: Vec<CertificateDer<'static>>) {
        self.bundles.push((self.now, bundle));
        self.show();
    }

    pub(super) fn set_secret(&mut self, secret: Option<Content>) {
        (self.secret, self.version) = (secret, self.version + 1);
        self.show();
    }

    /// Another replica leads, and knows only what the cluster shows.
    pub(super) fn restart_leader(&mut self) {
        self.replicas[0] = (Observed::default(), None);
        self.show();
    }

    fn bundle_at(&self, time: i64) -> Vec<CertificateDer<'static>> {
        let current = self.bundles.iter().rev().find(|(since, _)| *since <= time);
        current.map(|(_, bundle)| bundle.clone()).unwrap_or_default()
    }

    /// The watches of every replica show the present state, and each replica chooses its certificate.
    fn show(&mut self) {
        let (bundle, now) = (self.bundle_at(self.now), self.now);
        for (observed, serving) in &mut self.replicas {
            if observed.live.as_deref() != Some(&entries(&bundle)[..]) {
                observed.see_live(Some(entries(&bundle)), now);
            }
            let version = self.version.to_string();
            if observed.stored.as_ref().map(|it| &*it.version) != Some(&version) {
                observed.see_stored(self.secret.as_ref().map(|content| stored(content, &version)), now);
            }
            let offered = observed.stored.as_ref().and_then(|stored| stored.pair.clone());
            *serving = observed.choose(serving.as_ref(), offered.as_ref(), now).cloned();
        }
    }

    fn lead(&mut self) {
        let names = [NAME.to_owned()];
        let (observed, _) = &self.replicas[0];
        let situation = Situation {
            stored: observed.stored.as_ref(),
            kept: observed.kept.as_ref(),
            live: observed.live.as_deref(),
            trusted_since: observed.trusted_since(),
            names: &names,
            served_by_all: observed.served_by_all,
            lifetimes: LIFETIMES,
            now: self.now,
        };
        let step = situation.step();
        let content = situation.content(&step).unwrap();
        if step == RotationStep::AskReplicas {
            let authority = observed.stored.as_ref().unwrap().authority.as_ref().unwrap().certificate.clone();
            let only = entries(std::slice::from_ref(&authority));
            let serves = |(_, pair): &(Observed, Option<CertificatePair>)| {
                pair.as_ref().is_some_and(|pair| live::all_trust(&only, pair, self.now))
            };
            self.replicas[0].0.served_by_all = Some(self.replicas.iter().all(serves));
        }
        if let Some(content) = content
            && self.write(|world| {
                (world.secret, world.version) = (Some(content), world.version + 1);
                world.steps.push(step);
            })
        {
            return;
        }
        let wanted =
            self.replicas[0].0.stored.as_ref().map(|stored| stored.trusted.clone()).unwrap_or_default();
        if !wanted.is_empty() && wanted != self.bundle_at(self.now) {
            self.write(|world| world.bundles.push((world.now, wanted)));
        }
    }

    /// Carries out a write. Returns whether the leader crashed.
    fn write(&mut self, write: impl FnOnce(&mut Self)) -> bool {
        self.writes += 1;
        let crash = self.crash.filter(|(number, _)| *number == self.writes).map(|(_, crash)| crash);
        if crash != Some(Crash::Before) {
            write(self);
        }
        if crash.is_some() {
            self.restart_leader();
        }
        crash.is_some()
    }
}

/// The content as a watch shows it.
pub(super) fn stored(content: &Content, version: &str) -> StoredCertificate {
    let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
    StoredCertificate::read(&Secret { metadata, data: Some(content.data()), ..Secret::default() })
}

/// The live entries with this bundle.
pub(super) fn entries(bundle: &[CertificateDer<'_>]) -> Vec<LiveEntry> {
    let service = ServiceReference {
        name: "vdi-metrics-webhook".to_owned(),
        namespace: "desktops".to_owned(),
        ..ServiceReference::default()
    };
    let bundle = (!bundle.is_empty()).then(|| ByteString(stored::bundle(bundle).into_bytes()));
    let client_config =
        WebhookClientConfig { ca_bundle: bundle, service: Some(service), ..WebhookClientConfig::default() };
    let entry = |name: &str| MutatingWebhook {
        name: name.to_owned(),
        client_config: client_config.clone(),
        ..MutatingWebhook::default()
    };
    let webhooks = Some(["ours", "others"].map(entry).into());
    live::entries(&MutatingWebhookConfiguration { webhooks, ..Default::default() }, &["ours"])
}
