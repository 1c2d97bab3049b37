//! The termination message of a session.

use std::{fs, time::Duration};

use fake_nvml::{ProcessUtilization, Symbol};

use super::{driver_scenarios::*, pod_fixture::PodFixture, running_sidecar::*};

#[test]
fn the_message_is_written_at_every_poll_and_at_the_end() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    let early = sidecar.message_until("busy time", |message| message["gpus"][0]["busy"].as_f64() > Some(0.2));
    assert_eq!((&early["v"], &early["ended"]), (&2.into(), &false.into()));
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
fn a_hung_driver_neither_delays_the_message_nor_stops_allocated_time() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.scrape_until("busy time", |seen| seen.value(BUSY, &[]) > Some(0.1));
    sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
    std::thread::sleep(Duration::from_secs(2));
    let (_, last) = sidecar.end();
    assert_eq!(last["ended"], true);
    assert!(last["gpus"][0]["busy"].as_f64() > Some(0.0));
    assert!(last["gpus"][0]["allocated"].as_u64() >= Some(2), "{last}");
}

#[test]
fn the_message_has_the_scope_of_the_last_poll() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.message_until("busy time", |message| message["gpus"][0]["busy"].as_f64() > Some(0.2));
    sidecar.annotate(&format!("{UUID}::3"));
    let message = sidecar.message_until("the annotation", |message| message["by"][0] == "handed_over");
    assert_eq!(message["gpus"][0]["scope"], "device");
    let seen = sidecar.scrape();
    let scopes =
        |name: &str| seen.series(name).map(|series| series.labels["scope"].clone()).collect::<Vec<_>>();
    assert_eq!(scopes("vdi_session_gpu_memory_peak_bytes"), ["device"]);
    assert_eq!(scopes(BUSY), ["session", "device"], "counters stay");
}

#[test]
fn the_message_is_written_when_the_full_disk_has_space_again() {
    let sidecar = RunningSidecar::start_in_pod(&PodFixture::on_a_full_disk(), &busy_gpu(), &[FAST]);
    let failed = "Cannot write the termination message";
    sidecar.process.logged(failed);
    sidecar.scrape_until("ten polls", |seen| total(seen, "allocated", UUID) > 0.3);
    let log = sidecar.root.join("dev/termination-log");
    fs::remove_file(&log).unwrap();
    fs::write(&log, "").unwrap();
    sidecar.message_until("the message", |message| message["gpus"][0]["gpu"] == UUID);
    sidecar.process.logged("The termination message can be written again");
    let lines = sidecar.process.log();
    assert_eq!(lines.matches(failed).count(), 1, "{lines}");
}

/// The session's processes end before the session, and their values stay in the message.
#[test]
fn the_message_of_a_shared_card_has_the_sessions_own_values() {
    let mut shared =
        gpu_with_process(7, vec![ProcessUtilization { pid: 7, sm: 10, ..ProcessUtilization::default() }]);
    let sidecar = RunningSidecar::start_in_pod(&PodFixture::shared(7, ""), &shared, &[FAST]);
    sidecar.annotate(&format!("{UUID}::1"));
    let message = sidecar.message_until("own busy time", |message| {
        message["gpus"][0]["scope"] == "session" && message["gpus"][0]["peak"] == 1u64 << 30
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
    assert!(last["gpus"][0]["busy"].as_f64() >= message["gpus"][0]["busy"].as_f64());
}
