//! Devices that are lost or removed, and their return.

use std::fs;

use fake_nvml::{Behaviour, Device, Memory, Scenario, Symbol};
use kit::exposition::Exposition;
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, pod_fixture::PodFixture, running_sidecar::*};

/// Number of failed attempts to read a lost device.
fn attempts(seen: &Exposition) -> f64 {
    seen.value(ERRORS, &[("call", "device_handle"), ("code", "gpu_lost")]).unwrap_or_default()
}

/// Waits until the library was opened again with the device still lost; the session must not lose the device then.
#[test]
fn a_lost_gpu_stays_allocated_and_is_read_again_when_it_returns() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    let before = sidecar.scrape_until("busy seconds", |seen| total(seen, "busy", UUID) > 0.1);

    let mut lost = busy_gpu();
    lost.devices[0].lost = true;
    sidecar.play(&lost);
    let gone = sidecar.scrape_until("the third attempt", |seen| attempts(seen) >= 3.0);
    assert_eq!(unavailable(&gone), "gpu_lost");
    assert_eq!(gone.value(SUCCESS, &[]), Some(0.0));
    assert!(total(&gone, "busy", UUID) >= total(&before, "busy", UUID));
    let later = sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "allocated", UUID) > total(&gone, "allocated", UUID)
    });
    assert!(
        total(&later, "unsampled", UUID) > total(&before, "unsampled", UUID),
        "no sample covers the time without the device"
    );

    sidecar.play(&busy_gpu());
    let back = sidecar.scrape_until("the return", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
    assert!(total(&back, "busy", UUID) >= total(&later, "busy", UUID));
    sidecar.scrape_until("more busy seconds", |seen| total(seen, "busy", UUID) > total(&back, "busy", UUID));
    assert_eq!(sidecar.scrape().value(SUCCESS, &[]), Some(1.0));
}

#[test]
fn one_lost_gpu_of_two_is_reported_until_it_returns() {
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
    let sidecar = RunningSidecar::start(&two, &[FAST, (env::GPU_ACCESS, "claims")]);
    sidecar.scrape_until("both", |seen| total(seen, "busy", OTHER_UUID) > 0.05);
    let mut lost = two.clone();
    lost.devices[1].lost = true;
    sidecar.play(&lost);
    let gone = sidecar.scrape_until("the second attempt", |seen| attempts(seen) >= 2.0);
    for seen in [
        &gone,
        &sidecar.scrape_until("more allocated time", |seen| {
            total(seen, "allocated", OTHER_UUID) > total(&gone, "allocated", OTHER_UUID)
        }),
    ] {
        assert_eq!(
            seen.value("vdi_session_gpu_unavailable_info", &[("reason", "gpu_lost"), ("gpu", OTHER_UUID)]),
            Some(1.0)
        );
        assert_eq!((seen.value(AVAILABLE, &[]), seen.value(SUCCESS, &[])), (Some(1.0), Some(0.0)));
    }
    sidecar.play(&two);
    sidecar.scrape_until("the return", |seen| {
        seen.value(SUCCESS, &[]) == Some(1.0)
            && total(seen, "busy", OTHER_UUID) > total(&gone, "busy", OTHER_UUID)
    });
}

/// The annotation names the lost device, so it stays allocated although it is not visible.
#[test]
fn own_lost_gpu_stays_allocated_while_a_neighbours_gpu_is_visible() {
    let mut two = busy_gpu();
    two.devices.insert(0, Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
    let sidecar = RunningSidecar::start(&two, &[FAST]);
    sidecar.first_poll();
    sidecar.annotate(UUID);
    sidecar.scrape_until("busy time", |seen| total(seen, "busy", UUID) > 0.05);
    let mut lost = two.clone();
    lost.devices[1].lost = true;
    sidecar.play(&lost);
    let gone = sidecar.scrape_until("the second attempt", |seen| attempts(seen) >= 2.0);
    assert_eq!(unavailable(&gone), "gpu_lost");
    sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "allocated", UUID) > total(&gone, "allocated", UUID)
    });
    sidecar.play(&two);
    sidecar.scrape_until("the return", |seen| total(seen, "busy", UUID) > total(&gone, "busy", UUID));
}

/// A broker assigns another card when one is broken.
#[test]
fn a_lost_gpu_is_released_when_the_annotation_names_another() {
    let mut two = busy_gpu();
    two.devices.insert(0, Device { uuid: Some(OTHER_UUID.into()), minor: Some(0), ..two.devices[0].clone() });
    two.devices[1].minor = Some(1);
    let sidecar = RunningSidecar::start(&two, &[FAST]);
    sidecar.annotate("nvidia1");
    sidecar.scrape_until("busy time", |seen| total(seen, "busy", UUID) > 0.05);
    two.devices[1].lost = true;
    sidecar.play(&two);
    sidecar.scrape_until("the second attempt", |seen| attempts(seen) >= 2.0);
    // The annotation names the device file by its number, as on GKE.
    sidecar.annotate("nvidia0");
    let other = sidecar.scrape_until("the other", |seen| total(seen, "busy", OTHER_UUID) > 0.0);
    let later = sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "busy", OTHER_UUID) > total(&other, "busy", OTHER_UUID)
    });
    assert_eq!(total(&later, "allocated", UUID), total(&other, "allocated", UUID));
    assert_eq!(later.series("vdi_session_gpu_unavailable_info").count(), 0);
    assert_eq!(later.value(SUCCESS, &[]), Some(1.0));
}

/// A reset of the card removes its slices, and an administrator creates them again.
#[test]
fn a_slice_that_is_created_again_is_read_again() {
    let slice = "MIG-9a1f0c77-52de-5c1b-8e43-0b6d2f7a4c19";
    let mut mig = busy_gpu();
    mig.devices[0].mig = Some(true);
    let memory = Some(Memory { total: 1 << 30, reserved: 0, used: 1 << 20 });
    let device = Device { uuid: Some(slice.into()), memory, ..Device::default() };
    mig.devices[0].slices = vec![device];
    let sidecar = RunningSidecar::start(&mig, &[FAST]);
    sidecar.annotate(slice);
    sidecar.scrape_until("the slice", |seen| total(seen, "allocated", slice) > 0.05);
    let mut reset = mig.clone();
    reset.devices[0].slices.clear();
    sidecar.play(&reset);
    let gone = sidecar.scrape_until("the end", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
    sidecar.scrape_until("more allocated time", |seen| {
        total(seen, "allocated", slice) > total(&gone, "allocated", slice)
    });
    sidecar.play(&mig);
    sidecar.scrape_until("the return", |seen| seen.value(AVAILABLE, &[]) == Some(1.0));
}

/// The session's card is removed, and only a neighbour's card remains visible.
#[test]
fn a_neighbours_gpu_does_not_replace_the_sessions_removed_gpu() {
    let pod = PodFixture::shared(7, "");
    for node_totals in [false, true] {
        let mut two = two_gpus_with_a_process_on_the_second();
        let settings = [FAST, (env::NODE_TOTALS, "all")];
        let sidecar = RunningSidecar::start_in_pod(&pod, &two, &settings[..1 + usize::from(node_totals)]);
        sidecar.scrape_until("busy time", |seen| total(seen, "busy", OTHER_UUID) > 0.05);
        two.devices.pop();
        sidecar.play(&two);
        let gone = sidecar.scrape_until("the end", |seen| {
            seen.value("vdi_session_gpu_unavailable_info", &[("reason", "not_visible")]).is_some()
        });
        let later = sidecar.scrape_until("more allocated time", |seen| {
            total(seen, "allocated", OTHER_UUID) > total(&gone, "allocated", OTHER_UUID)
        });
        assert_eq!(later.value(BUSY, &[("gpu", UUID), ("scope", "session")]), None);
        assert_eq!(later.value("vdi_session_gpu_allocated_seconds_total", &[("gpu", UUID)]), None);
        assert_eq!(later.value(SUCCESS, &[]), Some(0.0));
    }
}

/// Number of times that the library is opened until the session's card was read several times. The scenario becomes `later` after
/// the first poll.
fn openings(pod: &PodFixture, first: &Scenario, later: &Scenario, gpu: &str) -> usize {
    let log = kit::tempfile::NamedTempFile::new().unwrap();
    let settings = [FAST, (fake_nvml::CALL_LOG, log.path().to_str().unwrap())];
    let sidecar = RunningSidecar::start_in_pod(pod, first, &settings);
    sidecar.scrape_until("the card", |seen| total(seen, "allocated", gpu) > 0.0);
    sidecar.play(later);
    let before = sidecar.scrape();
    sidecar.scrape_until("ten more polls", |seen| {
        assert_eq!(seen.value(AVAILABLE, &[]), Some(1.0));
        total(seen, "busy", gpu) > total(&before, "busy", gpu) + 0.3
    });
    fs::read_to_string(log.path()).unwrap().lines().filter(|line| line.starts_with("nvmlInit")).count()
}

/// In a container the driver may refuse to open the library again (`nvidia-container-toolkit#1227`).
#[test]
fn a_neighbours_broken_gpu_is_no_reason_to_close_the_library() {
    let broken: [fn(&mut Device); 4] = [
        |neighbour| neighbour.uuid = None,
        |neighbour| neighbour.lost = true,
        |neighbour| neighbour.calls = [(Symbol::nvmlDeviceGetMigMode, Behaviour::failing(999))].into(),
        |neighbour| neighbour.calls = [(Symbol::nvmlDeviceGetUUID, Behaviour::failing(4))].into(),
    ];
    for (kind, breaks) in broken.into_iter().enumerate() {
        let mut two = busy_gpu();
        two.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
        breaks(&mut two.devices[1]);
        assert_eq!(openings(&PodFixture::annotated(UUID), &two, &two, UUID), 1, "kind {kind}");
    }
    // The process lists of all cards are read.
    let two = two_gpus_with_a_process_on_the_second();
    let mut lost = two.clone();
    lost.devices[0].lost = true;
    assert_eq!(openings(&PodFixture::shared(7, ""), &two, &lost, OTHER_UUID), 1);
}
