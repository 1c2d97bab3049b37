//! The flags of the node agent.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;

use super::selection::DeviceSelection;
use crate::{
    contract::{ALLOWED_INTERVAL_SECONDS, INTERVAL_SECONDS},
    runtime::log::Level,
};

/// Minimum interval in seconds if the library is named by its path.
const MIN_INTERVAL_OF_NAMED_LIBRARY: f64 = 0.01;

/// Reads the GPUs of a node once for all sessions on it, and writes the values of each session into a file in the volume of its pod
#[derive(Clone, Debug, Parser)]
#[command(name = "vdi-metrics-node", version = crate::runtime::VERSION)]
pub struct NodeOptions {
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDR", default_value = "[::]:9479", env = "VDI_METRICS_NODE_LISTEN")]
    pub listen: SocketAddr,
    /// Seconds between two polls, 5 to 300
    #[arg(long, value_name = "SECONDS", default_value_t = INTERVAL_SECONDS as f64, env = "VDI_METRICS_NODE_INTERVAL")]
    interval: f64,
    /// Folder of the kubelet. It contains pods/ and pod-resources/
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/kubelet",
        env = "VDI_METRICS_NODE_KUBELET_ROOT"
    )]
    pub kubelet_root: PathBuf,
    /// Folder in which the kubelet keeps the logs of pods. The names of its subfolders contain the names of the pods
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods", env = "VDI_METRICS_NODE_POD_LOGS")]
    pub pod_logs: PathBuf,
    /// Folder with the processes of the node: /proc in the node's PID namespace
    #[arg(long, value_name = "DIR", default_value = "/proc", env = "VDI_METRICS_NODE_PROC")]
    pub proc: PathBuf,
    /// Devices to read, separated by commas: UUIDs or indices. A card includes its MIG slices. Sessions on other devices get no
    /// report. Default: all devices
    #[arg(long, value_name = "IDS", value_delimiter = ',', env = "VDI_METRICS_NODE_DEVICES")]
    devices: Vec<String>,
    /// Path of the NVML library. Default: search the usual locations
    #[arg(long, value_name = "FILE", env = "VDI_METRICS_NODE_NVML_LIBRARY")]
    pub nvml_library: Option<PathBuf>,
    /// Events of this level and above are logged: error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "VDI_METRICS_NODE_LOG")]
    pub log: Level,
}

// === impl NodeOptions ===

impl NodeOptions {
    /// Time between two polls.
    ///
    /// # Errors
    /// Fails if the value is not allowed. A library that is named by its path allows shorter intervals: it is the fake driver of a
    /// test.
    pub fn interval(&self) -> Result<Duration, String> {
        let (min, max) = (*ALLOWED_INTERVAL_SECONDS.start() as f64, *ALLOWED_INTERVAL_SECONDS.end() as f64);
        let min = if self.nvml_library.is_some() { MIN_INTERVAL_OF_NAMED_LIBRARY } else { min };
        let allowed = (min..=max).contains(&self.interval);
        let interval = allowed.then(|| Duration::from_secs_f64(self.interval));
        interval
            .ok_or_else(|| format!("--interval is {}; use a number of seconds from 5 to 300", self.interval))
    }

    /// The devices to read.
    ///
    /// # Errors
    /// Fails if an ID has no known form.
    pub(super) fn devices(&self) -> Result<DeviceSelection, String> {
        DeviceSelection::parse(&self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_is_not_allowed_is_an_error() {
        let interval = |arguments: &[&str]| {
            let arguments = ["vdi-metrics-node"].iter().chain(arguments);
            NodeOptions::try_parse_from(arguments).unwrap().interval()
        };
        assert_eq!(interval(&[]), Ok(Duration::from_secs(15)));
        for text in ["4", "301", "0", "NaN", "inf"] {
            let error = interval(&["--interval", text]).unwrap_err();
            assert!(error.ends_with("use a number of seconds from 5 to 300"), "{error}");
        }
        assert!(interval(&["--interval", "0.05", "--nvml-library", "/fake.so"]).is_ok());
    }
}
