//! Desktops that work in bursts: the driver has no samples of a process while it rests.

use std::time::{Duration, SystemTime};

use fake_nvml::{Device, Memory, Process, ProcessCourse, Samples, Scenario, Utilization};
use kit::exposition::Exposition;

use super::node_fixture::*;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const BOB: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const PIDS: [u32; 2] = [101, 202];

/// Microseconds, and percent of the time in which each desktop works. Both rest between two bursts, for several intervals of the agent.
const COURSE: [(u64, [u32; 2]); 6] = [
    (1_000_000, [60, 0]),
    (2_000_000, [0, 0]),
    (1_000_000, [0, 80]),
    (2_000_000, [0, 0]),
    (1_000_000, [50, 40]),
    (1_000_000, [0, 0]),
];

/// Seconds in which a part of the course works.
fn busy_seconds(percent: impl Fn([u32; 2]) -> u32) -> f64 {
    COURSE.iter().map(|(time, work)| *time as f64 / 1e6 * f64::from(percent(*work)) / 100.0).sum()
}

fn course(percent: impl Fn([u32; 2]) -> u32) -> Vec<(u64, u32)> {
    COURSE.iter().map(|(time, work)| (*time, percent(*work))).collect()
}

/// A card whose work begins at this Unix time in microseconds.
fn scenario(begins_us: u64) -> Scenario {
    let process = |pid| Process { pid, memory: Some(1 << 30), ends_after_lists: None };
    let work =
        |index: usize| ProcessCourse { pid: PIDS[index], begins_us, course: course(|work| work[index]) };
    let card = Device {
        uuid: Some(CARD.into()),
        utilization: Some(Utilization { gpu: 0, memory: 10 }),
        samples: Some(Samples {
            period_us: 10_000,
            length: 500,
            begins_us,
            course: course(|work| work.iter().sum()),
            ..Samples::default()
        }),
        memory: Some(Memory { total: 48 << 30, reserved: 0, used: 3 << 30 }),
        graphics: Some(PIDS.map(process).to_vec()),
        compute: Some(vec![]),
        process_utilization: Some(vec![]),
        process_courses: vec![work(0), work(1)],
        ..Device::default()
    };
    driver_with(vec![card])
}

fn busy(seen: &Exposition) -> f64 {
    seen.value("vdi_session_gpu_busy_seconds_total", &[("scope", "session")]).unwrap_or_default()
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

#[test]
fn a_burst_after_a_rest_is_counted_entirely() {
    let begins = unix_now() + Duration::from_secs(2);
    let node = Node::new(&scenario(begins.as_micros() as u64));
    for (uid, pid) in [(ALICE, PIDS[0]), (BOB, PIDS[1])] {
        node.add_session(uid, pid);
    }
    let agent = node.start_agent();
    let sidecars = [ALICE, BOB].map(|uid| node.start_sidecar(uid));
    for sidecar in &sidecars {
        let seen = sidecar.scrape_until("a report", |seen| {
            seen.value("vdi_session_gpu_busy_seconds_total", &[("scope", "session")]).is_some()
        });
        assert!(busy(&seen) < 0.6, "the work has begun {:?} ago", unix_now() - begins);
    }
    let ends = begins + Duration::from_micros(COURSE.iter().map(|(time, _)| time).sum());
    std::thread::sleep(ends.saturating_sub(unix_now()));
    for (index, sidecar) in sidecars.iter().enumerate() {
        let expected = busy_seconds(|work| work[index]);
        let seen = sidecar.scrape_until("the end of the work", |seen| busy(seen) > 0.9 * expected);
        let busy = busy(&seen);
        assert!((busy - expected).abs() < TOLERANCE * expected, "{busy} s, expected {expected} s");
    }
    let total = busy_seconds(|work| work.iter().sum());
    let seen = agent.scrape_until("the work of both", |seen| {
        let busy = seen.value("vdi_gpu_busy_seconds_total", &[("owner", "session")]);
        busy.is_some_and(|busy| (busy - total).abs() < TOLERANCE * total)
    });
    let unsampled = seen.value("vdi_gpu_busy_seconds_total", &[("owner", "unsampled")]).unwrap_or_default();
    assert!(unsampled < TOLERANCE * total, "{unsampled} s of the work have no owner");
}

/// Part of the expected seconds. The bursts have three polls each, and at their ends the driver's integer percent are rounded.
const TOLERANCE: f64 = 0.03;
