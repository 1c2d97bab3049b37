//! `vdi-metrics serve`: the arguments of the server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::error::ErrorKind;

use crate::server::ServerOptions;

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
    /// Certificate chain: PEM file, leaf certificate first
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Private key of the certificate: PEM file
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
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

// === impl Args ===

impl Args {
    /// The options of the server.
    ///
    /// # Errors
    /// Fails if two arguments contradict each other.
    pub fn options(self) -> Result<ServerOptions, clap::Error> {
        Ok(ServerOptions {
            metrics_audiences: self.metrics_audiences()?,
            listen: self.listen,
            gpu_allocation_info: self.gpu_allocation_info == Switch::On,
            metrics_listen: self.metrics_listen,
            health_listen: self.health_listen,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            config: self.config,
            lame_duck: Duration::from_secs(self.lame_duck),
        })
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
