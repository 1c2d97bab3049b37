//! Writes the termination message: the totals of this run, which reach the pod's status without network or credentials.
//!
//! The message is written at every poll, because a kill leaves no time for it, and once more at the end. It is one line of
//! JSON, so a truncated message is not valid. It is padded to the length of the previous one, so that one write replaces
//! the previous message completely.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    time::SystemTime,
};

use super::snapshot::Snapshot;
use crate::{
    contract::termination::{DeviceTotal, TerminationMessage, VERSION},
    runtime::clock,
    sampling::{counters::Account, scope::Scope},
};

/// The kubelet's file for the termination message.
#[derive(Debug)]
pub(super) struct TerminationLog {
    file: Option<File>,
    /// Maximum length of a message in bytes.
    limit: usize,
    /// Length of the longest message written so far.
    written: usize,
}

/// Default of `terminationMessagePath`, which the webhook does not change.
pub(super) const TERMINATION_LOG: &str = "dev/termination-log";

/// Maximum bytes of all termination messages of a pod; the kubelet truncates each container's to an equal part
/// (`pkg/kubelet/kuberuntime`).
const MAX_POD_BYTES: usize = 12_288;

/// Containers that other webhooks and `kubectl debug` may add after admission has counted.
const MORE_CONTAINERS: usize = 4;

/// Maximum length of the message. No session needs more.
const MAX_BYTES: usize = 1024;

// === impl TerminationLog ===

impl TerminationLog {
    /// Opens the file at `path` in a pod with this number of containers. The kubelet creates the file; outside a pod there
    /// is none, and no message is written.
    pub(super) fn open(path: &Path, containers: usize) -> Self {
        Self { file: OpenOptions::new().write(true).open(path).ok(), limit: limit(containers), written: 0 }
    }

    /// Writes the totals at `end`. After a failure, which is logged, nothing more is written.
    pub(super) fn write(&mut self, snapshot: &Snapshot, end: SystemTime) {
        let mut text = message(snapshot, end, self.limit);
        let length = text.len().max(self.written);
        text.resize(length, b' ');
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(&text, 0)) {
            tracing::warn!(%error, "Cannot write the termination message");
            self.file = None;
        }
        self.written = length;
    }
}

fn limit(containers: usize) -> usize {
    (MAX_POD_BYTES / containers.saturating_add(MORE_CONTAINERS)).min(MAX_BYTES)
}

/// The message with as many devices as fit.
fn message(snapshot: &Snapshot, end: SystemTime, limit: usize) -> Vec<u8> {
    let mut gpus: Vec<DeviceTotal<'_>> = snapshot.accounts.iter().filter_map(total).collect();
    // If not all devices fit, the devices with the least allocated time are left out.
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
        gpus,
        more: 0,
    };
    loop {
        // Serializing plain data cannot fail.
        let text = serde_json::to_vec(&message).unwrap_or_default();
        if text.len() <= limit || message.gpus.pop().is_none() {
            return text;
        }
        message.more += 1;
    }
}

/// Totals with the narrowest scope that was measured last; none for a device that was never allocated to the session.
fn total(account: &Account) -> Option<DeviceTotal<'_>> {
    let scope = account.scope.unwrap_or(Scope::Session);
    Some(DeviceTotal {
        gpu: account.gpu.as_str().into(),
        scope: scope.as_str().into(),
        allocated: account.allocated?.round() as u64,
        busy: account.busy.get(scope).map(|seconds| (seconds * 10.0).round() / 10.0),
        joules: account.attributed.map(|joules| joules.round() as u64),
        peak: account.peak.get(scope),
    })
}

fn unix_seconds(time: SystemTime) -> u64 {
    clock::unix_time(time).as_secs()
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::sidecar::{attribution::UnavailableReason, config::SessionNames};

    fn snapshot(gpus: usize) -> Snapshot {
        let account = |number| {
            let mut account = Account::default();
            account.gpu = format!("GPU-{number:08}-0c3a-4f6e-9b7d-21a4c8e6f035");
            account.allocated = Some(28_800.4 + number as f64);
            account.attributed = Some(1_234_567.8);
            account
        };
        Snapshot {
            accounts: (0..gpus).map(account).collect(),
            ..Snapshot::before_the_first_poll(SessionNames::default(), at(0), at(0))
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_message_fits_into_the_containers_part_and_counts_left_out_devices() {
        for (containers, gpus) in [(1, 1), (2, 8), (20, 8), (100, 16), (8, 16)] {
            let text = message(&snapshot(gpus), at(9), limit(containers));
            assert!(text.len() <= limit(containers), "{containers}: {}", text.len());
            assert!(limit(containers) <= 1024 && limit(containers) * (containers + 4) <= 12_288);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let counted =
                value["gpus"].as_array().unwrap().len() + value["more"].as_u64().unwrap_or(0) as usize;
            assert_eq!((counted, &value["v"], &value["end"]), (gpus, &1.into(), &9.into()));
        }
    }

    #[test]
    fn a_truncated_message_is_not_valid_json() {
        let text = message(&snapshot(1), at(9), 1024);
        for length in 0..text.len() {
            assert!(serde_json::from_slice::<serde_json::Value>(&text[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_shorter_message_replaces_a_longer_one_completely() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        TerminationLog::open(&path, 2).write(&snapshot(1), at(1));
        assert!(!path.exists(), "the kubelet creates the file, the sidecar never does");
        fs::write(&path, "").unwrap();
        let mut log = TerminationLog::open(&path, 2);
        log.write(&snapshot(3), at(1));
        log.write(&Snapshot { ended: true, ..snapshot(0) }, at(2));
        let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            (&value["end"], &value["ended"], value["gpus"].as_array().unwrap().len()),
            (&2.into(), &true.into(), 0)
        );
        assert_eq!(value["by"], serde_json::json!(["none", UnavailableReason::Starting.as_str()]));
    }
}
