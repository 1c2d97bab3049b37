//! Why the API server can trust this server: the serving certificate, and the `caBundle` of the webhook configuration.
//!
//! By default the leader keeps a CA and a serving certificate in a Secret. Every replica watches the Secret, because the kubelet renews a
//! mounted Secret only after a minute or more (cert-controller#50). Otherwise the certificate is in files, and another program issues it.
//!
//! * `pair`, `authority`: certificates. `trust` decides as the API server does.
//! * `stored` is the content of the Secret, `live` the webhook configuration, `files` the files.
//! * `rotation` decides about the next step. `observed` is what it depends on. `retry` decides when.
//! * `registrar` follows the objects and writes them. `replicas` asks the other replicas.
//! * `serving` is the certificate in use, `metrics` the catalogue.

mod authority;
mod files;
mod live;
pub mod metrics;
mod observed;
mod pair;
mod registrar;
mod replicas;
mod retry;
mod rotation;
mod serving;
mod stored;
mod trust;

use kube::Client;
use prometheus::Registry;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    cluster::Leadership,
    runtime::{
        log::Chain,
        readiness::{Latch, Readiness},
    },
};

pub use files::{CertificateFiles, FileContent, FileError};
use metrics::RegistrationMetrics;
use registrar::Registrar;
pub use rotation::Lifetimes;
pub use serving::ServingCertificate;

/// Name of the Secret with the CA and the serving certificate.
pub const SECRET: &str = "vdi-metrics-tls";

/// Name of the Service of the webhook.
pub const SERVICE: &str = "vdi-metrics-webhook";

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// The server's own CA.
    Managed(Managed),
    /// Files that another program writes.
    Files {
        /// The files.
        files: CertificateFiles,
        /// Their last usable content.
        content: FileContent,
    },
}

/// The options of the server's own CA.
#[derive(Clone, Debug, Default)]
pub struct Managed {
    /// More DNS names and IP addresses of the certificate, beside the name of the Service.
    pub names: Vec<String>,
    /// How long the certificates are valid.
    pub lifetimes: Lifetimes,
}

/// The webhook configuration that calls this server.
#[derive(Clone, Debug)]
pub struct WebhookNames {
    /// Name of the configuration.
    pub configuration: &'static str,
    /// Names of the entries.
    pub entries: Vec<&'static str>,
}

/// The certificate of this process and its registration.
#[derive(Debug)]
pub struct Registration {
    source: CertificateSource,
    webhook: WebhookNames,
    serving: ServingCertificate,
    leadership: Leadership,
    metrics: RegistrationMetrics,
    /// Released by the first certificate, and once the API server trusts it.
    latches: [Option<Latch>; 2],
    /// The last error of the files, which is logged once.
    file_error: Option<String>,
}

// === impl Registration ===

impl Registration {
    /// Registers the metrics. The process is not ready before it has a certificate that the API server trusts.
    ///
    /// # Errors
    /// Fails if one of the names is registered already.
    pub fn register(
        registry: &Registry,
        readiness: &Readiness,
        leadership: Leadership,
        source: CertificateSource,
        webhook: WebhookNames,
    ) -> prometheus::Result<Self> {
        let serving = match &source {
            CertificateSource::Managed(_) => ServingCertificate::default(),
            CertificateSource::Files { content, .. } => ServingCertificate::of(content),
        };
        let metrics = RegistrationMetrics::register(registry, serving.clone())?;
        let latches = ["certificate", "registration"].map(|name| Some(readiness.latch(name)));
        Ok(Self { source, webhook, serving, leadership, metrics, latches, file_error: None })
    }

    /// The certificate for the servers of this process.
    #[must_use]
    pub fn serving(&self) -> ServingCertificate {
        self.serving.clone()
    }

    /// Whether the certificate needs a cluster.
    #[must_use]
    pub const fn needs_cluster(&self) -> bool {
        matches!(self.source, CertificateSource::Managed(_))
    }

    /// Keeps the certificate and the registration up to date, as long as the future is polled.
    pub async fn follow(self, client: Client) {
        Registrar::new(self, client).run().await;
    }

    /// Follows the files, without a cluster.
    pub async fn follow_files(mut self) {
        self.report(true);
        let mut ticks = interval(registrar::TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.read_files();
            if let CertificateSource::Files { content, .. } = &self.source {
                self.serving.set(content.pair.clone());
            }
        }
    }

    /// Reads the files again. After an error the last usable content stays in use.
    fn read_files(&mut self) {
        let CertificateSource::Files { files, content } = &mut self.source else { return };
        match files.read() {
            Ok(read) => {
                *content = read;
                self.file_error = None;
            }
            Err(error) => {
                let error = Chain(&error).to_string();
                if self.file_error.as_ref() != Some(&error) {
                    tracing::error!(
                        error,
                        "Cannot use the changed certificate files; the previous certificate stays in use"
                    );
                }
                self.file_error = Some(error);
            }
        }
    }

    /// Shows whether the API server trusts the certificate. The first time makes the process ready.
    fn report(&mut self, is_trusted: bool) {
        self.metrics.trusted(is_trusted);
        let conditions = [self.serving.current().is_some(), is_trusted];
        for (latch, condition) in self.latches.iter_mut().zip(conditions) {
            if condition && let Some(latch) = latch.take() {
                latch.release();
            }
        }
    }
}

#[cfg(test)]
mod tests;
