//! What a driver can do to the sidecar, and what is then seen of it.

use super::*;

#[test]
fn faults_of_the_card_are_counted_by_number() {
    let with = |xids: &[u64]| {
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some(xids.to_vec());
        scenario
    };
    let sidecar = Sidecar::start(&with(&[31]), &[(env::INTERVAL, "0.3")]);
    sidecar.first_read();
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
    assert_eq!(count(&seen, "31"), None, "that was before the session");
}

#[test]
fn a_card_in_agony_is_not_listened_to_without_a_breath() {
    let with = |count: u64| {
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some((0..count).map(|_| 79).collect());
        scenario
    };
    let sidecar = Sidecar::start(&with(0), &[(env::INTERVAL, "0.5")]);
    sidecar.first_read();
    sidecar.play(&with(100_000));
    let count = |seen: &Exposition| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("xid", "79")]).unwrap_or_default()
    };
    let first = sidecar.scrape_until("faults", |seen| count(seen) > 0.0);
    let asked = Instant::now();
    let later = sidecar.scrape_until("many", |seen| count(seen) > count(&first) + 50.0);
    let a_second = (count(&later) - count(&first)) / asked.elapsed().as_secs_f64();
    // A hundred, and what a snapshot of half a second ago makes of the first.
    assert!(a_second < 250.0, "{a_second}");
}

#[test]
fn listening_is_begun_anew_after_it_has_failed() {
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
    let sidecar = Sidecar::start(&with(&[], true), &[FAST]);
    sidecar.scrape_until("the failure", |seen| seen.value(ERRORS, &[("call", "events")]) > Some(0.0));
    sidecar.play(&with(&[], false));
    let failures = sidecar.first_read().value(ERRORS, &[("call", "events")]);
    std::thread::sleep(Duration::from_millis(300));
    sidecar.play(&with(&[48], false));
    let seen = sidecar.scrape_until("the fault", |seen| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("xid", "48")]) == Some(1.0)
    });
    assert!(seen.value(ERRORS, &[("call", "events")]) <= failures.map(|count| count + 1.0));
}

#[test]
fn without_a_library_it_lives_and_says_so() {
    let sidecar = Sidecar::start(&busy_gpu(), &[(env::NVML_LIBRARY, "/nowhere/libnvidia-ml.so.1"), FAST]);
    let seen = sidecar.first_read();
    assert_eq!(unavailable(&seen), "library_missing");
    assert_eq!(seen.value("vdi_metrics_collect_success", &[]), Some(0.0));
    assert_eq!(
        seen.value("vdi_metrics_nvml_errors_total", &[("call", "init"), ("code", "library_missing")]),
        Some(1.0)
    );
}

#[test]
fn a_library_that_appears_is_opened() {
    let folder = kit::tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let sidecar = Sidecar::start(&busy_gpu(), &[(env::NVML_LIBRARY, library.to_str().unwrap()), FAST]);
    assert_eq!(unavailable(&sidecar.first_read()), "library_missing");
    std::os::unix::fs::symlink(fake_nvml::library().unwrap(), library).unwrap();
    sidecar.scrape_until("the GPU", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
}

/// How often a lost device was asked for in vain.
fn tries(seen: &Exposition) -> f64 {
    seen.value(ERRORS, &[("call", "device_handle"), ("code", "gpu_lost")]).unwrap_or_default()
}

/// Long enough for the library to have been opened anew with the device still lost, which is no reason to forget it.
#[test]
fn a_lost_gpu_is_held_on_to_and_found_again() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    let before = sidecar.scrape_until("busy seconds", |seen| total(seen, "busy", UUID) > 0.1);

    let mut lost = busy_gpu();
    lost.devices[0].lost = true;
    sidecar.play(&lost);
    let gone = sidecar.scrape_until("the third try", |seen| tries(seen) >= 3.0);
    assert_eq!(unavailable(&gone), "gpu_lost");
    assert_eq!(gone.value(SUCCESS, &[]), Some(0.0));
    assert!(total(&gone, "busy", UUID) >= total(&before, "busy", UUID));
    let later =
        sidecar.scrape_until("time", |seen| total(seen, "allocated", UUID) > total(&gone, "allocated", UUID));
    assert!(total(&later, "unsampled", UUID) > total(&before, "unsampled", UUID), "nobody saw it work");

    sidecar.play(&busy_gpu());
    let back = sidecar.scrape_until("the return", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
    assert!(total(&back, "busy", UUID) >= total(&later, "busy", UUID));
    sidecar.scrape_until("more busy seconds", |seen| total(seen, "busy", UUID) > total(&back, "busy", UUID));
    assert_eq!(sidecar.scrape().value(SUCCESS, &[]), Some(1.0));
}

#[test]
fn one_of_two_that_is_lost_is_named_until_it_is_back() {
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER.into()), ..two.devices[0].clone() });
    let sidecar = Sidecar::start(&two, &[FAST, (env::GPU_ACCESS, "claims")]);
    sidecar.scrape_until("both", |seen| total(seen, "busy", OTHER) > 0.05);
    let mut lost = two.clone();
    lost.devices[1].lost = true;
    sidecar.play(&lost);
    let gone = sidecar.scrape_until("the second try", |seen| tries(seen) >= 2.0);
    for seen in [
        &gone,
        &sidecar
            .scrape_until("time", |seen| total(seen, "allocated", OTHER) > total(&gone, "allocated", OTHER)),
    ] {
        assert_eq!(
            seen.value("vdi_session_gpu_unavailable_info", &[("reason", "gpu_lost"), ("gpu", OTHER)]),
            Some(1.0)
        );
        assert_eq!((seen.value(AVAILABLE, &[]), seen.value(SUCCESS, &[])), (Some(1.0), Some(0.0)));
    }
    sidecar.play(&two);
    sidecar.scrape_until("the return", |seen| {
        seen.value(SUCCESS, &[]) == Some(1.0) && total(seen, "busy", OTHER) > total(&gone, "busy", OTHER)
    });
}

/// Its name is known, and it is not there to be seen: that is no reason to let go of it.
#[test]
fn one_that_is_lost_beside_anothers_is_held_on_to() {
    let mut two = busy_gpu();
    two.devices.insert(0, Device { uuid: Some(OTHER.into()), ..two.devices[0].clone() });
    let sidecar = Sidecar::start(&two, &[FAST]);
    sidecar.first_read();
    sidecar.annotate(UUID);
    sidecar.scrape_until("work", |seen| total(seen, "busy", UUID) > 0.05);
    let mut lost = two.clone();
    lost.devices[1].lost = true;
    sidecar.play(&lost);
    let gone = sidecar.scrape_until("the second try", |seen| tries(seen) >= 2.0);
    assert_eq!(unavailable(&gone), "gpu_lost");
    sidecar.scrape_until("time", |seen| total(seen, "allocated", UUID) > total(&gone, "allocated", UUID));
    sidecar.play(&two);
    sidecar.scrape_until("the return", |seen| total(seen, "busy", UUID) > total(&gone, "busy", UUID));
}

/// What a broker does with a broken card.
#[test]
fn one_that_is_lost_is_let_go_of_where_another_is_named() {
    let mut two = busy_gpu();
    two.devices.insert(0, Device { uuid: Some(OTHER.into()), minor: Some(0), ..two.devices[0].clone() });
    two.devices[1].minor = Some(1);
    let sidecar = Sidecar::start(&two, &[FAST]);
    sidecar.annotate("nvidia1");
    sidecar.scrape_until("work", |seen| total(seen, "busy", UUID) > 0.05);
    two.devices[1].lost = true;
    sidecar.play(&two);
    sidecar.scrape_until("the second try", |seen| tries(seen) >= 2.0);
    // By the number of its device file, as GKE does.
    sidecar.annotate("nvidia0");
    let other = sidecar.scrape_until("the other", |seen| total(seen, "busy", OTHER) > 0.0);
    let later =
        sidecar.scrape_until("time", |seen| total(seen, "busy", OTHER) > total(&other, "busy", OTHER));
    assert_eq!(total(&later, "allocated", UUID), total(&other, "allocated", UUID));
    assert_eq!(later.series("vdi_session_gpu_unavailable_info").count(), 0);
    assert_eq!(later.value(SUCCESS, &[]), Some(1.0));
}

/// A reset takes the slices away, and somebody makes them again.
#[test]
fn a_slice_that_is_made_again_is_found() {
    let slice = "MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19";
    let mut cut = busy_gpu();
    cut.devices[0].mig = Some(true);
    let memory = Some(Memory { total: 1 << 30, reserved: 0, used: 1 << 20 });
    let of_slice = Device { uuid: Some(slice.into()), memory, ..Device::default() };
    cut.devices[0].slices = vec![of_slice];
    let sidecar = Sidecar::start(&cut, &[FAST]);
    sidecar.annotate(slice);
    sidecar.scrape_until("the slice", |seen| total(seen, "allocated", slice) > 0.05);
    let mut reset = cut.clone();
    reset.devices[0].slices.clear();
    sidecar.play(&reset);
    let gone = sidecar.scrape_until("its end", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
    sidecar.scrape_until("time", |seen| total(seen, "allocated", slice) > total(&gone, "allocated", slice));
    sidecar.play(&cut);
    sidecar.scrape_until("its return", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
}

/// A card that is taken away leaves its neighbour alone.
#[test]
fn a_neighbour_is_not_ours_because_our_own_is_gone() {
    let container = Container::shared(7, "");
    for node_totals in [false, true] {
        let mut two = two_and_a_process_on_the_other();
        let settings = [FAST, (env::NODE_TOTALS, "all")];
        let sidecar = Sidecar::start_in(&container, &two, &settings[..1 + usize::from(node_totals)]);
        sidecar.scrape_until("work", |seen| total(seen, "busy", OTHER) > 0.05);
        two.devices.pop();
        sidecar.play(&two);
        let gone = sidecar.scrape_until("its end", |seen| {
            seen.value("vdi_session_gpu_unavailable_info", &[("reason", "not_visible")]).is_some()
        });
        let later = sidecar
            .scrape_until("time", |seen| total(seen, "allocated", OTHER) > total(&gone, "allocated", OTHER));
        assert_eq!(later.value(BUSY, &[("gpu", UUID), ("scope", "session")]), None);
        assert_eq!(later.value("vdi_session_gpu_allocated_seconds_total", &[("gpu", UUID)]), None);
        assert_eq!(later.value(SUCCESS, &[]), Some(0.0));
    }
}

/// A driver that was loaded anew begins its counter at nothing.
#[test]
fn energy_that_runs_backwards_is_not_taken_back() {
    let with = |millijoules| {
        let mut scenario = busy_gpu();
        scenario.devices[0].energy_millijoules = Some(millijoules);
        scenario
    };
    let sidecar = Sidecar::start(&with(5_000_000), &[FAST]);
    sidecar.first_read();
    let joules = |seen: &Exposition| seen.value("vdi_session_gpu_energy_joules_total", &[]).unwrap();
    let reads = |more, joules_then: f64| {
        sidecar.play(&with(more));
        sidecar.scrape_until("the energy", |seen| (joules(seen) - joules_then).abs() < 1e-6);
    };
    reads(5_030_000, 30.0);
    sidecar.play(&with(10_000));
    sidecar.scrape_until("a clamp", |seen| {
        seen.value("vdi_metrics_clamped_values_total", &[("value", "energy")]) == Some(1.0)
    });
    assert_eq!(joules(&sidecar.scrape()), 30.0);
    reads(25_000, 45.0);
}

/// From an older driver, or from one that is not NVIDIA's own.
#[test]
fn a_library_that_cannot_be_closed_is_lived_with() {
    let folder = kit::tempfile::tempdir().unwrap();
    for symbol in ["nvmlShutdown", "nvmlEventSetFree"] {
        let library = fake_nvml::library_without(symbol, folder.path()).unwrap();
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some(vec![]);
        let sidecar = Sidecar::start(&scenario, &[FAST, (env::NVML_LIBRARY, library.to_str().unwrap())]);
        sidecar.first_read();
        sidecar.play(&reloading());
        sidecar.scrape_until("the loss", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
        sidecar.play(&scenario);
        sidecar.scrape_until("the driver", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
        let (code, last) = sidecar.end();
        assert_eq!((code, &last["by"]), (Some(0), &serde_json::json!(["single_device", "good"])), "{symbol}");
    }
}

/// Loading holds a lock of the C library, and so does ending where destructors are run.
#[test]
fn a_library_that_hangs_while_it_is_loaded_or_unloaded_keeps_nobody_waiting() {
    let hanging = Scenario { loading_ms: 600_000, ..busy_gpu() };
    let sidecar = Sidecar::start(&hanging, &[]);
    for _ in 0..3 {
        assert_eq!(unavailable(&sidecar.scrape()), "starting");
    }
    assert_eq!(sidecar.end().0, Some(0));
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_read();
    sidecar.play(&hanging);
    let asked = Instant::now();
    let (code, last) = sidecar.end();
    assert_eq!((code, &last["ended"]), (Some(0), &true.into()));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

/// Neither there nor to be opened.
fn reloading() -> Scenario {
    let mut scenario = failing(Symbol::nvmlInit_v2, 9);
    scenario
        .calls
        .insert(Symbol::nvmlDeviceGetCount_v2, Behaviour { returns: Some(1), ..Behaviour::default() });
    scenario
}

#[test]
fn a_driver_that_goes_is_reopened_when_it_is_back() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_read();
    sidecar.play(&reloading());
    let reason = "vdi_session_gpu_unavailable_info";
    sidecar.scrape_until("the loss", |seen| seen.value(reason, &[("reason", "driver_not_loaded")]).is_some());
    sidecar.play(&busy_gpu());
    sidecar.scrape_until("the driver", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
}

#[test]
fn a_hung_driver_only_makes_the_snapshot_old() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_read();
    sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let seen =
        sidecar.scrape_until("an old snapshot", |seen| seen.value(LAST_COLLECT, &[]) < Some(now() - 0.5));
    assert_eq!(seen.value("vdi_session_gpu_utilization_ratio", &[("gpu", UUID)]), Some(1.0));
}

#[test]
fn before_the_first_read_nothing_is_claimed() {
    let sidecar = Sidecar::start(&hanging(Symbol::nvmlInit_v2), &[]);
    let seen = sidecar.scrape();
    assert_eq!(unavailable(&seen), "starting");
    for absent in [LAST_COLLECT, "vdi_metrics_collect_success", BUSY] {
        assert_eq!(seen.series(absent).count(), 0, "{absent}");
    }
}

#[test]
fn sigterm_ends_it_soon_even_in_a_hung_driver() {
    // The fastest of three, because the machine may be busy with something else.
    let ends = (0..3).map(|_| {
        let sidecar = Sidecar::start(&hanging(Symbol::nvmlDeviceGetCount_v2), &[]);
        sidecar.scrape();
        let (status, took) = sidecar.process.terminate();
        assert_eq!(status.code(), Some(0));
        took
    });
    let fastest = ends.min().unwrap();
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn a_broken_scenario_is_named_by_file_and_field() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    // In one step: a file that is being written is empty for a moment.
    let next = sidecar.scenario.with_extension("next");
    fs::write(&next, r#"{"devcies": []}"#).unwrap();
    fs::rename(next, &sidecar.scenario).unwrap();
    let line = sidecar.process.logged("fake_nvml: ");
    assert!(line.contains("scenario.json: unknown field `devcies`"), "{line}");
    sidecar.scrape_until("the failure", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
}
