//! The last word: the totals of this run as the container's termination message, which reaches the pod's status without
//! network or credentials.
//!
//! It is written as the session goes, because a kill leaves no time for it, and once more at its end. A message is one
//! line of JSON that a cut cannot leave valid, padded to the length of the one before, so that one write replaces it whole.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    time::SystemTime,
};

use serde::Serialize;

use super::snapshot::Snapshot;
use crate::sampling::{counters::Account, scope::Scope};

/// The kubelet's file for it, and how much was written there last.
#[derive(Debug)]
pub(super) struct TerminationMessage {
    file: Option<File>,
    limit: usize,
    written: usize,
}

/// Where the kubelet looks unless the pod says otherwise, which ours does not.
pub(super) const TERMINATION_LOG: &str = "dev/termination-log";

/// What all containers of a pod may say together; each is cut to its part (`pkg/kubelet/kuberuntime`).
const OF_A_POD: usize = 12_288;

/// Containers that other webhooks, and people who debug, may add after admission has counted.
const MORE_CONTAINERS: usize = 4;

/// More than this nobody needs.
const LONGEST: usize = 1024;

/// Version of the message. A reader that knows it may rely on every field of [`Message`]; new ones may come.
const VERSION: u8 = 1;

/// The message. Times are Unix seconds; what begins it matters most.
#[derive(Debug, Serialize)]
struct Message<'a> {
    v: u8,
    /// When the session started, the same in each run of the sidecar.
    session: u64,
    /// When this run of the sidecar started: what it reports is from here on.
    start: u64,
    end: u64,
    /// Whether the run was asked to end; a killed one's message is a little older than its end.
    ended: bool,
    /// StrategyFn and confidence, or why no device is known.
    by: [&'a str; 2],
    gpus: Vec<Total<'a>>,
    /// Devices that there was no room for.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

/// What one device did for the session in this run.
#[derive(Debug, Serialize)]
struct Total<'a> {
    gpu: &'a str,
    /// What `busy` and `peak` stand for.
    scope: &'static str,
    /// Seconds held.
    allocated: u64,
    /// Seconds worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<f64>,
    /// The session's own joules.
    #[serde(skip_serializing_if = "Option::is_none")]
    joules: Option<u64>,
    /// Most bytes of the frame buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak: Option<u64>,
}

// === impl TerminationMessage ===

impl TerminationMessage {
    /// The file at `path`, in a pod with so many containers. The kubelet makes it; outside a pod there is none, and no last
    /// word.
    pub(super) fn open(path: &Path, containers: usize) -> Self {
        Self { file: OpenOptions::new().write(true).open(path).ok(), limit: limit(containers), written: 0 }
    }

    /// Writes what is known at `end`. Where that fails it is said and not tried again.
    pub(super) fn write(&mut self, snapshot: &Snapshot, end: SystemTime) {
        let mut text = message(snapshot, end, self.limit);
        let length = text.len().max(self.written);
        text.resize(length, b' ');
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(&text, 0)) {
            tracing::warn!(%error, "Cannot write the last word");
            self.file = None;
        }
        self.written = length;
    }
}

fn limit(containers: usize) -> usize {
    (OF_A_POD / containers.saturating_add(MORE_CONTAINERS)).min(LONGEST)
}

/// The message with as many devices as fit.
fn message(snapshot: &Snapshot, end: SystemTime, limit: usize) -> Vec<u8> {
    let mut totals: Vec<Total<'_>> = snapshot.accounts.iter().filter_map(Total::of).collect();
    // Devices that were held longest first: the last ones are left out first.
    totals.sort_by_key(|total| std::cmp::Reverse(total.allocated));
    let by = match &snapshot.attribution {
        Ok(known) => [known.strategy.as_str(), known.confidence.as_str()],
        Err(reason) => ["none", reason.as_str()],
    };
    let mut message = Message {
        v: VERSION,
        session: unix(snapshot.started),
        start: unix(snapshot.run_started),
        end: unix(end),
        ended: snapshot.ended,
        by,
        gpus: totals,
        more: 0,
    };
    loop {
        // Plain data is always written.
        let text = serde_json::to_vec(&message).unwrap_or_default();
        if text.len() <= limit || message.gpus.pop().is_none() {
            return text;
        }
        message.more += 1;
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls it with")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

// === impl Total ===

impl<'a> Total<'a> {
    /// By the narrowest scope that was measured last; none of a device that was not the session's.
    fn of(account: &'a Account) -> Option<Self> {
        let scope = account.scope.unwrap_or(Scope::Session);
        Some(Self {
            gpu: &account.gpu,
            scope: scope.as_str(),
            allocated: account.allocated?.round() as u64,
            busy: account.busy.get(scope).map(|seconds| (seconds * 10.0).round() / 10.0),
            joules: account.attributed.map(|joules| joules.round() as u64),
            peak: account.peak.get(scope),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::sidecar::{attribution::UnavailableReason, poller::before_the_first_read};

    fn snapshot(gpus: usize) -> Snapshot {
        let account = |number| {
            let mut account = Account::default();
            account.gpu = format!("GPU-{number:08}-0c3a-4f6e-9b7d-21a4c8e6f035");
            account.allocated = Some(28_800.4 + number as f64);
            account.attributed = Some(1_234_567.8);
            account
        };
        Snapshot { accounts: (0..gpus).map(account).collect(), ..before_the_first_read() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn it_fits_into_the_part_of_a_container_and_says_what_did_not() {
        for (containers, gpus) in [(1, 1), (2, 8), (20, 8), (100, 16), (8, 16)] {
            let text = message(&snapshot(gpus), at(9), limit(containers));
            assert!(text.len() <= limit(containers), "{containers}: {}", text.len());
            assert!(limit(containers) <= 1024 && limit(containers) * (containers + 4) <= 12_288);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let told = value["gpus"].as_array().unwrap().len() + value["more"].as_u64().unwrap_or(0) as usize;
            assert_eq!((told, &value["v"], &value["end"]), (gpus, &1.into(), &9.into()));
        }
    }

    #[test]
    fn a_cut_message_is_no_message() {
        let text = message(&snapshot(1), at(9), 1024);
        for cut in 0..text.len() {
            assert!(serde_json::from_slice::<serde_json::Value>(&text[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_shorter_message_replaces_a_longer_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        TerminationMessage::open(&path, 2).write(&snapshot(1), at(1));
        assert!(!path.exists(), "a file that the kubelet has not made is not ours to make");
        fs::write(&path, "").unwrap();
        let mut word = TerminationMessage::open(&path, 2);
        word.write(&snapshot(3), at(1));
        word.write(&Snapshot { ended: true, ..snapshot(0) }, at(2));
        let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            (&value["end"], &value["ended"], value["gpus"].as_array().unwrap().len()),
            (&2.into(), &true.into(), 0)
        );
        assert_eq!(value["by"], serde_json::json!(["none", UnavailableReason::Starting.as_str()]));
    }
}
