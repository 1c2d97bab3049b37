//! Follows the Secret, the webhook configuration and the files, chooses the certificate to serve, and carries out the next step while this
//! replica leads.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event},
};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{
    CertificateSource, Managed, Registration, SECRET, SERVICE, live,
    metrics::{WriteResult, WrittenObject},
    observed::Observed,
    replicas,
    retry::Retry,
    rotation::{Situation, Step},
    stored::{Content, Stored},
};
use crate::{
    cluster,
    runtime::{clock, log::Chain},
};

/// The name of the server's writes, as managed fields show it.
const FIELD_MANAGER: &str = "vdi-metrics-server";

/// Time between two looks at the files and at the times of the certificates.
pub(super) const TICK: Duration = Duration::from_secs(2);

/// Timeout of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

/// The registration while it runs.
pub(super) struct Registrar {
    registration: Registration,
    client: Client,
    observed: Observed,
    secret_writes: Retry,
    bundle_writes: Retry,
    last_step: Step,
}

// === impl Registrar ===

impl Registrar {
    pub(super) fn new(registration: Registration, client: Client) -> Self {
        let now = Instant::now();
        Self {
            registration,
            client,
            observed: Observed::default(),
            secret_writes: Retry::new(now),
            bundle_writes: Retry::new(now),
            last_step: Step::Rest,
        }
    }

    /// Keeps the certificate and the registration up to date. Returns only if a watch ends, which does not happen.
    pub(super) async fn run(mut self) {
        let (mut configurations, mut secrets) = (self.configurations(), self.secrets());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = configurations.next() => self.see_configuration(event),
                Some(event) = secrets.next() => self.see_secret(event),
                _ = ticks.tick() => self.registration.read_files(),
                else => return,
            }
            self.serve();
            if self.registration.leadership.is_current() {
                self.lead().await;
            }
        }
    }

    fn configurations(&self) -> Events<MutatingWebhookConfiguration> {
        let name = format!("metadata.name={}", self.registration.webhook.configuration);
        Box::pin(cluster::selected_events(Api::all(self.client.clone()), "", &name))
    }

    /// The Secret; no event if the certificate is in files.
    fn secrets(&self) -> Events<Secret> {
        match self.registration.source {
            CertificateSource::Files { .. } => Box::pin(stream::pending()),
            CertificateSource::Managed(_) => {
                let secrets = Api::default_namespaced(self.client.clone());
                Box::pin(cluster::selected_events(secrets, "", &format!("metadata.name={SECRET}")))
            }
        }
    }

    fn see_configuration(&mut self, event: watcher::Result<Event<MutatingWebhookConfiguration>>) {
        let entries = |configuration: &MutatingWebhookConfiguration| {
            Some(live::entries(configuration, &self.registration.webhook.entries))
        };
        let seen = match &event {
            Ok(Event::InitApply(configuration) | Event::Apply(configuration)) => entries(configuration),
            Ok(Event::Delete(_)) => None,
            // The list has shown no configuration.
            Ok(Event::InitDone) if !self.observed.knows_live => None,
            Ok(Event::Init | Event::InitDone) => return,
            Err(error) => {
                tracing::warn!(%error, "Cannot watch the webhook configuration; retrying");
                return;
            }
        };
        self.observed.see_live(seen, now());
        self.bundle_writes.shown(Instant::now());
    }

    fn see_secret(&mut self, event: watcher::Result<Event<Secret>>) {
        let seen = match &event {
            Ok(Event::InitApply(secret) | Event::Apply(secret)) => Some(Stored::read(secret)),
            Ok(Event::Delete(_)) => None,
            Ok(Event::InitDone) if !self.observed.knows_stored => None,
            Ok(Event::Init | Event::InitDone) => return,
            Err(error) => {
                tracing::warn!(%error, secret = SECRET, "Cannot watch the Secret with the certificate; retrying");
                return;
            }
        };
        self.observed.see_stored(seen, now());
        self.secret_writes.shown(Instant::now());
    }

    /// Uses the certificate that the API server accepts, and reports it.
    fn serve(&mut self) {
        let (registration, now) = (&mut self.registration, now());
        let current = registration.serving.current();
        let offered = match &registration.source {
            CertificateSource::Files { content, .. } => Some(&content.pair),
            CertificateSource::Managed(_) => {
                self.observed.stored.as_ref().and_then(|stored| stored.pair.as_ref())
            }
        };
        let chosen = self.observed.choose(current.as_deref(), offered, now);
        let is_trusted = chosen.is_some_and(|pair| self.observed.trusts(pair, now));
        if let Some(chosen) = chosen.filter(|chosen| current.as_deref() != Some(chosen)).cloned() {
            tracing::info!(not_after = chosen.validity.not_after, "Serving a new certificate");
            registration.serving.set(chosen);
        }
        registration.report(is_trusted);
    }

    /// Carries out the next step, and writes the `caBundle`.
    async fn lead(&mut self) {
        if let CertificateSource::Managed(managed) = &self.registration.source
            && self.observed.knows_stored
            && self.observed.knows_live
            && self.secret_writes.is_due(Instant::now())
        {
            let managed = managed.clone();
            self.rotate(&managed).await;
        }
        if self.bundle_writes.is_due(Instant::now()) {
            self.write_bundle().await;
        }
    }

    async fn rotate(&mut self, managed: &Managed) {
        let names = self.names(managed);
        let situation = self.situation(managed, &names);
        let step = situation.step();
        let content = match step {
            Step::Rest | Step::AwaitTrust => Ok(None),
            Step::AskReplicas => {
                self.ask_replicas(&names).await;
                return;
            }
            _ => situation.content(&step),
        };
        let new_step = (step != self.last_step).then_some(&step);
        if let Some(step) = new_step.filter(|step| **step != Step::Rest) {
            tracing::info!(?step, "Certificate");
        }
        match content {
            Ok(None) => {}
            Ok(Some(content)) => self.write_secret(&content).await,
            Err(error) => {
                tracing::error!(%error, "Cannot generate a certificate; trying again");
                self.secret_writes.failed(Instant::now());
            }
        }
        self.last_step = step;
    }

    fn situation<'s>(&'s self, managed: &Managed, names: &'s [String]) -> Situation<'s> {
        let observed = &self.observed;
        Situation {
            stored: observed.stored.as_ref(),
            kept: observed.kept.as_ref(),
            live: observed.live.as_deref(),
            trusted_since: observed.trusted_since(),
            names,
            served_by_all: observed.served_by_all,
            lifetimes: managed.lifetimes,
            now: now(),
        }
    }

    /// The names of the certificate: the Service of this namespace, those that the live configuration calls here, and those of the options.
    fn names(&self, managed: &Managed) -> Vec<String> {
        let services = self.services();
        let namespace = self.client.default_namespace();
        let mut names: Vec<_> = services.iter().map(|service| format!("{service}.{namespace}.svc")).collect();
        names.extend(managed.names.iter().cloned());
        names
    }

    fn services(&self) -> BTreeSet<String> {
        let suffix = format!(".{}.svc", self.client.default_namespace());
        let live = self.observed.live.iter().flatten();
        let called = live.filter_map(|entry| entry.host.strip_suffix(&suffix).map(str::to_owned));
        called.chain([SERVICE.to_owned()]).collect()
    }

    async fn ask_replicas(&mut self, names: &[String]) {
        let authority = self.observed.stored.as_ref().and_then(|stored| stored.authority.as_ref());
        let (Some(authority), Some(name)) = (authority, names.first()) else { return };
        let namespace = self.client.default_namespace().to_owned();
        let services = self.services();
        let addresses = replicas::addresses(self.client.clone(), &namespace, &services);
        match timeout(WRITE_TIMEOUT, addresses).await {
            Ok(Ok(addresses)) => {
                let without = replicas::without(addresses, &authority.certificate, name).await;
                self.observed.served_by_all = Some(without.is_empty());
                if !without.is_empty() {
                    tracing::info!(replicas = ?without, "Waiting until these replicas serve a certificate of the new CA");
                    self.secret_writes.failed(Instant::now());
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "Cannot list the replicas of the server; trying again");
                self.secret_writes.failed(Instant::now());
            }
            Err(_) => self.secret_writes.failed(Instant::now()),
        }
    }

    /// Stores the content, if nobody else has written the Secret since this replica saw it.
    async fn write_secret(&mut self, content: &Content) {
        let secrets: Api<Secret> = Api::default_namespaced(self.client.clone());
        let version = self.observed.stored.as_ref().map(|stored| stored.version.clone());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                resource_version: version.clone(),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(content.data()),
            ..Secret::default()
        };
        let write = async {
            match version {
                None => {
                    let field_manager = Some(FIELD_MANAGER.to_owned());
                    secrets.create(&PostParams { field_manager, ..PostParams::default() }, &secret).await
                }
                Some(_) => secrets.patch(SECRET, &parameters(), &Patch::Apply(&secret)).await,
            }
        };
        let result = written(timeout(WRITE_TIMEOUT, write).await, "the Secret with the certificate");
        self.wrote(WrittenObject::Secret, result);
    }

    /// Writes the `caBundle` into the entries that do not have it.
    async fn write_bundle(&mut self) {
        let Some(entries) = self.observed.live.as_deref().filter(|entries| !entries.is_empty()) else {
            return;
        };
        let trusted: &[CertificateDer<'_>] = match &self.registration.source {
            CertificateSource::Files { content, .. } => content.authorities.as_deref().unwrap_or_default(),
            CertificateSource::Managed(_) => {
                self.observed.stored.as_ref().map_or(&[], |stored| stored.trusted.as_slice())
            }
        };
        let configuration = self.registration.webhook.configuration;
        let apply = live::apply(configuration, entries, trusted).filter(|_| !trusted.is_empty());
        let Some(apply) = apply else { return };
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let (parameters, patch) = (parameters(), Patch::Apply(&apply));
        let write = api.patch(configuration, &parameters, &patch);
        let result =
            written(timeout(WRITE_TIMEOUT, write).await, "the caBundle of the webhook configuration");
        self.wrote(WrittenObject::CaBundle, result);
    }

    fn wrote(&mut self, object: WrittenObject, result: WriteResult) {
        let (retry, now) = match object {
            WrittenObject::Secret => (&mut self.secret_writes, Instant::now()),
            WrittenObject::CaBundle => (&mut self.bundle_writes, Instant::now()),
        };
        match result {
            WriteResult::Written => retry.succeeded(now),
            WriteResult::Conflict | WriteResult::Failed => retry.failed(now),
        }
        self.registration.metrics.wrote(object, result);
    }
}

fn parameters() -> PatchParams {
    PatchParams { force: true, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// The result of a write; a failure is logged.
fn written<T>(answer: Result<kube::Result<T>, tokio::time::error::Elapsed>, object: &str) -> WriteResult {
    match answer {
        Ok(Ok(_)) => WriteResult::Written,
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => WriteResult::Conflict,
        Ok(Err(error)) => {
            let error = Chain(&error).to_string();
            tracing::error!(error, object, "Cannot write; trying again");
            WriteResult::Failed
        }
        Err(_) => {
            tracing::error!(object, "The API server does not answer a write in time; trying again");
            WriteResult::Failed
        }
    }
}

/// The current time in Unix seconds.
pub(super) fn now() -> i64 {
    i64::try_from(clock::unix_now().as_secs()).unwrap_or(i64::MAX)
}
