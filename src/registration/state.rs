//! The certificate of this process: where it comes from, and whether the API server trusts it.

use std::time::Duration;

use prometheus::Registry;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    files::{CertificateFiles, FileContent},
    metrics::RegistrationMetrics,
    rotation::Lifetimes,
    serving::ServingCertificate,
};
use crate::{
    cluster::Leadership,
    runtime::{
        log::Chain,
        readiness::{Latch, Readiness},
    },
};

/// Time between two checks of the files and of the certificates' expiry.
pub(super) const TICK: Duration = Duration::from_secs(2);

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
    pub(super) source: CertificateSource,
    pub(super) webhook: WebhookNames,
    pub(super) serving: ServingCertificate,
    pub(super) leadership: Leadership,
    pub(super) metrics: RegistrationMetrics,
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

    /// Follows the files, without a cluster.
    pub async fn follow_files(mut self) {
        self.report(true);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.read_files()
                && let CertificateSource::Files { content, .. } = &self.source
            {
                self.serving.set(content.pair.clone());
            }
        }
    }

    /// Reads the files again, and returns whether their content has changed. After an error the last usable content stays in use.
    pub(super) fn read_files(&mut self) -> bool {
        let CertificateSource::Files { files, content } = &mut self.source else { return false };
        match files.read() {
            Ok(read) => {
                self.file_error = None;
                let is_changed = *content != read;
                *content = read;
                is_changed
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
                false
            }
        }
    }

    /// Shows whether the API server trusts the certificate. The first time makes the process ready.
    pub(super) fn report(&mut self, is_trusted: bool) {
        self.metrics.trusted(is_trusted);
        self.release([self.serving.current().is_some(), is_trusted]);
    }

    /// Makes the process ready, although the server does not know whether the API server trusts the certificate. The API server may still
    /// reach this process, and a process that is never ready gets no review.
    pub(super) fn report_unknown(&mut self) {
        if self.latches[1].is_some() && self.serving.current().is_some() {
            tracing::warn!("Cannot read the webhook configuration within 5 s; reporting ready without it");
            self.release([true; 2]);
        }
    }

    fn release(&mut self, conditions: [bool; 2]) {
        for (latch, condition) in self.latches.iter_mut().zip(conditions) {
            if condition && let Some(latch) = latch.take() {
                latch.release();
            }
        }
    }
}
