//! `vdi-metrics serve`: the arguments of the server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::error::ErrorKind;

use crate::{
    registration::{CertificateFiles, Lifetimes, Managed},
    server::{CertificateOptions, ServerOptions},
};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the webhook /mutate, with TLS
    #[arg(long, value_name = "ADDR", default_value = "[::]:10250")]
    listen: SocketAddr,
    /// Address of /metrics, with TLS
    #[arg(long, value_name = "ADDR", default_value = "[::]:8443")]
    metrics_listen: SocketAddr,
    /// Who may read /metrics. token: clients with the bearer token of a user that may `get` the URL /metrics in the cluster. none:
    /// every client
    #[arg(long, value_name = "MODE", default_value = "token")]
    metrics_authentication: MetricsAuthentication,
    /// Audience of the tokens for /metrics; can be repeated. Default: the audiences of the API server
    #[arg(long, value_name = "AUDIENCE", value_parser = audience)]
    metrics_audience: Vec<String>,
    /// Whether /metrics has vdi_session_gpu_allocation_info: a series for each session and GPU, with the pod's name
    #[arg(long, value_name = "ON/OFF", default_value = "on")]
    gpu_allocation_info: Switch,
    /// Address of /healthz and /readyz for the kubelet, without TLS
    #[arg(long, value_name = "ADDR", default_value = "[::]:8081")]
    health_listen: SocketAddr,
    /// Certificate chain: PEM file, leaf certificate first. The server reloads the file after a change. Default: the server keeps its own CA and
    /// certificate in the Secret vdi-metrics-tls
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate: PEM file. Default: the file of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// CA of the certificate: PEM file. The server writes it into the webhook configuration. Without it, another program must do so
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Additional DNS name or IP address in the server's own certificate; can be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert", value_parser = certificate_name)]
    certificate_name: Vec<String>,
    /// How long the server's own certificates are valid, for example 90d, 12h or 60s. The server renews them when less than a third of this time is left
    #[arg(long, value_name = "TIME", default_value = "90d", conflicts_with = "tls_cert", value_parser = lifetime)]
    certificate_lifetime: i64,
    /// How long the server's own CA is valid, at least three times as long as its certificates. The server renews it when less than a third of this time is left
    #[arg(long, value_name = "TIME", default_value = "730d", conflicts_with = "tls_cert", value_parser = lifetime)]
    ca_lifetime: i64,
    /// CAs of the webhook's clients: PEM file. The webhook then accepts only clients with a certificate of one of these CAs. Default: every
    /// client
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Configuration file (YAML). Default: built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds to continue serving after SIGTERM, until the API server no longer uses this endpoint
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    lame_duck: u64,
}

/// Who may read the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum MetricsAuthentication {
    Token,
    None,
}

/// Whether a part of the metrics is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

fn audience(text: &str) -> Result<String, String> {
    let is_valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    is_valid
        .then(|| text.to_owned())
        .ok_or_else(|| "write one or more ASCII characters without spaces".into())
}

/// A DNS name or an IP address.
fn certificate_name(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('.');
    let is_name = rustls::pki_types::ServerName::try_from(text).is_ok();
    is_name.then(|| text.to_owned()).ok_or_else(|| "write a DNS name or an IP address".into())
}

/// Seconds: a number with the unit d, h, m or s.
fn lifetime(text: &str) -> Result<i64, String> {
    let seconds = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit =
            [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)].into_iter().find(|(name, _)| *name == unit)?;
        number.parse::<i64>().ok()?.checked_mul(unit.1)
    };
    let seconds = seconds().filter(|seconds| (30..=100 * 365 * 86_400).contains(seconds));
    seconds.ok_or_else(|| {
        "write a number with the unit d, h, m or s, from 30s to 36500d; for example 90d".into()
    })
}

// === impl Args ===

impl Args {
    /// The options of the server.
    ///
    /// # Errors
    /// Fails if two arguments contradict each other.
    pub fn options(self) -> Result<ServerOptions, clap::Error> {
        Ok(ServerOptions {
            metrics_audiences: self.metrics_audiences()?,
            certificate: self.certificate()?,
            listen: self.listen,
            gpu_allocation_info: self.gpu_allocation_info == Switch::On,
            metrics_listen: self.metrics_listen,
            health_listen: self.health_listen,
            client_ca: self.client_ca,
            config: self.config,
            lame_duck: Duration::from_secs(self.lame_duck),
        })
    }

    fn certificate(&self) -> Result<CertificateOptions, clap::Error> {
        if let Some(certificate) = self.tls_cert.clone() {
            let (key, authority) = (self.tls_key.clone(), self.tls_ca.clone());
            return Ok(CertificateOptions::Files(CertificateFiles { certificate, key, authority }));
        }
        if self.ca_lifetime / 3 < self.certificate_lifetime {
            let message = "--ca-lifetime must be at least three times --certificate-lifetime, because a CA is renewed in the last third of its lifetime\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, message));
        }
        let lifetimes = Lifetimes { authority: self.ca_lifetime, certificate: self.certificate_lifetime };
        Ok(CertificateOptions::Managed(Managed { names: self.certificate_name.clone(), lifetimes }))
    }

    fn metrics_audiences(&self) -> Result<Option<Vec<String>>, clap::Error> {
        match self.metrics_authentication {
            MetricsAuthentication::Token => Ok(Some(self.metrics_audience.clone())),
            MetricsAuthentication::None if self.metrics_audience.is_empty() => Ok(None),
            MetricsAuthentication::None => {
                let message = "--metrics-audience has no effect with --metrics-authentication none; remove one of them\n";
                Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
            }
        }
    }
}
