//! Failures of the driver's library.

use std::time::{Duration, Instant, SystemTime};

use fake_nvml::{Behaviour, Scenario, Symbol};
use kit::exposition::Exposition;
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, pod_fixture::PodFixture, running_sidecar::*};

#[test]
fn a_missing_library_is_reported_and_does_not_stop_the_sidecar() {
    let sidecar =
        RunningSidecar::start(&busy_gpu(), &[(env::NVML_LIBRARY, "/nowhere/libnvidia-ml.so.1"), FAST]);
    let seen = sidecar.first_poll();
    assert_eq!(unavailable(&seen), "library_missing");
    assert_eq!(seen.value("vdi_metrics_collect_success", &[]), Some(0.0));
    assert_eq!(
        seen.value("vdi_metrics_nvml_errors_total", &[("call", "init"), ("code", "library_missing")]),
        Some(1.0)
    );
}

#[test]
fn a_library_that_appears_later_is_opened() {
    let folder = kit::tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let sidecar = RunningSidecar::start(&busy_gpu(), &[(env::NVML_LIBRARY, library.to_str().unwrap()), FAST]);
    assert_eq!(unavailable(&sidecar.first_poll()), "library_missing");
    std::os::unix::fs::symlink(fake_nvml::library().unwrap(), library).unwrap();
    sidecar.scrape_until("the GPU", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
}

/// As on nodes whose container runtime does not tell the loader where the library is.
#[test]
fn the_library_is_searched_where_platforms_put_it() {
    let hidden = kit::tempfile::tempdir().unwrap();
    // The loader takes the first file of this name and fails, so that a driver of this machine is not found.
    std::fs::write(hidden.path().join("libnvidia-ml.so.1"), "").unwrap();
    let settings = [(env::NVML_LIBRARY, ""), ("LD_LIBRARY_PATH", hidden.path().to_str().unwrap())];
    let start = |library: Option<&str>| {
        let mut pod = PodFixture::default();
        pod.library = library.map(Into::into);
        RunningSidecar::start_in_pod(&pod, &busy_gpu(), &settings).first_poll()
    };
    assert_eq!(unavailable(&start(None)), "library_missing");
    for folder in ["usr/local/nvidia/lib64", "usr/lib64", "run/nvidia/driver/usr/lib/x86_64-linux-gnu"] {
        let seen = start(Some(&format!("{folder}/libnvidia-ml.so.1")));
        assert_eq!(seen.value(AVAILABLE, &[]), Some(1.0), "{folder}");
        let missing = seen.value(ERRORS, &[("call", "init"), ("code", "library_missing")]);
        assert_eq!(missing, None, "{folder}");
    }
}

/// The counter of a driver that was loaded again starts at 0.
#[test]
fn an_energy_counter_that_restarts_does_not_lower_the_total() {
    let with = |millijoules| {
        let mut scenario = busy_gpu();
        scenario.devices[0].energy_millijoules = Some(millijoules);
        scenario
    };
    let sidecar = RunningSidecar::start(&with(5_000_000), &[FAST]);
    sidecar.first_poll();
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

/// An older driver, or a library that is not NVIDIA's, can lack these functions.
#[test]
fn a_library_without_closing_functions_can_be_reopened() {
    let folder = kit::tempfile::tempdir().unwrap();
    for symbol in ["nvmlShutdown", "nvmlEventSetFree"] {
        let library = fake_nvml::library_without(symbol, folder.path()).unwrap();
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some(vec![]);
        let sidecar =
            RunningSidecar::start(&scenario, &[FAST, (env::NVML_LIBRARY, library.to_str().unwrap())]);
        sidecar.first_poll();
        sidecar.play(&unloaded_driver());
        sidecar.scrape_until("the loss", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
        sidecar.play(&scenario);
        sidecar.scrape_until("the driver", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
        let (code, last) = sidecar.end();
        assert_eq!((code, &last["by"]), (Some(0), &serde_json::json!(["single_device", "good"])), "{symbol}");
    }
}

/// Loading a library holds a lock of the C library; so does an exit that runs destructors.
#[test]
fn a_library_that_hangs_at_loading_or_unloading_delays_neither_scrapes_nor_the_exit() {
    let hanging = Scenario { loading_ms: 600_000, ..busy_gpu() };
    let sidecar = RunningSidecar::start(&hanging, &[]);
    for _ in 0..3 {
        assert_eq!(unavailable(&sidecar.scrape()), "starting");
    }
    assert_eq!(sidecar.end().0, Some(0));
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_poll();
    sidecar.play(&hanging);
    let start = Instant::now();
    let (code, last) = sidecar.end();
    assert_eq!((code, &last["ended"]), (Some(0), &true.into()));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// A driver that is not loaded: no call works, and the library cannot be opened again.
fn unloaded_driver() -> Scenario {
    let mut scenario = failing(Symbol::nvmlInit_v2, 9);
    scenario
        .calls
        .insert(Symbol::nvmlDeviceGetCount_v2, Behaviour { returns: Some(1), ..Behaviour::default() });
    scenario
}

#[test]
fn a_driver_that_was_unloaded_is_opened_when_it_returns() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_poll();
    sidecar.play(&unloaded_driver());
    let reason = "vdi_session_gpu_unavailable_info";
    sidecar.scrape_until("the loss", |seen| seen.value(reason, &[("reason", "driver_not_loaded")]).is_some());
    sidecar.play(&busy_gpu());
    sidecar.scrape_until("the driver", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
}

#[test]
fn a_scrape_shows_the_last_snapshot_while_the_driver_hangs() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_poll();
    sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let seen =
        sidecar.scrape_until("an old snapshot", |seen| seen.value(LAST_COLLECT, &[]) < Some(now() - 0.5));
    assert_eq!(seen.value("vdi_session_gpu_utilization_ratio", &[("gpu", UUID)]), Some(1.0));
}

#[test]
fn no_value_is_exposed_before_the_first_poll() {
    let sidecar = RunningSidecar::start(&hanging(Symbol::nvmlInit_v2), &[]);
    let seen = sidecar.scrape();
    assert_eq!(unavailable(&seen), "starting");
    for absent in [LAST_COLLECT, "vdi_metrics_collect_success", BUSY] {
        assert_eq!(seen.series(absent).count(), 0, "{absent}");
    }
}

#[test]
fn sigterm_stops_the_sidecar_within_a_second_even_if_the_driver_hangs() {
    // The fastest of three, because the machine may be busy.
    let ends = (0..3).map(|_| {
        let sidecar = RunningSidecar::start(&hanging(Symbol::nvmlDeviceGetCount_v2), &[]);
        sidecar.scrape();
        let (status, took) = sidecar.process.terminate();
        assert_eq!(status.code(), Some(0));
        took
    });
    let fastest = ends.min().unwrap();
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

/// The driver refuses one value: no permission, another version of the structure, deprecated.
#[test]
fn a_refused_value_is_absent_and_its_call_is_made_once() {
    for code in [4, 25, 26] {
        let sidecar = RunningSidecar::start(&failing(Symbol::nvmlDeviceGetEncoderUtilization, code), &[FAST]);
        let seen = sidecar.scrape_until("ten polls", |seen| total(seen, "allocated", UUID) > 0.3);
        assert_eq!(seen.value(ERRORS, &[("call", "encoder")]), Some(1.0), "{code}");
        assert_eq!((seen.value(SUCCESS, &[]), seen.value(AVAILABLE, &[])), (Some(1.0), Some(1.0)), "{code}");
    }
}

#[test]
fn a_card_that_refuses_every_value_is_not_read() {
    let mut refused = failing(Symbol::nvmlDeviceGetUtilizationRates, 4);
    for symbol in [Symbol::nvmlDeviceGetMemoryInfo_v2, Symbol::nvmlDeviceGetMemoryInfo] {
        refused.calls.insert(symbol, Behaviour::failing(4));
    }
    let sidecar = RunningSidecar::start(&refused, &[FAST]);
    let first = sidecar.first_poll();
    sidecar.scrape_until("ten more polls", |seen| {
        assert_eq!(unavailable(seen), "driver_error");
        seen.value(LAST_COLLECT, &[]) > first.value(LAST_COLLECT, &[]).map(|at| at + 0.3)
    });
}

/// Unknown, invalid argument, not supported, version mismatch, deprecated, not ready, function not found (`nvitop#30`).
#[test]
fn memory_comes_from_the_older_call_if_the_newer_one_fails() {
    for code in [999, 2, 3, 25, 26, 27, 13] {
        let sidecar = RunningSidecar::start(&failing(Symbol::nvmlDeviceGetMemoryInfo_v2, code), &[FAST]);
        let seen = sidecar.first_poll();
        let used = seen.value("vdi_session_gpu_memory_used_bytes", &[]);
        assert_eq!(used, Some(f64::from(6 << 10 | 1 << 9) * f64::from(1 << 20)), "{code}");
        assert_eq!((seen.value(SUCCESS, &[]), seen.value(ERRORS, &[("call", "memory")])), (Some(1.0), None));
    }
}

/// The older call includes the driver's reserve, so that it would raise the peak.
#[test]
fn one_failure_of_the_newer_memory_call_does_not_change_the_call() {
    let mut scenario = failing(Symbol::nvmlDeviceGetMemoryInfo_v2, 999);
    scenario.calls.values_mut().for_each(|fails| (fails.after, fails.times) = (2, Some(1)));
    let sidecar = RunningSidecar::start(&scenario, &[FAST]);
    let seen =
        sidecar.scrape_until("the failure", |seen| seen.value(ERRORS, &[("call", "memory")]) == Some(1.0));
    let peak = seen.value("vdi_session_gpu_memory_peak_bytes", &[]);
    assert_eq!(peak, Some(f64::from(6 << 10) * f64::from(1 << 20)));
}
