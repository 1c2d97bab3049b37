//! `vdi-metrics serve`: the arguments of the server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

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

// === impl ServerOptions ===

impl From<Args> for ServerOptions {
    fn from(args: Args) -> Self {
        let Args { listen, metrics_listen, health_listen, tls_cert, tls_key, config, lame_duck } = args;
        let lame_duck = Duration::from_secs(lame_duck);
        Self { listen, metrics_listen, health_listen, tls_cert, tls_key, config, lame_duck }
    }
}
