//! Writes the termination message: the totals of this run. The kubelet copies the message into the pod's status, so the sidecar
//! needs no network and no credentials for it.
//!
//! The message is written after every poll, because a killed process cannot write it any more. It is written once more at the
//! end. The message is one line of JSON, so a truncated message is not valid. A shorter message is padded to the length of the
//! previous message, so that one write replaces the previous message completely.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::SystemTime,
};

use super::snapshot::Snapshot;
use crate::{
    contract::termination::{DeviceTotal, PresenceTotals, TerminationMessage, VERSION},
    presence::PresenceSnapshot,
    runtime::clock,
    sampling::{
        counters::{Account, IdleReason},
        scope::Scope,
    },
};

/// The file for the termination message, which the kubelet creates and reads.
#[derive(Debug)]
pub(super) struct TerminationLog {
    path: PathBuf,
    /// The open file. None until the file can be opened, and after a failed write.
    file: Option<File>,
    /// Kind of the last write's failure; none after a success.
    failure: Option<io::ErrorKind>,
    /// Maximum length of a message in bytes.
    limit: usize,
    /// Length of the longest message, in bytes. A failed write may have written a part of it.
    written: usize,
}

/// Default of `terminationMessagePath`, without the leading `/`. The webhook does not change it.
pub(super) const TERMINATION_LOG: &str = "dev/termination-log";

/// Maximum bytes of all termination messages of a pod. Each container may use an equal part; the kubelet truncates longer
/// messages (`pkg/kubelet/kuberuntime`).
const MAX_POD_BYTES: usize = 12_288;

/// Number of containers that other webhooks and `kubectl debug` may add after the webhook has counted the containers.
const EXTRA_CONTAINERS: usize = 4;

/// Maximum length of the message in bytes. No session needs more.
const MAX_BYTES: usize = 1024;

// === impl TerminationLog ===

impl TerminationLog {
    /// The file at `path` in a pod with this number of containers. The first write opens it.
    pub(super) fn new(path: PathBuf, containers: usize) -> Self {
        Self { path, file: None, failure: None, limit: limit(containers), written: 0 }
    }

    /// Writes the message with the totals of the snapshots. `end` is the time at which the totals end. After a failure the next
    /// call tries again, because a full disk may have space again.
    pub(super) fn write(&mut self, snapshot: &Snapshot, presence: &PresenceSnapshot, end: SystemTime) {
        let mut text = message(snapshot, presence, end, self.limit);
        self.written = self.written.max(text.len());
        text.resize(self.written, b' ');
        let result = self.replace(&text);
        self.log_change(result);
    }

    /// Replaces the message in the file. The file stays open, so that later writes need no file descriptor.
    fn replace(&mut self, text: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&self.path)?,
        };
        file.write_all_at(text, 0)?;
        self.file = Some(file);
        Ok(())
    }

    /// Logs the first failure of a kind, and the first success after a failure. It is not a failure if the file does not exist:
    /// outside a pod there is no such file.
    fn log_change(&mut self, result: io::Result<()>) {
        let failure =
            result.as_ref().err().map(io::Error::kind).filter(|kind| *kind != io::ErrorKind::NotFound);
        if failure != self.failure {
            let path = self.path.display();
            match result {
                Err(error) if failure.is_some() => {
                    tracing::warn!(%path, %error, "Cannot write the termination message; every poll tries again");
                }
                _ => tracing::info!(%path, "The termination message can be written again"),
            }
        }
        self.failure = failure;
    }
}

/// Maximum length of the message in bytes, in a pod with this number of containers.
fn limit(containers: usize) -> usize {
    (MAX_POD_BYTES / containers.saturating_add(EXTRA_CONTAINERS)).min(MAX_BYTES)
}

/// The message as JSON of at most `limit` bytes, with everything that fits.
fn message(snapshot: &Snapshot, presence: &PresenceSnapshot, end: SystemTime, limit: usize) -> Vec<u8> {
    let mut gpus: Vec<DeviceTotal<'_>> = snapshot.accounts.iter().filter_map(total).collect();
    // The devices with the least allocated time come last, because the last ones are left out if not all fit.
    gpus.sort_by_key(|total| std::cmp::Reverse(total.allocated));
    let by = match &snapshot.attribution {
        Ok(attribution) => [attribution.strategy.as_str(), attribution.confidence.as_str()],
        Err(reason) => ["none", reason.as_str()],
    };
    let mut message = TerminationMessage {
        v: VERSION,
        session: unix_seconds(snapshot.started),
        start: unix_seconds(snapshot.run_started),
        end: unix_seconds(end),
        ended: snapshot.ended,
        by: by.map(Into::into),
        presence: presence_totals(presence),
        gpus,
        more: 0,
    };
    loop {
        // Plain data can always be serialized.
        let text = serde_json::to_vec(&message).unwrap_or_default();
        if text.len() <= limit || !leave_out(&mut message) {
            return text;
        }
    }
}

/// Leaves the least important part out; false if the message has no such part. The order is: the devices except the first one, the
/// bytes of the connections, the first device, the times of the connections. The times need less than half of the space of a device.
fn leave_out(message: &mut TerminationMessage<'_>) -> bool {
    let bytes = message.presence.as_mut().filter(|totals| totals.transmitted.or(totals.received).is_some());
    if let Some(totals) = bytes.filter(|_| message.gpus.len() <= 1) {
        (totals.transmitted, totals.received) = (None, None);
    } else if message.gpus.pop().is_some() {
        message.more += 1;
    } else {
        return message.presence.take().is_some();
    }
    true
}

/// Totals of the connections; none if they were never known.
fn presence_totals(presence: &PresenceSnapshot) -> Option<PresenceTotals> {
    Some(PresenceTotals {
        connected: presence.connected?.as_secs_f64().round() as u64,
        first: presence.first_connected.map(unix_seconds),
        last: presence.last_connected.map(unix_seconds),
        transmitted: presence.bytes.map(|bytes| bytes.transmitted),
        received: presence.bytes.map(|bytes| bytes.received),
    })
}

/// Totals of a device, in the scope of the last reading. None if the device was never allocated to the session.
fn total(account: &Account) -> Option<DeviceTotal<'_>> {
    let scope = account.scope.unwrap_or(Scope::Session);
    Some(DeviceTotal {
        gpu: account.gpu.as_str().into(),
        scope: scope.as_str().into(),
        allocated: account.allocated?.round() as u64,
        busy: account.busy.get(scope).map(|seconds| (seconds * 10.0).round() / 10.0),
        unsampled: account.unsampled.round() as u64,
        idle: account.idle.map(|idle| {
            [IdleReason::NobodyConnected, IdleReason::ConnectedUnused]
                .map(|reason| idle.get(reason).round() as u64)
        }),
        joules: account.attributed.map(|joules| joules.round() as u64),
        peak: account.peak.get(scope),
    })
}

fn unix_seconds(time: SystemTime) -> u64 {
    clock::unix_time(time).as_secs()
}

#[cfg(test)]
mod tests;
