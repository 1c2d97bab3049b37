//! Xid events of the driver.

use std::time::{Duration, Instant};

use fake_nvml::{Behaviour, Device, Memory, Scenario, Symbol};
use kit::exposition::Exposition;
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, running_sidecar::*};

#[test]
fn xid_faults_are_counted_by_number() {
    let with = |xids: &[u64]| {
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some(xids.to_vec());
        scenario
    };
    let sidecar = RunningSidecar::start(&with(&[31]), &[(env::INTERVAL, "0.3")]);
    sidecar.first_poll();
    sidecar.play(&with(&[31, 79, 79, 48, 999]));
    let count = |seen: &Exposition, xid| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("gpu", UUID), ("xid", xid)])
    };
    let seen = sidecar.scrape_until("four faults", |seen| {
        seen.series("vdi_session_gpu_xid_errors_total").map(|series| series.value).sum::<f64>() >= 4.0
    });
    assert_eq!(
        (count(&seen, "79"), count(&seen, "48"), count(&seen, "other")),
        (Some(2.0), Some(1.0), Some(1.0))
    );
    assert_eq!(count(&seen, "31"), None, "the fault was before the session");
}

#[test]
fn a_flood_of_xid_events_is_throttled() {
    let with = |count: u64| {
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some((0..count).map(|_| 79).collect());
        scenario
    };
    let sidecar = RunningSidecar::start(&with(0), &[(env::INTERVAL, "0.5")]);
    sidecar.first_poll();
    sidecar.play(&with(100_000));
    let count = |seen: &Exposition| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("xid", "79")]).unwrap_or_default()
    };
    let first = sidecar.scrape_until("faults", |seen| count(seen) > 0.0);
    let start = Instant::now();
    let later = sidecar.scrape_until("more faults", |seen| count(seen) > count(&first) + 50.0);
    let per_second = (count(&later) - count(&first)) / start.elapsed().as_secs_f64();
    // A hundred events per second, plus the error of a first snapshot that is up to half a second old.
    assert!(per_second < 250.0, "{per_second}");
}

#[test]
fn an_event_set_is_created_again_after_a_failure() {
    let with = |xids: &[u64], failing: bool| {
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some(xids.to_vec());
        if failing {
            for symbol in [Symbol::nvmlEventSetWait_v2, Symbol::nvmlEventSetCreate] {
                scenario.calls.insert(symbol, Behaviour { returns: Some(999), ..Behaviour::default() });
            }
        }
        scenario
    };
    let sidecar = RunningSidecar::start(&with(&[], true), &[FAST]);
    sidecar.scrape_until("the failure", |seen| seen.value(ERRORS, &[("call", "events")]) > Some(0.0));
    sidecar.play(&with(&[], false));
    let failures = sidecar.first_poll().value(ERRORS, &[("call", "events")]);
    std::thread::sleep(Duration::from_millis(300));
    sidecar.play(&with(&[48], false));
    let seen = sidecar.scrape_until("the fault", |seen| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("xid", "48")]) == Some(1.0)
    });
    assert!(seen.value(ERRORS, &[("call", "events")]) <= failures.map(|count| count + 1.0));
}

/// A call makes the card fail, and the library is closed directly after that poll.
#[test]
fn a_fault_that_a_poll_causes_is_counted_before_the_library_is_closed() {
    let mut scenario = busy_gpu();
    let card = &mut scenario.devices[0];
    (card.xids, card.power_milliwatts) = (Some(vec![]), Some(70_000));
    let sidecar = RunningSidecar::start(&scenario, &[FAST]);
    sidecar.first_poll();
    let fails = Behaviour { xid: Some(79), times: Some(1), ..Behaviour::failing(15) };
    scenario.devices[0].calls = [(Symbol::nvmlDeviceGetPowerUsage, fails)].into();
    sidecar.play(&scenario);
    let failed = sidecar.scrape_until("the failure", |seen| {
        seen.value(ERRORS, &[("call", "power"), ("code", "gpu_lost")]).is_some()
    });
    assert!(failed.value("vdi_session_gpu_xid_errors_total", &[("xid", "79")]) >= Some(1.0));
}

/// A card with two slices, and its faults.
fn two_slices(xids: &[u64], xid_instances: Option<(u32, u32)>) -> Scenario {
    let slice = |uuid: &str, gpu_instance| Device {
        uuid: Some(uuid.into()),
        memory: Some(Memory { total: 10 << 30, reserved: 0, used: 0 }),
        gpu_instance: Some(gpu_instance),
        compute_instance: Some(0),
        ..Device::default()
    };
    let mut mig = busy_gpu();
    let card = &mut mig.devices[0];
    (card.mig, card.xids, card.xid_instances) = (Some(true), Some(xids.to_vec()), xid_instances);
    card.slices = vec![slice(SLICES[0], 3), slice(SLICES[1], 4)];
    mig
}

const SLICES: [&str; 2] =
    ["MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19", "MIG-00000000-52de-5c1b-8e43-0b6d2f7a4c19"];

#[test]
fn a_fault_of_a_slice_is_counted_only_for_the_slice_that_the_event_names() {
    for (instances, counts) in [
        (Some((4, 0)), [None, Some(1.0)]),
        (Some((3, u32::MAX)), [Some(1.0), None]),
        (None, [Some(1.0), Some(1.0)]),
    ] {
        let settings = [(env::INTERVAL, "1"), (env::GPU_ACCESS, "claims")];
        let sidecar = RunningSidecar::start(&two_slices(&[], instances), &settings);
        sidecar.scrape_until("the slices", |seen| total(seen, "allocated", SLICES[1]) > 0.0);
        sidecar.wait_for_reopening();
        sidecar.play(&two_slices(&[13], instances));
        let seen = sidecar
            .scrape_until("the fault", |seen| seen.series("vdi_session_gpu_xid_errors_total").count() > 0);
        let count = |gpu| seen.value("vdi_session_gpu_xid_errors_total", &[("gpu", gpu), ("xid", "13")]);
        assert_eq!(SLICES.map(count), counts, "{instances:?}");
    }
}
