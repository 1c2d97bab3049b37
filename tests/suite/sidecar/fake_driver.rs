//! The fake driver itself: a test that plays a failure must know that the failure happens.

use std::fs;

use fake_nvml::{Behaviour, Device, Symbol};
use kit::exposition::Exposition;
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, running_sidecar::*};

#[test]
fn the_fake_driver_reports_an_invalid_scenario_by_file_and_field() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    // The file is replaced in one step, because a file that is being written is empty for a moment.
    let next = sidecar.scenario.with_extension("next");
    fs::write(&next, r#"{"devcies": []}"#).unwrap();
    fs::rename(next, &sidecar.scenario).unwrap();
    let line = sidecar.process.logged("fake_nvml: ");
    assert!(line.contains("scenario.json: unknown field `devcies`"), "{line}");
    sidecar.scrape_until("the failure", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
}

/// The calls for the second card fail three times after two calls. All others work.
#[test]
fn a_call_fails_for_one_device_as_often_as_the_scenario_says() {
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
    let memory = Behaviour { after: 2, times: Some(3), ..Behaviour::failing(10) };
    two.devices[1].calls = [(Symbol::nvmlDeviceGetMemoryInfo_v2, memory)].into();
    let sidecar = RunningSidecar::start(&two, &[FAST, (env::GPU_ACCESS, "claims")]);
    let failures = |seen: &Exposition| seen.value(ERRORS, &[("call", "memory"), ("code", "timeout")]);
    let poll = |seen: &Exposition| seen.value(LAST_COLLECT, &[]).unwrap();
    let third = sidecar.scrape_until("the third failure", |seen| failures(seen) == Some(3.0));
    let later = sidecar.scrape_until("ten more polls", |seen| poll(seen) > poll(&third) + 0.3);
    assert_eq!(failures(&later), Some(3.0));
}
