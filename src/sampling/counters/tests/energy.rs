//! The energy of a card: its sum, the idle part, and the session's part.

use super::*;

const SHARED: DeviceScopes = DeviceScopes { device: Scope::Device, card: Scope::Device };

/// Adds two readings of a card that has used 30 J in the 15 s between them and was busy for this part of the time. Returns the
/// account. `sm` and `all_sm` are the utilisations by the session's processes and by all processes.
fn thirty_joules(scopes: DeviceScopes, busy: Option<f64>, own: Option<(f64, f64)>) -> Account {
    let own = own.map(|(sm, all_sm)| OwnUsage { sm: Some(sm), all_sm, ..OwnUsage::default() });
    let mut fixture = Fixture::new();
    for (seconds, millijoules) in [(0.0, 1_000), (15.0, 31_000)] {
        let reading = Reading { utilization: busy, ..energy(millijoules) };
        fixture.poll(seconds, scopes, &reading, own.as_ref());
    }
    fixture.account
}

/// Joules, rounded to milliwatt seconds: attributed, idle.
fn parts(account: &Account, scope: Scope) -> (Option<f64>, Option<f64>) {
    let rounded = |joules: f64| (joules * 1000.0).round() / 1000.0;
    (account.attributed.map(rounded), account.idle_energy.get(scope).map(rounded))
}

#[test]
fn energy_never_falls_or_jumps() {
    let account = account(&[
        (0, energy(5_000_000)),
        (15, energy(5_030_000)),
        (30, energy(10)),
        (45, energy(15_010)),
        (60, energy(u64::MAX)),
        (75, Reading::default()),
        (90, energy(20_000)),
        (105, energy(30_000)),
    ]);
    assert_eq!(account.energy.get(Scope::Session), Some(30.0 + 15.0 + 10.0));
    assert_eq!(account.attributed, Some(55.0));
    assert_eq!(account.idle_energy.get(Scope::Session), None, "the driver does not give the utilisation");
}

#[test]
fn a_desktop_that_is_busy_for_a_hundredth_gets_a_hundredth_of_the_energy() {
    let account = thirty_joules(SHARED, Some(0.01), Some((0.01, 0.01)));
    assert_eq!(parts(&account, Scope::Device), (Some(0.3), Some(29.7)));
}

#[test]
fn idle_part_and_all_sessions_are_the_energy_of_a_shared_card() {
    for (busy, own) in
        [(0.8, [0.5, 0.2, 0.1]), (0.4, [0.5, 0.2, 0.1]), (1.0, [1.0, 1.0, 1.0]), (0.0, [0.3; 3])]
    {
        let all = own.iter().sum();
        let accounts = own.map(|own| thirty_joules(SHARED, Some(busy), Some((own, all))));
        let attributed: f64 = accounts.iter().filter_map(|account| account.attributed).sum();
        let idle = accounts[0].idle_energy.get(Scope::Device).unwrap();
        assert!((attributed + idle - 30.0).abs() < 1e-9, "{attributed} and {idle} at {busy}");
    }
}

#[test]
fn on_a_card_of_its_own_the_session_has_all_energy_and_the_idle_part_is_separate() {
    assert_eq!(parts(&thirty_joules(SESSION, Some(0.25), None), Scope::Session), (Some(30.0), Some(22.5)));
    assert_eq!(parts(&thirty_joules(SESSION, Some(1.0), None), Scope::Session), (Some(30.0), Some(0.0)));
}

#[test]
fn energy_without_a_utilization_is_neither_idle_nor_of_a_session_that_shares_the_card() {
    let own = Some((0.2, 0.2));
    assert_eq!(parts(&thirty_joules(SHARED, None, own), Scope::Device), (None, None));
    assert_eq!(parts(&thirty_joules(SHARED, Some(0.5), None), Scope::Device), (None, Some(15.0)));
    assert_eq!(parts(&thirty_joules(SESSION, None, None), Scope::Session), (Some(30.0), None));
    // The gap is too long for the utilisation of the last window.
    let mut late = Fixture::new();
    for (seconds, millijoules) in [(0.0, 0), (600.0, 30_000)] {
        late.poll(seconds, SHARED, &Reading { utilization: Some(0.5), ..energy(millijoules) }, None);
    }
    assert_eq!(late.account.energy.get(Scope::Device), Some(30.0));
    assert_eq!(parts(&late.account, Scope::Device), (None, Some(0.0)));
}

/// A slice has the energy of its card. The other slices may have been busy while this one was idle.
#[test]
fn the_idle_time_of_a_slice_says_nothing_about_its_card() {
    let slice = DeviceScopes { device: Scope::Session, card: Scope::Device };
    assert_eq!(parts(&thirty_joules(slice, Some(0.25), None), Scope::Device), (None, None));
}
