//! A program that is measured while it runs.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::{Context, Result};
use kit::{exposition::Exposition, http, process::Process};
use vdi_metrics::contract::METRICS_PATH;

/// A running program that serves metrics.
#[derive(Debug)]
pub(crate) struct Program {
    process: Process,
    address: SocketAddr,
}

// === impl Program ===

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let process = Process::spawn(command);
        Self { address: process.address(), process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn scrape(&self) -> Result<Exposition> {
        Exposition::parse(&http::get(self.address, METRICS_PATH)?.body).map_err(anyhow::Error::msg)
    }

    /// The value of a metric without labels.
    pub(crate) fn value(&self, metric: &str) -> Result<f64> {
        self.scrape()?.value(metric, &[]).with_context(|| format!("no {metric}"))
    }

    /// CPU time of all threads, as the scheduler counts it.
    pub(crate) fn cpu_us(&self) -> Result<f64> {
        self.process.cpu_us().context("the program has ended")
    }

    /// A size in MiB from a line of the process' status.
    pub(crate) fn memory(&self, line: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let value =
            status.lines().find_map(|text| text.strip_prefix(line)).context("no such line in the status")?;
        Ok(value.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}
