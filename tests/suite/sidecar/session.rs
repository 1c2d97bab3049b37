//! Totals and last words of a session, over time.

use super::*;

#[test]
fn an_annotation_is_followed_while_the_pod_lives() {
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER.into()), ..two.devices[0].clone() });
    let sidecar = Sidecar::start(&two, &[FAST]);
    assert_eq!(unavailable(&sidecar.first_read()), "several_devices");
    let busy = |seen: &Exposition, gpu| seen.value(BUSY, &[("gpu", gpu)]).unwrap_or_default();
    let info = |seen: &Exposition, gpu| seen.value("vdi_session_gpu_info", &[("gpu", gpu)]).is_some();
    sidecar.annotate(UUID);
    let first = sidecar.scrape_until("the first device", |seen| info(seen, UUID) && busy(seen, UUID) > 0.05);
    sidecar.annotate(&format!("{OTHER}::1"));
    let second = sidecar.scrape_until("the second", |seen| info(seen, OTHER) && busy(seen, OTHER) > 0.05);
    assert!(!info(&second, UUID));
    assert!(busy(&second, UUID) >= busy(&first, UUID), "what a device has done stays");
    let scope = |seen: &Exposition| {
        seen.series(BUSY).map(|series| series.labels["scope"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(scope(&second), ["session", "device"]);
    sidecar.annotate("pending");
    let lost =
        sidecar.scrape_until("no device", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
    assert_eq!(unavailable(&lost), "several_devices");
    assert!(busy(&lost, OTHER) >= busy(&second, OTHER));
}

/// Eight hours of work in 12 s, 2400 times as fast: a sample every 70 us for one every sixth of a second, and a read every
/// 10 ms for one every 24 s.
#[test]
fn a_days_totals_are_what_was_used() {
    const FASTER: u64 = 2400;
    let hour = 3_600_000_000 / FASTER;
    let begins_us = now_us() + 500_000;
    let samples = Samples {
        period_us: 166_667 / FASTER,
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
    };
    let used = samples.busy_seconds();
    let mut day = busy_gpu();
    day.devices[0].samples = Some(samples);
    let sidecar = Sidecar::start(&day, &[(env::INTERVAL, "0.01")]);
    std::thread::sleep(Duration::from_secs(13));
    let seen = sidecar.scrape();
    let of =
        |name: &str| seen.value(&format!("vdi_session_gpu_{name}_seconds_total"), &[("gpu", UUID)]).unwrap();
    let (busy, unsampled) = (of("busy"), of("unsampled"));
    assert!((busy - used).abs() <= used / 100.0, "{busy} of {used}, {unsampled} unsampled");
    let (start, now) =
        (seen.value("vdi_session_start_time_seconds", &[]).unwrap(), seen.value(LAST_COLLECT, &[]).unwrap());
    assert!((of("allocated") - (now - start)).abs() < 0.2, "{} of {}", of("allocated"), now - start);
}

#[test]
fn the_last_word_is_said_as_it_goes_and_at_the_end() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    let early = sidecar.word_until("work", |word| word["gpus"][0]["busy"].as_f64() > Some(0.2));
    assert_eq!((&early["v"], &early["ended"]), (&1.into(), &false.into()));
    let (code, last) = sidecar.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        (&last["ended"], &last["gpus"][0]["gpu"], &last["gpus"][0]["scope"]),
        (&true.into(), &UUID.into(), &"session".into())
    );
    assert!(last["gpus"][0]["busy"].as_f64() >= early["gpus"][0]["busy"].as_f64());
    assert_eq!(last["by"], serde_json::json!(["single_device", "good"]));
    assert_eq!(last["gpus"][0]["peak"], 6u64 << 30);
}

#[test]
fn a_hung_driver_does_not_keep_the_last_word_back_and_the_gpu_is_held_all_the_same() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.scrape_until("work", |seen| seen.value(BUSY, &[]) > Some(0.1));
    sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
    std::thread::sleep(Duration::from_secs(2));
    let (_, last) = sidecar.end();
    assert_eq!(last["ended"], true);
    assert!(last["gpus"][0]["busy"].as_f64() > Some(0.0));
    assert!(last["gpus"][0]["allocated"].as_u64() >= Some(2), "{last}");
}

#[test]
fn the_last_word_has_the_scope_that_holds_at_the_end() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.word_until("work", |word| word["gpus"][0]["busy"].as_f64() > Some(0.2));
    sidecar.annotate(&format!("{UUID}::3"));
    let word = sidecar.word_until("the annotation", |word| word["by"][0] == "handed_over");
    assert_eq!(word["gpus"][0]["scope"], "device");
    let seen = sidecar.scrape();
    let scopes =
        |name: &str| seen.series(name).map(|series| series.labels["scope"].clone()).collect::<Vec<_>>();
    assert_eq!(scopes("vdi_session_gpu_memory_peak_bytes"), ["device"]);
    assert_eq!(scopes(BUSY), ["session", "device"], "counters stay");
}

/// Its processes are gone by then, and its last word is of them all the same.
#[test]
fn the_last_word_of_a_shared_card_is_of_the_sessions_own() {
    let mut shared =
        with_a_process(7, vec![ProcessUtilization { pid: 7, sm: 10, ..ProcessUtilization::default() }]);
    let sidecar = Sidecar::start_in(&Container::shared(7, ""), &shared, &[FAST]);
    sidecar.annotate(&format!("{UUID}::1"));
    let word = sidecar.word_until("own work", |word| {
        word["gpus"][0]["scope"] == "session" && word["gpus"][0]["peak"] == 1u64 << 30
    });
    shared.devices[0].compute = Some(vec![]);
    sidecar.play(&shared);
    sidecar.scrape_until("their end", |seen| {
        seen.value("vdi_session_gpu_processes", &[("kind", "compute")]) == Some(0.0)
    });
    let (_, last) = sidecar.end();
    assert_eq!(
        (&last["gpus"][0]["scope"], &last["gpus"][0]["peak"]),
        (&"session".into(), &(1u64 << 30).into())
    );
    assert!(last["gpus"][0]["busy"].as_f64() >= word["gpus"][0]["busy"].as_f64());
}

#[test]
fn what_the_desktops_environment_said_is_remembered() {
    let desktop = format!("HOME=/home/alice\0NVIDIA_VISIBLE_DEVICES={UUID}\0");
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER.into()), ..two.devices[0].clone() });
    let sidecar = Sidecar::start_in(&Container::shared(7, &desktop), &two, &[FAST]);
    let word = sidecar.word_until("work", |word| word["by"] == serde_json::json!(["environment", "good"]));
    assert_eq!(word["gpus"][0]["scope"], "device");
    fs::remove_dir_all(sidecar.root.join("proc/7")).unwrap();
    sidecar.word_until("its end", |word| word["by"][1] == "remembered");
    assert_eq!(sidecar.end().1["by"], serde_json::json!(["environment", "remembered"]));
}

/// After the wall clock was set back what is known is of a time to come.
#[test]
fn own_work_is_counted_again_after_the_clock_was_set_back() {
    let at = |at_us| {
        with_a_process(7, vec![ProcessUtilization { pid: 7, sm: 50, at_us, ..ProcessUtilization::default() }])
    };
    let in_an_hour = Some(now_us() + 3_600_000_000);
    let sidecar = Sidecar::start_in(&Container::shared(7, ""), &at(in_an_hour), &[FAST]);
    sidecar.annotate(&format!("{UUID}::1"));
    sidecar.word_until("the annotation", |word| word["by"][0] == "handed_over");
    sidecar.play(&at(None));
    sidecar.scrape_until("own work", |seen| seen.value(BUSY, &[("scope", "session")]) > Some(0.5));
}

#[test]
fn processes_come_and_go_and_are_remembered() {
    let at_work = two_and_a_process_on_the_other();
    let mut two = at_work.clone();
    two.devices[1].compute = Some(vec![]);
    let sidecar = Sidecar::start_in(&Container::shared(7, ""), &two, &[FAST]);
    let first = sidecar.first_read();
    assert_eq!(unavailable(&first), "several_devices");
    let by = |seen: &Exposition, confidence: &str| {
        let labels = [("strategy", "processes"), ("confidence", confidence)];
        seen.value("vdi_session_gpu_attribution_info", &labels) == Some(1.0)
    };
    sidecar.play(&at_work);
    let working =
        sidecar.scrape_until("the process", |seen| by(seen, "exact") && total(seen, "busy", OTHER) > 0.1);
    assert_eq!(working.series("vdi_session_gpu_info").count(), 1);
    sidecar.play(&two);
    let idle = sidecar.scrape_until("its end", |seen| by(seen, "remembered"));
    let later = sidecar
        .scrape_until("time", |seen| total(seen, "allocated", OTHER) > total(&idle, "allocated", OTHER));
    assert!(total(&later, "busy", OTHER) >= total(&working, "busy", OTHER));
    // Somebody who knows better.
    sidecar.annotate(UUID);
    let told = sidecar.scrape_until("the annotation", |seen| total(seen, "busy", UUID) > 0.0);
    assert!(total(&told, "busy", OTHER) >= total(&later, "busy", OTHER), "what a device has done stays");
    let held = total(&told, "allocated", OTHER);
    let later =
        sidecar.scrape_until("time", |seen| total(seen, "allocated", UUID) > total(&told, "allocated", UUID));
    assert_eq!(total(&later, "allocated", OTHER), held, "it is let go");
}

/// Two desktops on one card, and one that has a card of its own: what dashboards add up.
#[test]
fn a_sum_over_sessions_is_what_the_cards_did() {
    let at = |percent, millijoules, mut scenario: Scenario| {
        scenario.devices[0].utilization = Some(Utilization { gpu: percent, memory: 0 });
        scenario.devices[0].energy_millijoules = Some(millijoules);
        scenario
    };
    let shared = |pid, sm, millijoules| {
        at(
            50,
            millijoules,
            with_a_process(pid, vec![ProcessUtilization { pid, sm, ..ProcessUtilization::default() }]),
        )
    };
    let alone = |millijoules| {
        let mut scenario = at(80, millijoules, busy_gpu());
        scenario.devices[0].uuid = Some(OTHER.into());
        scenario
    };
    let plays = |millijoules| [shared(7, 30, millijoules), shared(8, 20, millijoules), alone(millijoules)];
    let containers = [Container::shared(7, ""), Container::shared(8, ""), Container::default()];
    let starts = containers.iter().zip(plays(1_000_000));
    let sidecars: Vec<Sidecar> =
        starts.map(|(container, play)| Sidecar::start_in(container, &play, &[FAST])).collect();
    sidecars[0].annotate(&format!("{UUID}::0"));
    sidecars[1].annotate(&format!("{UUID}::1"));
    let attributed = "vdi_session_gpu_energy_attributed_joules_total";
    for sidecar in &sidecars[..2] {
        sidecar.scrape_until("a share", |seen| seen.value(attributed, &[("gpu", UUID)]).is_some());
    }
    sidecars[2].first_read();
    for (sidecar, play) in sidecars.iter().zip(plays(1_100_000)) {
        sidecar.play(&play);
        sidecar.scrape_until("the energy", |seen| seen.value(attributed, &[]) > Some(0.0));
    }
    let seen: Vec<Exposition> = sidecars.iter().map(Sidecar::scrape).collect();
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        seen.iter().filter_map(|seen| seen.value(name, labels)).sum()
    };
    let utilization = sum("vdi_session_gpu_utilization_ratio", &[("scope", "session")]);
    assert!((utilization - (0.5 + 0.8)).abs() < 1e-9, "{utilization}");
    let joules = sum(attributed, &[]);
    assert!((joules - 200.0).abs() < 1e-6, "100 J of each card: {joules}");
    let memory = sum("vdi_session_gpu_memory_used_bytes", &[("scope", "session")]);
    assert_eq!(memory, f64::from(1 << 30) * (1.0 + 1.0 + 6.0));
}

/// The driver's sample of it stays where it is while nothing else happens.
#[test]
fn work_of_the_sessions_own_is_counted_once() {
    let mut shared = with_a_process(7, vec![]);
    shared.devices.push(Device {
        uuid: Some(OTHER.into()),
        compute: Some(vec![]),
        ..shared.devices[0].clone()
    });
    let sidecar = Sidecar::start_in(&Container::shared(7, ""), &shared, &[(env::INTERVAL, "0.5")]);
    sidecar.first_read();
    shared.devices[0].process_utilization = Some(vec![ProcessUtilization {
        pid: 7,
        sm: 100,
        at_us: Some(now_us()),
        ..ProcessUtilization::default()
    }]);
    sidecar.play(&shared);
    let own =
        |seen: &Exposition| seen.value(BUSY, &[("gpu", UUID), ("scope", "session")]).unwrap_or_default();
    let first = sidecar.scrape_until("own work", |seen| own(seen) > 0.0);
    let later = sidecar
        .scrape_until("time", |seen| total(seen, "allocated", UUID) > total(&first, "allocated", UUID) + 1.2);
    assert_eq!(own(&later), own(&first));
}

#[test]
fn a_bad_setting_is_named_and_the_default_used() {
    let sidecar = Sidecar::start(&busy_gpu(), &[(env::INTERVAL, "often")]);
    sidecar.process.logged("VDI_METRICS_INTERVAL is \"often\": use a number of seconds from 5 to 300");
    sidecar.first_read();
}
