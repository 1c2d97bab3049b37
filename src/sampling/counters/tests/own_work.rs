//! The work of the session's own processes on a shared device.

use super::*;

#[test]
fn the_work_of_own_processes_on_a_shared_card_has_the_scope_session() {
    let mut fixture = Fixture::new();
    let own = OwnUsage { sm: Some(0.2), memory: Some(100), encoder: Some(0.1), ..OwnUsage::default() };
    for (seconds, millijoules) in [(0.0, 0), (15.0, 30_000)] {
        let memory = Some(Memory { used: 900, total: 1000 });
        let reading = Reading { energy: Some(millijoules), memory, encoder: Some(0.6), ..window(0.8) };
        let scopes = DeviceScopes { device: Scope::Device, card: Scope::Device };
        fixture.poll(seconds, scopes, &reading, Some(&own));
    }
    let Fixture { account, values, .. } = fixture;
    let both = |values: &ByScope<f64>| (values.get(Scope::Session), values.get(Scope::Device));
    assert_eq!(both(&account.busy), (Some(3.0), Some(12.0)));
    assert_eq!(both(&account.energy), (None, Some(30.0)));
    assert_eq!(account.attributed, Some(6.0));
    assert_eq!(both(&values.utilization), (Some(0.2), Some(0.8)));
    assert_eq!(both(&values.encoder), (Some(0.1), Some(0.6)));
    assert_eq!((values.memory.get(Scope::Session), values.memory.get(Scope::Device)), (Some(100), Some(900)));
}

#[test]
fn the_sessions_part_is_at_most_the_device() {
    let mut fixture = Fixture::new();
    let own = OwnUsage {
        sm: Some(4.0),
        memory: Some(u64::MAX - 1),
        encoder: Some(3.0),
        decoder: Some(0.5),
        ..OwnUsage::default()
    };
    for (seconds, millijoules) in [(0.0, 0), (15.0, 30_000)] {
        let memory = Some(Memory { used: 900, total: 1000 });
        let energy = Some(millijoules);
        let reading = Reading { energy, memory, encoder: Some(0.6), ..window(0.01) };
        let scopes = DeviceScopes { device: Scope::Device, card: Scope::Device };
        fixture.poll(seconds, scopes, &reading, Some(&own));
    }
    let Fixture { account, values, .. } = fixture;
    assert_eq!((account.busy.get(Scope::Session), account.busy.get(Scope::Device)), (Some(0.15), Some(0.15)));
    assert_eq!((account.attributed, account.peak.get(Scope::Session)), (Some(0.3), Some(900)));
    assert_eq!(
        (values.encoder.get(Scope::Session), values.decoder.get(Scope::Session)),
        (Some(0.6), Some(0.5))
    );
}

/// The driver has recorded two of fifteen seconds, and the process worked in its newest sample.
#[test]
fn the_sessions_seconds_are_at_most_the_recorded_seconds() {
    let mut fixture = Fixture::new();
    let own = OwnUsage { sm: Some(1.0), ..OwnUsage::default() };
    for (seconds, reading) in [(0.0, buffer(100..110, 1.0)), (15.0, buffer(100..112, 1.0))] {
        let scopes = DeviceScopes { device: Scope::Device, card: Scope::Device };
        fixture.poll(seconds, scopes, &reading, Some(&own));
    }
    let busy = &fixture.account.busy;
    assert_eq!((busy.get(Scope::Session), busy.get(Scope::Device)), (Some(2.0), Some(2.0)));
}

/// The driver has recorded two of fifteen seconds. Two sessions worked for the same part of them.
#[test]
fn the_sessions_of_a_card_have_together_its_recorded_seconds() {
    let mut fixture = Fixture::new();
    let own = OwnUsage { sm: Some(0.5), all_sm: 1.0, ..OwnUsage::default() };
    for (seconds, reading) in [(0.0, buffer(100..110, 1.0)), (15.0, buffer(100..112, 1.0))] {
        let scopes = DeviceScopes { device: Scope::Device, card: Scope::Device };
        fixture.poll(seconds, scopes, &reading, Some(&own));
    }
    let busy = &fixture.account.busy;
    assert_eq!((busy.get(Scope::Session), busy.get(Scope::Device)), (Some(1.0), Some(2.0)));
}
