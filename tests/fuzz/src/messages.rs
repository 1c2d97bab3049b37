//! The server with mutated termination messages of sidecars. A tenant can write any message. No message may move a total by more than
//! the pod can have used.

use vdi_metrics::sessions::usage::{MissingReason, RunLimits, SessionUsage, Usage, of_run};

use crate::{
    mutate::{self, Change},
    target::{CheckResult, Target},
};

/// Termination messages.
#[derive(Debug)]
pub(crate) struct Messages;

/// A run of eight hours in a pod with two devices.
const LIMITS: RunLimits = RunLimits { seconds: 28_800, devices: 2 };

/// Two devices, each for two seconds more than the run, because times are rounded.
const MAX_DEVICE_SECONDS: u64 = 2 * (28_800 + 2);

const SEEDS: [&str; 3] = [
    r#"{"v":2,"session":1,"start":2,"end":3,"ended":true,"by":["claim","exact"],"presence":{"connected":8,"first":4,"last":5,"transmitted":600,"received":70},"gpus":[{"gpu":"GPU-1","scope":"session","allocated":28800,"busy":14400.5,"unsampled":30,"idle":[900,100],"joules":7200000,"peak":8589934592}]}"#,
    r#"{"v":2,"session":1,"start":2,"end":3,"ended":false,"by":["node_agent","exact"],"gpus":[{"gpu":"GPU-1","scope":"device","allocated":9,"busy":0.1},{"gpu":"GPU-2","scope":"session","allocated":9,"peak":1}]}"#,
    r#"{"v":1,"session":1,"start":2,"end":3,"ended":true,"by":["none","library_missing"],"gpus":[],"more":1}"#,
];

// === impl Messages ===

impl Target for Messages {
    const NAME: &str = "messages";
    const RESULTS: [&str; 2] = ["counted", "impossible"];
    const CHANGE: Change = mutate::typed_json;

    fn seeds(&self) -> Vec<Vec<u8>> {
        SEEDS.map(|seed| seed.as_bytes().to_vec()).into()
    }

    fn check(&self, input: &[u8]) -> CheckResult {
        let text = String::from_utf8_lossy(input);
        check_session(&text);
        match of_run(Some(&text), LIMITS) {
            Ok(usage) => {
                assert!(text.len() <= 4096);
                check_bounds(&usage);
                CheckResult::First
            }
            Err(MissingReason::Impossible | MissingReason::Version) => CheckResult::Second,
            Err(_) => CheckResult::Rejected,
        }
    }

    fn check_further(&self, _input: &[u8], _number: usize, _is_new: bool) {}
}

fn check_bounds(usage: &Usage) {
    let seconds = [usage.allocated, usage.unsampled, usage.busy_tenths / 10, usage.idle[0] + usage.idle[1]];
    // Each part of a device can be two seconds more than the allocated time, which can be two seconds more than the run.
    assert!(seconds.iter().all(|it| *it <= MAX_DEVICE_SECONDS + 4), "{usage:?}");
    assert!(usage.connected <= 28_802, "{usage:?}");
    assert!(usage.joules <= 2000 * (MAX_DEVICE_SECONDS + 4), "{usage:?}");
    assert!(usage.peak.is_none_or(|peak| peak <= 2 << 40), "{usage:?}");
    assert!(usage.transmitted.max(usage.received) <= 28_802 * 100_000_000_000, "{usage:?}");
}

/// A session with the message twice, and a run without a message.
fn check_session(text: &str) {
    let mut session = SessionUsage::default();
    for message in [Some(text), None, Some(text)] {
        session.add(message, LIMITS, 1);
    }
    let usage = session.at_end(RunLimits { seconds: 3 * 28_800, devices: 2 }, 1);
    assert!(usage.allocated <= 2 * (3 * 28_800 + 2), "{usage:?}");
    assert!(usage.allocated >= 3 * 28_800, "time without a message is missing: {usage:?}");
}
