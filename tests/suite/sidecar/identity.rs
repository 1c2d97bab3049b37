//! Handles of devices that do not exist any more, and handles that the driver uses again for other devices.

use std::fs;

use fake_nvml::{Behaviour, Device, Memory, Scenario, Symbol};
use kit::exposition::Exposition;
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, running_sidecar::*};

const SLICE: &str = "MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19";
const OTHER_SLICE: &str = "MIG-00000000-52de-5c1b-8e43-0b6d2f7a4c19";
const UNAVAILABLE: &str = "vdi_session_gpu_unavailable_info";
const PEAK: &str = "vdi_session_gpu_memory_peak_bytes";

/// A card with one slice that uses 1 MiB. The card gives its power and its temperature.
fn card_with_slice() -> Scenario {
    let mut mig = busy_gpu();
    let card = &mut mig.devices[0];
    (card.mig, card.utilization, card.memory) = (Some(true), None, None);
    (card.power_milliwatts, card.temperature_celsius) = (Some(70_000), Some(40));
    card.slices = vec![slice(SLICE, 1 << 20)];
    mig
}

fn slice(uuid: &str, used: u64) -> Device {
    let memory = Some(Memory { total: 10 << 30, reserved: 0, used });
    Device { uuid: Some(uuid.into()), memory, gpu_instance: Some(7), ..Device::default() }
}

fn is_unavailable(seen: &Exposition) -> bool {
    seen.value(AVAILABLE, &[]) == Some(0.0)
}

fn is_available(seen: &Exposition) -> bool {
    seen.value(AVAILABLE, &[]) == Some(1.0)
}

/// Calls for the handle answer with any of these codes: not found, invalid argument, not supported, uninitialised, unknown.
#[test]
fn a_destroyed_slice_is_not_read_while_its_card_answers() {
    for code in [6, 2, 3, 1, 999] {
        let sidecar = RunningSidecar::start(&card_with_slice(), &[FAST]);
        sidecar.annotate(SLICE);
        sidecar.scrape_until("the slice", |seen| total(seen, "allocated", SLICE) > 0.05);
        let mut destroyed = card_with_slice();
        destroyed.devices[0].slices[0].gone = Some(code);
        sidecar.play(&destroyed);
        let gone = sidecar.scrape_until("the end", is_unavailable);
        assert_eq!(gone.series("vdi_session_gpu_power_watts").count(), 0, "{code}");
        sidecar.play(&card_with_slice());
        let back = sidecar.scrape_until("the return", is_available);
        assert!(total(&back, "unsampled", SLICE) > 0.0, "{code}");
    }
}

/// The library can answer the UUID from its own cache. Every call that reaches the driver fails.
#[test]
fn a_destroyed_slice_with_a_cached_uuid_is_not_read() {
    let of_the_slice = [
        Symbol::nvmlDeviceGetMemoryInfo_v2,
        Symbol::nvmlDeviceGetMemoryInfo,
        Symbol::nvmlDeviceGetSamples,
        Symbol::nvmlDeviceGetUtilizationRates,
        Symbol::nvmlDeviceGetComputeRunningProcesses_v3,
        Symbol::nvmlDeviceGetGraphicsRunningProcesses_v3,
    ];
    for code in [6, 2, 3, 999] {
        let sidecar = RunningSidecar::start(&card_with_slice(), &[FAST]);
        sidecar.annotate(SLICE);
        sidecar.scrape_until("the slice", |seen| total(seen, "allocated", SLICE) > 0.05);
        let mut destroyed = card_with_slice();
        destroyed.devices[0].slices[0].calls =
            of_the_slice.map(|symbol| (symbol, Behaviour::failing(code))).into();
        sidecar.play(&destroyed);
        let gone = sidecar.scrape_until("the end", is_unavailable);
        sidecar.scrape_until("more allocated time", |seen| {
            assert!(is_unavailable(seen), "{code}");
            total(seen, "allocated", SLICE) > total(&gone, "allocated", SLICE) + 0.2
        });
        sidecar.play(&card_with_slice());
        sidecar.scrape_until("the return", is_available);
    }
}

#[test]
fn a_slice_that_gets_the_handle_of_the_sessions_slice_is_not_read() {
    for annotated in [true, false] {
        let sidecar = RunningSidecar::start(&card_with_slice(), &[FAST]);
        if annotated {
            sidecar.annotate(SLICE);
        }
        sidecar.scrape_until("the slice", |seen| total(seen, "allocated", SLICE) > 0.05);
        let mut other = card_with_slice();
        other.devices[0].slices[0] = slice(OTHER_SLICE, 9 << 30);
        sidecar.play(&other);
        let is_read = |seen: &Exposition| {
            seen.series("vdi_session_gpu_memory_used_bytes").any(|series| series.value > 2e6)
        };
        let gone = sidecar.scrape_until("the end", |seen| {
            assert!(!is_read(seen), "annotated: {annotated}");
            is_unavailable(seen)
        });
        sidecar.scrape_until("ten more polls", |seen| {
            assert!(is_unavailable(seen) && !is_read(seen), "annotated: {annotated}");
            assert_eq!(total(seen, "allocated", OTHER_SLICE), 0.0, "annotated: {annotated}");
            seen.value(LAST_COLLECT, &[]) > gone.value(LAST_COLLECT, &[]).map(|at| at + 0.3)
        });
        sidecar.play(&card_with_slice());
        let back = sidecar.scrape_until("the return", is_available);
        assert_eq!(back.value(PEAK, &[("gpu", SLICE)]), Some(f64::from(1 << 20)));
    }
}

/// The driver counts as many cards as before, in another order.
#[test]
fn a_card_that_gets_the_handle_of_the_sessions_card_is_not_read() {
    let mut two = busy_gpu();
    two.devices[0].energy_millijoules = Some(1_000_000);
    two.devices.push(Device {
        uuid: Some(OTHER_UUID.into()),
        energy_millijoules: Some(2_000_000),
        ..two.devices[0].clone()
    });
    let sidecar = RunningSidecar::start(&two, &[FAST]);
    sidecar.annotate(UUID);
    sidecar.scrape_until("the card", |seen| total(seen, "allocated", UUID) > 0.05);
    two.devices.reverse();
    sidecar.play(&two);
    let energy = |seen: &Exposition| seen.value("vdi_session_gpu_energy_joules_total", &[]);
    let swapped = sidecar
        .scrape_until("the other card", |seen| seen.value(ERRORS, &[("code", "another_device")]).is_some());
    assert_eq!((energy(&swapped), swapped.series(UNAVAILABLE).count()), (Some(0.0), 1));
    two.devices[1].energy_millijoules = Some(1_010_000);
    sidecar.play(&two);
    sidecar.scrape_until("the card again", |seen| is_available(seen) && energy(seen) == Some(10.0));
}

/// Another program tries to destroy the slice. The driver refuses while a process has a handle of the slice.
#[test]
fn a_slice_can_be_destroyed_between_two_polls() {
    let interval = (env::INTERVAL, "1");
    let mut mig = card_with_slice();
    mig.devices[0].xids = Some(vec![]);
    let sidecar = RunningSidecar::start(&mig, &[interval]);
    sidecar.annotate(SLICE);
    let before = sidecar.scrape_until("the slice", |seen| total(seen, "allocated", SLICE) > 0.05);
    mig.devices[0].slices[0].is_to_be_destroyed = true;
    sidecar.play(&mig);
    let gone = sidecar.scrape_until("the end", is_unavailable);
    // The poll after the request cannot list the slice any more.
    let polls = |seen: &Exposition| seen.value(LAST_COLLECT, &[]).unwrap();
    assert!(polls(&gone) - polls(&before) < 2.5, "{} s", polls(&gone) - polls(&before));
}

/// The slices are not listed while the sidecar waits for the next poll, but the card's faults are received.
#[test]
fn a_fault_between_two_polls_is_counted_for_the_slices() {
    let mut mig = card_with_slice();
    mig.devices[0].xids = Some(vec![]);
    let sidecar = RunningSidecar::start(&mig, &[(env::INTERVAL, "1")]);
    sidecar.annotate(SLICE);
    sidecar.scrape_until("the slice", |seen| total(seen, "allocated", SLICE) > 0.05);
    sidecar.wait_for_reopening();
    mig.devices[0].xids = Some(vec![31]);
    sidecar.play(&mig);
    sidecar.scrape_until("the fault", |seen| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("gpu", SLICE), ("xid", "31")]) == Some(1.0)
    });
}

/// Lines of the call log of each complete poll after the first: a poll begins with the number of cards.
fn calls_of_a_poll(scenario: &Scenario, settings: &[(&str, &str)]) -> Vec<String> {
    let log = kit::tempfile::NamedTempFile::new().unwrap();
    let settings = [&[FAST, (fake_nvml::CALL_LOG, log.path().to_str().unwrap())], settings].concat();
    let _sidecar = RunningSidecar::start(scenario, &settings);
    kit::process::eventually("four polls", || {
        let text = fs::read_to_string(log.path()).unwrap();
        let polls: Vec<&str> = text.split("nvmlDeviceGetCount_v2 0\n").collect();
        let lines = polls.get(4).filter(|_| polls.len() > 5)?.lines();
        Some(lines.filter(|line| !line.contains("EventSetWait")).map(str::to_owned).collect())
    })
}

/// The metric has the calls up to the end of the last poll, without those that close the library.
#[test]
fn the_calls_between_two_polls_with_slices_are_counted() {
    let log = kit::tempfile::NamedTempFile::new().unwrap();
    let log_path = (fake_nvml::CALL_LOG, log.path().to_str().unwrap());
    let settings = [(env::INTERVAL, "2"), (env::GPU_ACCESS, "claims"), log_path];
    let mut mig = card_with_slice();
    mig.devices[0].xids = Some(vec![]);
    let sidecar = RunningSidecar::start(&mig, &settings);
    let first = sidecar.first_poll().value(LAST_COLLECT, &[]);
    let second = sidecar.scrape_until("the second poll", |seen| seen.value(LAST_COLLECT, &[]) > first);
    sidecar.wait_for_reopening();
    let text = fs::read_to_string(log.path()).unwrap();
    let (polls, _) = text.rsplit_once("nvmlShutdown").unwrap();
    let mut calls: Vec<&str> = polls.lines().collect();
    while calls.last().is_some_and(|call| !call.starts_with("nvmlDevice")) {
        calls.pop();
    }
    // nvml_wrapper asks for the version of the driver twice.
    let closing = |call: &&&str| call.starts_with("nvmlShutdown") || call.starts_with("nvmlEventSetFree");
    let twice = text.matches("nvmlInit_v2").count() - 1;
    let expected = calls.len() - calls.iter().filter(closing).count() - twice;
    assert_eq!(second.value("vdi_metrics_nvml_calls_total", &[]), Some(expected as f64), "{calls:?}");
}

/// The cost of the check is one call for each device, and one for the card of a slice. It comes before the values.
#[test]
fn every_poll_verifies_each_handle_once_before_its_values() {
    let eight = Scenario {
        devices: (0..8)
            .map(|card| Device {
                uuid: Some(format!("GPU-{card:08}-0c3a-4f6e-9b7d-21a4c8e6f035")),
                ..busy_gpu().devices[0].clone()
            })
            .collect(),
        ..busy_gpu()
    };
    // Calls without the check: 3 and 17. A poll with slices also lists them, and opens the library for the next poll.
    for (name, scenario, handles, all) in
        [("card", busy_gpu(), 1, 4), ("slice", card_with_slice(), 2, 22), ("eight cards", eight, 8, 25)]
    {
        let mut calls = calls_of_a_poll(&scenario, &[(env::GPU_ACCESS, "claims")]);
        let uuids = calls.iter().filter(|call| call.starts_with("nvmlDeviceGetUUID ")).count();
        assert_eq!((uuids, calls.len() + 1), (handles, all), "{name}: {calls:?}");
        let lists_slices = |call: &str| {
            call.starts_with("nvmlDeviceGetMaxMigDeviceCount")
                || call.starts_with("nvmlDeviceGetMigDeviceHandle")
        };
        calls.retain(|call| !lists_slices(call) && !call.ends_with(" 0"));
        for handle in calls.iter().filter_map(|call| call.split_once(' ')).map(|(_, handle)| handle) {
            let first = calls.iter().find(|call| call.ends_with(&format!(" {handle}"))).unwrap();
            assert!(first.starts_with("nvmlDeviceGetUUID "), "{name}: {calls:?}");
        }
    }
}
