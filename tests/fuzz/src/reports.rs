//! The sidecar with mutated reports of a node agent. A report that the sidecar accepts must satisfy the bounds of its format, must be
//! readable after it is written again, and must give a valid exposition in which no counter falls.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use kit::exposition::Exposition;
use prometheus::{Encoder, TextEncoder};
use serde_json::Value;
use vdi_metrics::{
    gpu::Reading,
    runtime::catalogue,
    sampling::{
        counters::Account,
        report::{DeviceReport, SessionReport},
        scope::{ByScope, Scope},
    },
    sidecar::{
        catalogue::CATALOGUE,
        replay::ReportReplay,
        snapshot::{Gpu, Snapshot},
    },
};

use crate::{
    mutate::{self, Change},
    target::{CheckResult, Target},
};

/// Reports that an agent has written with the fake driver.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Time of the first poll.
    began: Instant,
}

/// Time of the reports, and of the sidecar that reads them, in microseconds since the start of the node.
const NOW_US: u64 = 100_000_000_000;

/// Interval of the sidecar.
const INTERVAL: Duration = Duration::from_secs(15);

/// A report that reaches no new code is rarely encoded: one in this number.
const ENCODE_INTERVAL: usize = 8;

/// Maximum number of devices and of accounts of a session.
const MAX_GPUS: usize = 64;
const MAX_ACCOUNTS: usize = 128;

/// Tolerance of sums of seconds.
const ROUNDING: f64 = 1e-6;

const SCOPES: [Scope; 3] = [Scope::Session, Scope::Device, Scope::Node];

// === impl Reports ===

impl Reports {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// The snapshots of a sidecar that reads this report, then the agent's next report, then the first one again, and then no
    /// device.
    fn replay(&self, report: &SessionReport) -> Vec<Snapshot> {
        let empty = SessionReport { devices: vec![], ..report.clone() };
        let mut replay = ReportReplay::new(INTERVAL);
        let mut at = self.began;
        let mut poll = |report| {
            at += INTERVAL;
            replay.poll(report, at)
        };
        [report.clone(), next(report), report.clone(), empty].map(&mut poll).into()
    }
}

impl Target for Reports {
    const NAME: &str = "reports";
    const RESULTS: [&str; 2] = ["with devices", "without devices"];
    const CHANGE: Change = mutate::typed_json;

    fn seeds(&self) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| at_now(&fs::read_to_string(file).unwrap())).collect()
    }

    fn check(&self, input: &[u8]) -> CheckResult {
        let report = match SessionReport::read(input, NOW_US) {
            Ok(report) => report,
            Err(error) => {
                let message = error.to_string();
                assert!((10..500).contains(&message.len()), "{message}");
                return CheckResult::Rejected;
            }
        };
        check_bounds(&report);
        let snapshots = self.replay(&report);
        for (number, pair) in snapshots.windows(2).enumerate() {
            check_counters(&pair[0], &pair[1], INTERVAL.as_secs_f64() * (number + 1) as f64);
        }
        snapshots.iter().for_each(check_snapshot);
        if report.devices.is_empty() { CheckResult::Second } else { CheckResult::First }
    }

    fn check_further(&self, input: &[u8], number: usize, is_new: bool) {
        if !is_new && !number.is_multiple_of(ENCODE_INTERVAL) {
            return;
        }
        let Ok(report) = SessionReport::read(input, NOW_US) else { return };
        let again = SessionReport::read(&report.to_bytes(), NOW_US).unwrap();
        let [left, right] = [&report, &again].map(|report| serde_json::to_value(report).unwrap());
        assert!(is_close(&left, &right), "{left} was read as {right}");
        for snapshot in self.replay(&report) {
            let mut text = vec![];
            TextEncoder::new().encode(&catalogue::families(CATALOGUE, &snapshot), &mut text).unwrap();
            let exposition = Exposition::parse(std::str::from_utf8(&text).unwrap());
            exposition.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A recorded report with the time [`NOW_US`].
fn at_now(text: &str) -> Vec<u8> {
    let mut report: Value = serde_json::from_str(text).unwrap();
    report["at_us"] = NOW_US.into();
    serde_json::to_vec(&report).unwrap()
}

/// The report one interval later: the driver's buffer has samples of later times, and the card has used energy.
fn next(report: &SessionReport) -> SessionReport {
    let mut next = report.clone();
    for device in &mut next.devices {
        let Ok(values) = &mut device.values else { continue };
        for sample in values.reading.samples.iter_mut().flatten() {
            sample.at = sample.at.saturating_add(INTERVAL.as_micros() as u64);
        }
        values.reading.energy = values.reading.energy.map(|energy| energy.saturating_add(1_000_000));
    }
    next
}

/// Whether the values are equal, except for the last binary digit of a fraction: `serde_json` rounds it differently when it reads.
fn is_close(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_close(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let is_close = |(name, value)| right.get(name).is_some_and(|other| is_close(value, other));
            left.len() == right.len() && left.iter().all(is_close)
        }
        (Value::Number(left), Value::Number(right)) if left.is_f64() && right.is_f64() => {
            let [left, right] = [left, right].map(|number| number.as_f64().unwrap_or_default());
            (left - right).abs() <= f64::EPSILON * left.abs()
        }
        _ => left == right,
    }
}

fn check_bounds(report: &SessionReport) {
    let uuids: HashSet<&str> = report.devices.iter().map(|device| &*device.device.uuid).collect();
    assert_eq!(uuids.len(), report.devices.len(), "a device occurs twice");
    assert!(uuids.iter().all(|uuid| (1..=96).contains(&uuid.len())), "{uuids:?}");
    assert!((1..=600_000_000).contains(&report.interval_us), "{}", report.interval_us);
    assert!(report.at_us.abs_diff(NOW_US) <= 2 * report.interval_us + 1_000_000, "{}", report.at_us);
    for DeviceReport { values, .. } in &report.devices {
        let Some(own) = values.as_ref().ok().and_then(|values| values.own.as_ref()) else { continue };
        let parts = [own.sm, own.encoder, own.decoder, Some(own.all_sm)];
        assert!(parts.iter().flatten().all(|part| *part >= 0.0), "{own:?}");
    }
}

/// Checks that no counter has fallen, and that no part exceeds the time. `seconds` is the time between the first poll and `after`.
fn check_counters(before: &Snapshot, after: &Snapshot, seconds: f64) {
    for account in &after.accounts {
        let earlier = before.accounts.iter().find(|earlier| earlier.gpu == account.gpu);
        let earlier = earlier.map(sums).unwrap_or_default();
        assert!(sums(account).iter().zip(earlier).all(|(later, earlier)| *later >= earlier), "{account:?}");
        let allocated = account.allocated.unwrap_or_default();
        let of_time = SCOPES.map(|scope| of(&account.busy, scope)).into_iter().chain([account.unsampled]);
        assert!(of_time.into_iter().all(|part| part <= allocated + ROUNDING), "{account:?}");
        assert!(allocated <= seconds + ROUNDING, "{account:?}");
    }
}

/// The counters of a device.
fn sums(account: &Account) -> Vec<f64> {
    let scoped = SCOPES.iter().flat_map(|scope| [of(&account.busy, *scope), of(&account.energy, *scope)]);
    let rest = [account.allocated, account.attributed, Some(account.unsampled)];
    scoped.chain(rest.map(Option::unwrap_or_default)).collect()
}

fn of(values: &ByScope<f64>, scope: Scope) -> f64 {
    values.get(scope).unwrap_or_default()
}

fn check_snapshot(snapshot: &Snapshot) {
    assert!(snapshot.gpus.len() <= MAX_GPUS && snapshot.accounts.len() <= MAX_ACCOUNTS);
    snapshot.gpus.iter().for_each(check_gpu);
}

/// Checks the bounds of the values that the sidecar exposes.
fn check_gpu(gpu: &Gpu) {
    let Reading { power, temperature, memory, .. } = &gpu.reading;
    let ratios = [&gpu.values.utilization, &gpu.values.encoder, &gpu.values.decoder];
    let ratios = ratios.into_iter().flat_map(ByScope::iter);
    assert!(ratios.map(|(_, ratio)| ratio).all(|ratio| (0.0..=1.0).contains(&ratio)), "{gpu:?}");
    assert!(power.is_none_or(|milliwatts| milliwatts <= 3_000_000), "{gpu:?}");
    assert!(temperature.is_none_or(|celsius| celsius <= 150), "{gpu:?}");
    let total = memory.map_or(u64::MAX, |memory| memory.total);
    assert!(gpu.values.memory.iter().all(|(_, bytes)| bytes <= total), "{gpu:?}");
}
