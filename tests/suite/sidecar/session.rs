//! Attribution and totals of a session over time.

use std::fs;

use fake_nvml::{Behaviour, Device, ProcessUtilization, Samples, Scenario, Symbol, Utilization};
use kit::exposition::Exposition;
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, pod_fixture::PodFixture, running_sidecar::*};

#[test]
fn a_changed_annotation_changes_the_attribution() {
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
    let sidecar = RunningSidecar::start(&two, &[FAST]);
    assert_eq!(unavailable(&sidecar.first_poll()), "several_devices");
    let busy = |seen: &Exposition, gpu| seen.value(BUSY, &[("gpu", gpu)]).unwrap_or_default();
    let info = |seen: &Exposition, gpu| seen.value("vdi_session_gpu_info", &[("gpu", gpu)]).is_some();
    sidecar.annotate(UUID);
    let first = sidecar.scrape_until("the first device", |seen| info(seen, UUID) && busy(seen, UUID) > 0.05);
    sidecar.annotate(&format!("{OTHER_UUID}::1"));
    let second = sidecar
        .scrape_until("the second device", |seen| info(seen, OTHER_UUID) && busy(seen, OTHER_UUID) > 0.05);
    assert!(!info(&second, UUID));
    assert!(busy(&second, UUID) >= busy(&first, UUID), "the total of a released device stays");
    let scope = |seen: &Exposition| {
        seen.series(BUSY).map(|series| series.labels["scope"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(scope(&second), ["session", "device"]);
    sidecar.annotate("pending");
    let lost =
        sidecar.scrape_until("the loss", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
    assert_eq!(unavailable(&lost), "several_devices");
    assert!(busy(&lost, OTHER_UUID) >= busy(&second, OTHER_UUID));
}

/// Simulates eight hours in 12 s, 2400 times as fast, with a sample every 1 ms and a poll every 10 ms. The buffer covers 1 s,
/// so a busy machine that delays a poll loses no sample.
#[test]
fn totals_of_a_day_match_the_simulated_load() {
    const FASTER: u64 = 2400;
    let hour = 3_600_000_000 / FASTER;
    let begins_us = now_us() + 500_000;
    let samples = Samples {
        period_us: 1000,
        length: 1000,
        begins_us,
        course: vec![
            (hour, 20),
            (hour / 2, 0),
            (2 * hour, 75),
            (hour, 5),
            (2 * hour, 100),
            (hour / 2, 0),
            (hour, 40),
        ],
        ..Samples::default()
    };
    let used = samples.busy_seconds();
    let mut day = busy_gpu();
    day.devices[0].samples = Some(samples);
    let sidecar = RunningSidecar::start(&day, &[(env::INTERVAL, "0.01")]);
    let first = sidecar.first_poll();
    let time = |seen: &Exposition| seen.value(LAST_COLLECT, &[]).unwrap();
    let end = (begins_us as f64 / 1e6) + 12.1;
    let seen = sidecar.scrape_until("the end of the day", |seen| time(seen) > end);
    let of =
        |name: &str| seen.value(&format!("vdi_session_gpu_{name}_seconds_total"), &[("gpu", UUID)]).unwrap();
    let (busy, unsampled) = (of("busy"), of("unsampled"));
    assert!((busy - used).abs() <= used / 100.0, "{busy} of {used}, {unsampled} unsampled");
    let duration = |seen: &Exposition| seen.value("vdi_metrics_collect_duration_seconds", &[]).unwrap();
    let passed = (time(&seen) - duration(&seen)) - (time(&first) - duration(&first));
    let allocated = of("allocated") - total(&first, "allocated", UUID);
    assert!((allocated - passed).abs() < 0.2, "{allocated} of {passed}");
}

#[test]
fn attribution_by_environment_is_remembered_after_the_process_ends() {
    let desktop = format!("HOME=/home/alice\0NVIDIA_VISIBLE_DEVICES={UUID}\0");
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
    let sidecar = RunningSidecar::start_in_pod(&PodFixture::shared(7, &desktop), &two, &[FAST]);
    let message = sidecar
        .message_until("busy time", |message| message["by"] == serde_json::json!(["environment", "good"]));
    assert_eq!(message["gpus"][0]["scope"], "device");
    fs::remove_dir_all(sidecar.root.join("proc/7")).unwrap();
    sidecar.message_until("the end", |message| message["by"][1] == "remembered");
    assert_eq!(sidecar.end().1["by"], serde_json::json!(["environment", "remembered"]));
}

/// After the wall clock was set back, the newest sample is in the future.
#[test]
fn own_busy_time_is_counted_after_the_clock_was_set_back() {
    let at = |at_us| {
        gpu_with_process(
            7,
            vec![ProcessUtilization { pid: 7, sm: 50, at_us, ..ProcessUtilization::default() }],
        )
    };
    let in_an_hour = Some(now_us() + 3_600_000_000);
    let sidecar = RunningSidecar::start_in_pod(&PodFixture::shared(7, ""), &at(in_an_hour), &[FAST]);
    sidecar.annotate(&format!("{UUID}::1"));
    sidecar.message_until("the annotation", |message| message["by"][0] == "handed_over");
    sidecar.play(&at(None));
    sidecar.scrape_until("own busy time", |seen| seen.value(BUSY, &[("scope", "session")]) > Some(0.5));
}

#[test]
fn attribution_by_processes_is_remembered_after_they_end() {
    let at_work = two_gpus_with_a_process_on_the_second();
    let mut two = at_work.clone();
    two.devices[1].compute = Some(vec![]);
    let sidecar = RunningSidecar::start_in_pod(&PodFixture::shared(7, ""), &two, &[FAST]);
    let first = sidecar.first_poll();
    assert_eq!(unavailable(&first), "several_devices");
    let by = |seen: &Exposition, confidence: &str| {
        let labels = [("strategy", "processes"), ("confidence", confidence)];
        seen.value("vdi_session_gpu_attribution_info", &labels) == Some(1.0)
    };
    sidecar.play(&at_work);
    let working = sidecar
        .scrape_until("the process", |seen| by(seen, "exact") && total(seen, "busy", OTHER_UUID) > 0.1);
    assert_eq!(working.series("vdi_session_gpu_info").count(), 1);
    sidecar.play(&two);
    let idle = sidecar.scrape_until("the end", |seen| by(seen, "remembered"));
    let later = sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "allocated", OTHER_UUID) > total(&idle, "allocated", OTHER_UUID)
    });
    assert!(total(&later, "busy", OTHER_UUID) >= total(&working, "busy", OTHER_UUID));
    // An annotation comes before processes.
    sidecar.annotate(UUID);
    let annotated = sidecar.scrape_until("the annotation", |seen| total(seen, "busy", UUID) > 0.0);
    assert!(
        total(&annotated, "busy", OTHER_UUID) >= total(&later, "busy", OTHER_UUID),
        "the total of a released device stays"
    );
    let allocated = total(&annotated, "allocated", OTHER_UUID);
    let later = sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "allocated", UUID) > total(&annotated, "allocated", UUID)
    });
    assert_eq!(total(&later, "allocated", OTHER_UUID), allocated, "the device is released");
}

/// Newer drivers keep fewer samples than there are in one interval.
#[test]
fn a_buffer_that_is_shorter_than_the_interval_loses_no_samples() {
    let mut card = busy_gpu();
    card.devices[0].samples = Some(Samples { period_us: 25_000, length: 72, ..Samples::default() });
    let sidecar = RunningSidecar::start(&card, &[(env::INTERVAL, "2.5")]);
    let seen = sidecar.scrape_until("three intervals", |seen| total(seen, "allocated", UUID) > 7.0);
    let [allocated, busy, unsampled] = ["allocated", "busy", "unsampled"].map(|of| total(&seen, of, UUID));
    assert!(unsampled < allocated / 10.0, "{unsampled} of {allocated}: a buffer covers 1.8 s of 2.5 s");
    assert!(busy <= allocated && busy > allocated * 0.95, "{busy} of {allocated}");
}

/// The driver returns samples that are too high, too old or returned twice, and the card itself was hardly busy.
#[test]
fn a_session_has_at_most_the_work_of_its_card() {
    let sample = |at_us| ProcessUtilization { pid: 7, sm: 100, at_us, ..ProcessUtilization::default() };
    let mut card = gpu_with_process(7, vec![sample(None), sample(Some(1)), sample(None)]);
    card.devices[0].utilization = Some(Utilization { gpu: 5, memory: 0 });
    let nonsense = Behaviour { ignores_since: true, repeats: 2, ..Behaviour::default() };
    card.devices[0].calls = [(Symbol::nvmlDeviceGetProcessesUtilizationInfo, nonsense)].into();
    let sidecar = RunningSidecar::start_in_pod(&PodFixture::shared(7, ""), &card, &[FAST]);
    sidecar.annotate(&format!("{UUID}::1"));
    let own = |seen: &Exposition| seen.value(BUSY, &[("scope", "session")]).unwrap_or_default();
    let seen = sidecar.scrape_until("own work", |seen| own(seen) > 0.01);
    assert!(Some(own(&seen)) <= seen.value(BUSY, &[("scope", "device")]), "{}", own(&seen));
    assert_eq!(seen.value("vdi_session_gpu_utilization_ratio", &[("scope", "session")]), Some(0.05));
}

/// Two sessions share one card, and a third has a card alone. Dashboards add up all three.
#[test]
fn a_sum_over_sessions_is_the_total_of_the_cards() {
    // A poll that is later than two intervals attributes no energy. On a busy machine, shorter intervals have such polls.
    let interval = (env::INTERVAL, "0.5");
    let at = |percent, millijoules, mut scenario: Scenario| {
        scenario.devices[0].utilization = Some(Utilization { gpu: percent, memory: 0 });
        scenario.devices[0].energy_millijoules = Some(millijoules);
        scenario
    };
    let shared = |pid, sm, millijoules| {
        at(
            50,
            millijoules,
            gpu_with_process(pid, vec![ProcessUtilization { pid, sm, ..ProcessUtilization::default() }]),
        )
    };
    let alone = |millijoules| {
        let mut scenario = at(80, millijoules, busy_gpu());
        scenario.devices[0].uuid = Some(OTHER_UUID.into());
        scenario
    };
    let plays = |millijoules| [shared(7, 30, millijoules), shared(8, 20, millijoules), alone(millijoules)];
    let pods = [PodFixture::shared(7, ""), PodFixture::shared(8, ""), PodFixture::default()];
    let starts = pods.iter().zip(plays(1_000_000));
    let sidecars: Vec<RunningSidecar> =
        starts.map(|(pod, play)| RunningSidecar::start_in_pod(pod, &play, &[interval])).collect();
    sidecars[0].annotate(&format!("{UUID}::0"));
    sidecars[1].annotate(&format!("{UUID}::1"));
    let attributed = "vdi_session_gpu_energy_attributed_joules_total";
    for sidecar in &sidecars[..2] {
        sidecar
            .scrape_until("the attributed energy", |seen| seen.value(attributed, &[("gpu", UUID)]).is_some());
    }
    sidecars[2].first_poll();
    for (sidecar, play) in sidecars.iter().zip(plays(1_100_000)) {
        sidecar.play(&play);
        sidecar.scrape_until("the energy", |seen| seen.value(attributed, &[]) > Some(0.0));
    }
    let seen: Vec<Exposition> = sidecars.iter().map(RunningSidecar::scrape).collect();
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        seen.iter().filter_map(|seen| seen.value(name, labels)).sum()
    };
    let utilization = sum("vdi_session_gpu_utilization_ratio", &[("scope", "session")]);
    assert!((utilization - (0.5 + 0.8)).abs() < 1e-9, "{utilization}");
    let joules = sum(attributed, &[]);
    assert!((joules - 150.0).abs() < 1e-6, "half of the shared card's 100 J, and the other card's: {joules}");
    for sidecar in &seen[..2] {
        let idle = sidecar.value("vdi_session_gpu_energy_idle_joules_total", &[("scope", "device")]);
        assert_eq!(idle, Some(50.0), "the rest of the shared card's energy");
    }
    let memory = sum("vdi_session_gpu_memory_used_bytes", &[("scope", "session")]);
    assert_eq!(memory, f64::from(1 << 30) * (1.0 + 1.0 + 6.0));
}

/// The driver's clock can begin with the start of the node.
#[test]
fn work_is_counted_by_the_drivers_own_clock() {
    let mut card =
        gpu_with_process(7, vec![ProcessUtilization { pid: 7, sm: 30, ..ProcessUtilization::default() }]);
    card.boot_clock = true;
    card.devices[0].utilization = Some(Utilization { gpu: 50, memory: 0 });
    let samples = Samples { period_us: 10_000, length: 500, ..Samples::default() };
    for (samples, most_unsampled) in [(Some(samples), 0.1), (None, 1.0)] {
        card.devices[0].samples = samples;
        let pod = PodFixture::shared(7, "");
        let sidecar = RunningSidecar::start_in_pod(&pod, &card, &[(env::INTERVAL, "0.3")]);
        sidecar.annotate(&format!("{UUID}::1"));
        let busy = |seen: &Exposition, scope| seen.value(BUSY, &[("scope", scope)]).unwrap_or_default();
        let seen = sidecar.scrape_until("own work", |seen| busy(seen, "session") > 0.2);
        assert!(busy(&seen, "session") < busy(&seen, "device"));
        let [allocated, unsampled] = ["allocated", "unsampled"].map(|of| total(&seen, of, UUID));
        assert!(unsampled <= allocated * most_unsampled, "{unsampled} of {allocated}");
    }
}

/// A claim of 20 cards, and the totals of a node with 56 slices.
#[test]
fn every_device_of_a_large_node_is_counted() {
    let device = |prefix: &str, number: u32| Device {
        uuid: Some(format!("{prefix}-{number:08}-0c3a-4f6e-9b7d-21a4c8e6f035")),
        ..busy_gpu().devices[0].clone()
    };
    let slices = |card| (0..7).map(|slice| device("MIG", card * 7 + slice)).collect();
    let node = |devices| Scenario { devices, ..busy_gpu() };
    let cards = node((0..20).map(|card| device("GPU", card)).collect());
    let sliced =
        (0..8).map(|card| Device { mig: Some(true), slices: slices(card), ..device("GPU", card) }).collect();
    for (scenario, setting, count) in
        [(cards, (env::GPU_ACCESS, "claims"), 20), (node(sliced), (env::NODE_TOTALS, "all"), 56)]
    {
        let seen = RunningSidecar::start(&scenario, &[setting]).first_poll();
        for name in ["vdi_session_gpu_info", "vdi_session_gpu_memory_peak_bytes"] {
            assert_eq!(seen.series(name).count(), count, "{name}");
        }
        assert_eq!(seen.value(SUCCESS, &[]), Some(1.0));
    }
}

/// The driver keeps the newest sample of a process until there is a newer one.
#[test]
fn a_process_sample_is_counted_once() {
    let mut shared = gpu_with_process(7, vec![]);
    shared.devices.push(Device {
        uuid: Some(OTHER_UUID.into()),
        compute: Some(vec![]),
        ..shared.devices[0].clone()
    });
    let sidecar =
        RunningSidecar::start_in_pod(&PodFixture::shared(7, ""), &shared, &[(env::INTERVAL, "0.5")]);
    sidecar.first_poll();
    shared.devices[0].process_utilization = Some(vec![ProcessUtilization {
        pid: 7,
        sm: 100,
        at_us: Some(now_us()),
        ..ProcessUtilization::default()
    }]);
    sidecar.play(&shared);
    let own =
        |seen: &Exposition| seen.value(BUSY, &[("gpu", UUID), ("scope", "session")]).unwrap_or_default();
    let first = sidecar.scrape_until("own busy time", |seen| own(seen) > 0.0);
    let later = sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "allocated", UUID) > total(&first, "allocated", UUID) + 1.2
    });
    assert_eq!(own(&later), own(&first));
}

#[test]
fn an_invalid_setting_is_logged_and_the_default_is_used() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[(env::INTERVAL, "often")]);
    sidecar.process.logged("VDI_METRICS_INTERVAL is \"often\": use a number of seconds from 5 to 300");
    sidecar.first_poll();
}
