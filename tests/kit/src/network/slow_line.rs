//! A line with a delay and losses between a pod and a machine outside of it.
#![allow(clippy::unwrap_used, reason = "only tests use this module, and they fail by panicking")]

use std::{
    process::{Child, Command},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    network::{NetworkNamespace, PodNetwork, compile, start_until_ready},
    tempfile::{TempDir, tempdir},
};

/// The line. It exists as long as this value.
#[derive(Debug)]
pub struct SlowLine {
    program: Child,
    _folder: TempDir,
}

const PROGRAM: &str = include_str!("slow_line.c");

/// The address of the pod at the line.
pub const POD_AT_LINE: &str = "10.78.0.1";
/// The address of the machine outside of the pod at the line.
const OUTSIDE_AT_LINE: &str = "10.78.0.2";

// === impl SlowLine ===

impl SlowLine {
    /// Creates the line. Each packet is delayed by `delay`, so a round trip takes twice this time. Each `loss`-th packet of a direction
    /// is lost; none if `loss` is 0.
    ///
    /// # Panics
    /// If there is no C compiler or no `/dev/net/tun`.
    pub fn create(network: &PodNetwork, delay: Duration, loss: u32) -> Self {
        let folder = tempdir().unwrap();
        let ends = [&network.pod, &network.outside].map(|end| end.process().to_string());
        let mut command = Command::new(compile(folder.path(), "slow_line", PROGRAM));
        command.args(ends).arg(delay.as_millis().to_string()).arg(loss.to_string());
        let program = start_until_ready(&mut command);
        configure(&network.pod, POD_AT_LINE);
        configure(&network.outside, OUTSIDE_AT_LINE);
        Self { program, _folder: folder }
    }

    /// Cuts the line. Both ends still have their devices, and no packet arrives.
    ///
    /// # Panics
    /// When the program of the line has ended.
    pub fn cut(&self) {
        kill_process(Pid::from_child(&self.program), Signal::STOP).unwrap();
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn configure(end: &NetworkNamespace, address: &str) {
    end.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "line0"]);
    end.run(&["ip", "link", "set", "line0", "up"]);
}
