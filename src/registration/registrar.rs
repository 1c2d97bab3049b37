//! Follows the Secret, the webhook configuration and the files, chooses the certificate to serve, and carries out the next step while this
//! replica leads.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{
    files::FileContent,
    live::{self, LiveEntry},
    metrics::{WriteResult, WrittenObject},
    objects::{Objects, SeenObject},
    observed::Observed,
    replicas,
    retry::Retry,
    rotation::{RotationStep, Situation},
    state::{CertificateSource, Managed, Registration, SECRET, SERVICE, TICK},
    stored::Content,
};
use crate::runtime::{clock, log::Chain};

/// The name of the server's writes, as managed fields show it.
const FIELD_MANAGER: &str = "vdi-metrics-server";

/// Timeout for the first list of the webhook configuration. After it the process is ready without the list.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of the questions to all replicas. Events wait meanwhile.
const QUESTIONS_TIMEOUT: Duration = Duration::from_secs(8);

/// The type of the Secret.
const TYPE: &str = "kubernetes.io/tls";

/// Timeout of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The registration while it runs.
pub(super) struct Registrar {
    registration: Registration,
    client: Client,
    objects: Objects,
    observed: Observed,
    leads: bool,
    steps: Retry,
    questions: Retry,
    bundle_writes: Retry,
    last_step: RotationStep,
    started: Instant,
}

// === impl Registrar ===

impl Registrar {
    pub(super) fn new(registration: Registration, client: Client) -> Self {
        let now = Instant::now();
        let has_secret = matches!(registration.source, CertificateSource::Managed(_));
        let objects = Objects::new(client.clone(), registration.webhook.clone(), has_secret);
        Self {
            registration,
            client,
            objects,
            observed: Observed::default(),
            leads: false,
            steps: Retry::new(now),
            questions: Retry::new(now),
            bundle_writes: Retry::new(now),
            last_step: RotationStep::Rest,
            started: now,
        }
    }

    /// Keeps the certificate and the registration up to date.
    pub(super) async fn run(mut self) {
        let mut leadership = self.registration.leadership.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                seen = self.objects.next() => self.see(seen),
                _ = ticks.tick() => if self.registration.read_files() {
                    self.ask_again();
                },
                () = leadership.becomes(!self.leads) => self.set_leads(!self.leads),
            }
            self.serve();
            if self.leads && self.objects.are_listed() {
                self.lead().await;
            }
        }
    }

    fn set_leads(&mut self, leads: bool) {
        self.leads = leads;
        if leads {
            // What a new leader has seen can be old.
            self.objects.restart();
        }
    }

    fn see(&mut self, seen: Option<SeenObject>) {
        match seen {
            Some(SeenObject::Configuration(entries)) => {
                let own = entries.map(|entries| entries.into_iter().filter(|it| self.is_own(it)).collect());
                self.observed.see_live(own, clock::unix_seconds());
                self.bundle_writes.shown(Instant::now());
            }
            Some(SeenObject::Secret(stored)) => {
                self.observed.see_stored(stored.map(|stored| *stored), clock::unix_seconds());
                self.steps.shown(Instant::now());
                self.ask_again();
            }
            None => {}
        }
    }

    /// Whether an entry calls this server: it has a Service of this namespace, or a URL. With its own certificate the server also needs the
    /// host of the URL as a name.
    fn is_own(&self, entry: &LiveEntry) -> bool {
        let host = &entry.host;
        if host.ends_with(".svc") {
            return host.ends_with(&self.suffix());
        }
        match &self.registration.source {
            CertificateSource::Files { .. } => true,
            CertificateSource::Managed(managed) => managed.names.contains(host),
        }
    }

    /// The end of the host of a Service in this namespace.
    fn suffix(&self) -> String {
        format!(".{}.svc", self.client.default_namespace())
    }

    fn ask_again(&mut self) {
        self.observed.served_by_all = None;
        self.questions = Retry::new(Instant::now());
    }

    /// Uses the certificate that the API server accepts, and reports it.
    fn serve(&mut self) {
        let (registration, now) = (&mut self.registration, clock::unix_seconds());
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
        if !self.observed.knows_live && self.started.elapsed() >= FIRST_LIST_TIMEOUT {
            registration.report_unknown();
        }
    }

    /// Carries out the next step, and writes the `caBundle`.
    async fn lead(&mut self) {
        if self.steps.is_due(Instant::now()) {
            match self.registration.source.clone() {
                CertificateSource::Managed(managed) => self.rotate(&managed).await,
                CertificateSource::Files { content, .. } => self.follow_files(&content).await,
            }
        }
        if self.bundle_writes.is_due(Instant::now()) {
            self.write_bundle().await;
        }
    }

    /// Asks the replicas, while the API server also trusts other CAs than those of the files.
    async fn follow_files(&mut self, content: &FileContent) {
        let authorities = content.authorities.as_deref().unwrap_or_default();
        let is_asked = self.observed.served_by_all == Some(true);
        if !is_asked && self.observed.trusts_others(authorities, clock::unix_seconds()) {
            self.ask_replicas(authorities).await;
        }
    }

    async fn rotate(&mut self, managed: &Managed) {
        let names = self.names(&managed.names);
        let situation = self.situation(managed, &names);
        let step = situation.step();
        let content = match step {
            RotationStep::Rest | RotationStep::AwaitTrust => Ok(None),
            RotationStep::AskReplicas => {
                if let Some(authority) = self.observed.stored.as_ref().and_then(|it| it.authority.as_ref()) {
                    let authorities = [authority.certificate.clone()];
                    self.ask_replicas(&authorities).await;
                }
                return;
            }
            _ => situation.content(&step),
        };
        let new_step = (step != self.last_step).then_some(&step);
        if let Some(step) = new_step.filter(|step| **step != RotationStep::Rest) {
            tracing::info!(?step, "Next step of the certificate rotation");
        }
        match content {
            Ok(None) => {}
            Ok(Some(content)) => self.write_secret(&content).await,
            Err(error) => {
                tracing::error!(%error, "Cannot generate a certificate; trying again");
                self.steps.failed(Instant::now());
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
            now: clock::unix_seconds(),
        }
    }

    /// The names in the certificate: the DNS names of the Services that the webhook configuration calls in this namespace, the name of the
    /// shipped Service, and the names of the options.
    fn names(&self, more: &[String]) -> Vec<String> {
        let services = self.services();
        let namespace = self.client.default_namespace();
        let mut names: Vec<_> = services.iter().map(|service| format!("{service}.{namespace}.svc")).collect();
        names.extend_from_slice(more);
        names
    }

    /// The Services that call this server.
    fn services(&self) -> BTreeSet<String> {
        let suffix = self.suffix();
        let live = self.observed.live.iter().flatten();
        let called = live.filter_map(|entry| entry.host.strip_suffix(&suffix));
        // The API server accepts any text as the name of a Service in a webhook configuration.
        let is_name =
            |name: &&str| name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
        called.filter(is_name).chain([SERVICE]).map(str::to_owned).collect()
    }

    /// Asks whether every replica has a certificate of one of these CAs.
    async fn ask_replicas(&mut self, authorities: &[CertificateDer<'static>]) {
        if !self.questions.is_due(Instant::now()) {
            return;
        }
        let (services, suffix) = (self.services(), self.suffix());
        let called = self.observed.live.iter().flatten().next().map(|entry| entry.host.clone());
        let name = called.unwrap_or_else(|| format!("{SERVICE}{suffix}"));
        let answers = replicas::without(self.client.clone(), &services, authorities, &name);
        let all = match timeout(QUESTIONS_TIMEOUT, answers).await {
            Ok(Ok(without)) => {
                if let Some(without) = without.as_ref().filter(|without| !without.is_empty()) {
                    tracing::info!(
                        replicas = ?without,
                        "Keeping the old CA until these replicas serve a certificate of the new CA"
                    );
                }
                without.map(|without| without.is_empty())
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "Cannot list the replicas of the server; trying again");
                None
            }
            Err(_) => {
                tracing::warn!("The replicas of the server do not answer in time; trying again");
                None
            }
        };
        self.observed.served_by_all = all;
        if all != Some(true) {
            self.questions.failed(Instant::now());
        }
    }

    /// Stores the content, if no other client has written the Secret since this replica saw it.
    async fn write_secret(&mut self, content: &Content) {
        if !self.registration.leadership.is_current() {
            return;
        }
        let secrets: Api<Secret> = Api::default_namespaced(self.client.clone());
        let version = self.observed.stored.as_ref().map(|stored| stored.version.clone());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                resource_version: version.clone(),
                ..ObjectMeta::default()
            },
            // The type of an existing Secret cannot change.
            type_: self
                .observed
                .stored
                .as_ref()
                .map_or_else(|| Some(TYPE.to_owned()), |stored| stored.kind.clone()),
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
        if !self.registration.leadership.is_current() {
            return;
        }
        let Some(entries) = self.observed.live.as_deref().filter(|entries| !entries.is_empty()) else {
            return;
        };
        let trusted = match &self.registration.source {
            CertificateSource::Files { content, .. } => self
                .observed
                .bundle_of_files(content.authorities.as_deref().unwrap_or_default(), clock::unix_seconds()),
            CertificateSource::Managed(_) => {
                self.observed.stored.as_ref().map_or_else(Vec::new, |stored| stored.trusted.clone())
            }
        };
        let configuration = self.registration.webhook.configuration;
        let apply = live::apply(configuration, entries, &trusted).filter(|_| !trusted.is_empty());
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
            WrittenObject::Secret => (&mut self.steps, Instant::now()),
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
            tracing::error!(error, object, "Cannot write the object; trying again");
            WriteResult::Failed
        }
        Err(_) => {
            tracing::error!(object, "The API server does not answer a write in time; trying again");
            WriteResult::Failed
        }
    }
}
