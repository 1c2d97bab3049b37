//! The time in which no viewer used an allocated device.

use super::*;
use crate::gpu::ProcessKind;

const SHARED: DeviceScopes = DeviceScopes { device: Scope::Device, card: Scope::Device };

/// Seconds of both reasons: nobody connected, connected and unused.
fn idle(account: &Account) -> Option<(f64, f64)> {
    let idle = account.idle?;
    let [nobody, unused] = [IdleReason::NobodyConnected, IdleReason::ConnectedUnused];
    Some((idle.get(nobody), idle.get(unused)))
}

/// Reads a device with this utilisation every 15 s, with these viewers.
fn viewed(ratio: f64, viewers: &[Option<bool>]) -> Option<(f64, f64)> {
    let mut fixture = Fixture::new();
    for (number, has_viewer) in viewers.iter().enumerate() {
        fixture.has_viewer = *has_viewer;
        fixture.poll(15.0 * number as f64, SESSION, &window(ratio), None);
    }
    idle(&fixture.account)
}

/// Reads a device twice while a viewer is connected. Returns the seconds in which the session did not use it.
fn unused(scopes: DeviceScopes, reading: &Reading, own: Option<&OwnUsage>) -> Option<f64> {
    let mut fixture = Fixture { has_viewer: Some(true), ..Fixture::new() };
    fixture.poll(0.0, scopes, reading, own);
    fixture.poll(15.0, scopes, reading, own);
    idle(&fixture.account).map(|(_, unused)| unused)
}

fn own(processes: usize, sm: f64) -> OwnUsage {
    let processes = (0..processes as u32).map(|pid| (pid, ProcessKind::Compute)).collect();
    OwnUsage { processes, sm: Some(sm), all_sm: sm, ..OwnUsage::default() }
}

#[test]
fn time_with_the_same_viewers_at_both_readings_has_a_reason() {
    let (nobody, viewer) = (Some(false), Some(true));
    assert_eq!(viewed(0.0, &[nobody, nobody, nobody]), Some((30.0, 0.0)));
    assert_eq!(viewed(0.5, &[nobody, nobody]), Some((15.0, 0.0)), "the device works for nobody");
    assert_eq!(viewed(0.0, &[viewer, viewer]), Some((0.0, 15.0)));
    assert_eq!(viewed(0.0, &[nobody, viewer, viewer, nobody]), Some((0.0, 15.0)));
    assert_eq!(viewed(0.5, &[viewer, viewer]), Some((0.0, 0.0)));
}

#[test]
fn time_without_known_viewers_has_no_reason() {
    assert_eq!(viewed(0.0, &[None, None, None]), None);
    assert_eq!(viewed(0.0, &[Some(false), None, Some(false)]), Some((0.0, 0.0)));
    assert_eq!(viewed(0.0, &[None, Some(false), Some(false)]), Some((15.0, 0.0)));
}

#[test]
fn a_device_without_a_utilisation_has_no_idle_time() {
    assert_eq!(unused(SESSION, &Reading::default(), None), None);
    assert_eq!(unused(SHARED, &Reading::default(), Some(&own(1, 0.0))), Some(0.0), "the own part is known");
}

#[test]
fn a_device_is_unused_below_one_percent() {
    assert_eq!(unused(SESSION, &window(0.0099), None), Some(15.0));
    assert_eq!(unused(SESSION, &window(0.01), None), Some(0.0));
}

/// The samples decide, not the driver's last window.
#[test]
fn the_mean_since_the_last_reading_decides() {
    let mut fixture = Fixture { has_viewer: Some(true), ..Fixture::new() };
    for (seconds, reading) in [samples(100, 0.0), samples(115, 0.0)] {
        fixture.poll(seconds as f64, SESSION, &reading, None);
    }
    let (_, unused) = idle(&fixture.account).unwrap();
    assert!((14.9..=15.0).contains(&unused), "{unused}");
}

#[test]
fn a_process_on_the_device_is_a_use() {
    assert_eq!(unused(SESSION, &window(0.0), Some(&own(1, 0.0))), Some(0.0));
    assert_eq!(unused(SESSION, &window(0.0), Some(&own(0, 0.0))), Some(15.0));
    assert_eq!(unused(SESSION, &window(0.5), Some(&own(0, 0.0))), Some(0.0), "a process is not listed");
}

#[test]
fn work_of_other_sessions_on_a_shared_device_is_no_use() {
    assert_eq!(unused(SHARED, &window(0.9), Some(&own(0, 0.0))), Some(15.0));
    assert_eq!(unused(SHARED, &window(0.9), Some(&own(1, 0.3))), Some(0.0));
    assert_eq!(unused(SHARED, &window(0.9), None), Some(0.0), "the processes are not known");
    assert_eq!(unused(SHARED, &window(0.0), None), Some(15.0));
}

#[test]
fn a_long_gap_has_no_reason() {
    let mut fixture = Fixture { has_viewer: Some(false), ..Fixture::new() };
    for seconds in [0.0, 31.0, 46.0] {
        fixture.poll(seconds, SESSION, &window(0.0), None);
    }
    assert_eq!(idle(&fixture.account), Some((15.0, 0.0)));
}

#[test]
fn only_allocated_time_has_a_reason() {
    let mut fixture = Fixture { has_viewer: Some(false), ..Fixture::new() };
    fixture.poll(0.0, SESSION, &window(0.0), None);
    fixture.account.release();
    fixture.poll(100.0, SESSION, &window(0.0), None);
    fixture.account.show_only();
    fixture.add(115.0, SESSION, &window(0.0), None);
    fixture.poll(130.0, SESSION, &window(0.0), None);
    assert_eq!(idle(&fixture.account), Some((0.0, 0.0)));
}
