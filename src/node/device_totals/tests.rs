use super::*;
use crate::{
    gpu::{Memory, Slice},
    sampling::{counters::ScopedValues, scope::Scope},
};

mod random;

const INTERVAL: u64 = 15;

/// A poll of one device: seconds since the start, utilisation, energy in joules.
#[derive(Clone, Copy)]
struct Poll {
    at: u64,
    busy: f64,
    joules: u64,
}

fn card() -> Device {
    Device { uuid: "GPU-1".into(), ..Device::default() }
}

fn reading(busy: f64, joules: u64) -> Reading {
    Reading {
        utilization: Some(busy),
        energy: Some(joules * 1000),
        memory: Some(Memory { used: 1000, total: 4000 }),
        ..Reading::default()
    }
}

fn usage(sm: f64, all_sm: f64, memory: u64) -> OwnUsage {
    OwnUsage { sm: Some(sm), all_sm, memory: Some(memory), ..OwnUsage::default() }
}

/// Two sessions, another pod and a process outside of pods, which are together busy for 50 % of the time.
fn owners() -> Vec<(OwnerKind, OwnUsage)> {
    vec![
        (OwnerKind::Session, usage(0.2, 0.5, 100)),
        (OwnerKind::Session, usage(0.1, 0.5, 200)),
        (OwnerKind::OtherPod, usage(0.15, 0.5, 300)),
        (OwnerKind::NoPod, usage(0.05, 0.5, 50)),
    ]
}

/// The totals after these polls of a device with the same owners in each.
fn totals(
    device: &Device,
    owners: &[(OwnerKind, OwnUsage)],
    is_exclusive: bool,
    polls: &[Poll],
) -> DeviceCounters {
    let mut totals = DeviceTotals::new(Duration::from_secs(INTERVAL));
    let start = Instant::now();
    for Poll { at, busy, joules } in polls {
        let reading = reading(*busy, *joules);
        let sessions = Some(DeviceSessions { count: 1, is_exclusive, ..DeviceSessions::default() });
        let used = DeviceUse { device, reading: Some(&reading), owners: owners.to_vec(), sessions };
        assert!(totals.add(&[used], start + Duration::from_secs(*at)).is_empty());
    }
    totals.published().remove(0)
}

const TWO_POLLS: [Poll; 2] =
    [Poll { at: 0, busy: 0.6, joules: 7000 }, Poll { at: 15, busy: 0.6, joules: 7100 }];

/// The parts in the order of [`OwnerKind::ALL`], rounded to thousandths.
fn parts(value: Option<ByOwner>) -> [f64; 5] {
    let value = value.unwrap();
    OwnerKind::ALL.map(|owner| (value.get(owner) * 1000.0).round() / 1000.0)
}

#[test]
fn each_value_of_a_card_is_split_by_owner() {
    let total = totals(&card(), &owners(), false, &TWO_POLLS);
    assert_eq!(total.observed, 15.0);
    assert_eq!(parts(total.busy), [4.5, 2.25, 0.75, 1.5, 0.0]);
    assert_eq!(parts(total.energy), [30.0, 15.0, 5.0, 10.0, 40.0]);
    let (memory, size) = total.current.unwrap().memory.unwrap();
    assert_eq!((parts(Some(memory)), size), ([300.0, 300.0, 50.0, 350.0, 0.0], 4000));
}

#[test]
fn all_owners_have_a_value_from_the_first_poll_on() {
    let total = totals(&card(), &[], false, &TWO_POLLS[..1]);
    assert_eq!((parts(total.busy), parts(total.energy)), ([0.0; 5], [0.0; 5]));
}

/// The sum over all sidecars is the part of the sessions.
#[test]
fn a_session_has_the_same_part_as_its_sidecar_shows() {
    for busy in [0.0, 0.25, 0.6, 1.0] {
        let polls = TWO_POLLS.map(|poll| Poll { busy, ..poll });
        let total = totals(&card(), &owners(), false, &polls);
        let mut sidecars = [0.0; 2];
        for (_, own) in owners().iter().filter(|(owner, _)| *owner == OwnerKind::Session) {
            let mut account = Account::new("GPU-1");
            let start = Instant::now();
            for Poll { at, busy, joules } in polls {
                let at = start + Duration::from_secs(at);
                account.allocate(at);
                let reading = DeviceReading {
                    scopes: SCOPES,
                    reading: &reading(busy, joules),
                    own: Some(own),
                    at,
                    has_viewer: None,
                };
                let _: (ScopedValues, _) = account.add(reading, Duration::from_secs(2 * INTERVAL));
            }
            sidecars[0] += account.busy.get(Scope::Session).unwrap();
            sidecars[1] += account.attributed.unwrap();
        }
        let session = |value: Option<ByOwner>| value.unwrap().get(OwnerKind::Session);
        for (sidecar, agent) in sidecars.into_iter().zip([session(total.busy), session(total.energy)]) {
            assert!((sidecar - agent).abs() < 1e-9, "{sidecar} and {agent} at {busy}");
        }
    }
}

#[test]
fn a_card_of_one_session_has_no_other_owner() {
    let total = totals(&card(), &owners()[..1], true, &TWO_POLLS);
    assert_eq!(parts(total.busy), [9.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(parts(total.energy), [60.0, 0.0, 0.0, 0.0, 40.0]);
    assert_eq!(parts(total.current.unwrap().memory.map(|(used, _)| used)), [1000.0, 0.0, 0.0, 0.0, 0.0]);
}

/// Processes whose samples are not known, and a driver that does not answer for longer than two intervals.
#[test]
fn what_nothing_explains_is_unsampled() {
    let unknown = [(OwnerKind::Session, OwnUsage::default())];
    let total = totals(&card(), &unknown, false, &TWO_POLLS);
    assert_eq!(parts(total.busy), [0.0, 0.0, 0.0, 9.0, 0.0]);
    assert_eq!(parts(total.energy), [0.0, 0.0, 0.0, 60.0, 40.0]);
    let late = [TWO_POLLS[0], Poll { at: 60, ..TWO_POLLS[1] }];
    let total = totals(&card(), &owners(), false, &late);
    assert_eq!((total.observed, parts(total.busy)), (0.0, [0.0; 5]));
    assert_eq!(parts(total.energy), [0.0, 0.0, 0.0, 100.0, 0.0]);
}

/// The energy of a slice is its card's, and the memory of such a card is in its slices.
#[test]
fn a_card_and_its_slices_count_nothing_twice() {
    let card = Device { mig_enabled: true, ..card() };
    let slice = Device { uuid: "MIG-1".into(), slice: Some(Slice::default()), ..Device::default() };
    let of_card = totals(&card, &[], false, &TWO_POLLS);
    assert_eq!((of_card.busy, of_card.current.unwrap().memory, of_card.sessions()), (None, None, None));
    assert_eq!(parts(of_card.energy).iter().sum::<f64>(), 100.0);
    let of_slice = totals(&slice, &[], false, &TWO_POLLS);
    assert_eq!(of_slice.energy, None);
    assert!(of_slice.current.unwrap().memory.is_some() && of_slice.sessions().is_some());
}

#[test]
fn a_lost_device_keeps_its_totals_and_loses_its_current_values() {
    let mut totals = DeviceTotals::new(Duration::from_secs(INTERVAL));
    let start = Instant::now();
    let (card, values) = (card(), [reading(0.6, 7000), reading(0.6, 7100)]);
    let used = |reading| DeviceUse { device: &card, reading, owners: owners(), sessions: None };
    for (at, reading) in values.iter().enumerate() {
        totals.add(&[used(Some(reading))], start + Duration::from_secs(at as u64 * INTERVAL));
    }
    let before = totals.published().remove(0);
    totals.add(&[used(None)], start + Duration::from_secs(2 * INTERVAL));
    let unread = totals.published().remove(0);
    totals.add(&[], start + Duration::from_secs(3 * INTERVAL));
    assert_eq!(totals.published().remove(0), unread);
    assert_eq!(unread, DeviceCounters { current: None, ..before.clone() });
    // The driver was loaded again, so its counter of energy starts again.
    totals.add(&[used(Some(&reading(0.6, 5)))], start + Duration::from_secs(4 * INTERVAL));
    let back = totals.published().remove(0);
    assert!(back.current.is_some());
    assert_eq!((parts(back.busy), parts(back.energy)), (parts(before.busy), parts(before.energy)));
}

#[test]
fn a_new_slice_has_totals_however_many_were_destroyed() {
    let mut totals = DeviceTotals::new(Duration::from_secs(INTERVAL));
    let (start, reading) = (Instant::now(), reading(0.6, 7000));
    for number in 0..3 * MAX_DEVICES {
        let uuids = ["GPU-1".to_owned(), format!("MIG-{number}")];
        let devices = uuids.map(|uuid| Device { uuid, ..Device::default() });
        let used = |device| DeviceUse { device, reading: Some(&reading), owners: vec![], sessions: None };
        totals.add(&devices.each_ref().map(used), start + Duration::from_secs(number as u64 * INTERVAL));
        let published = totals.published();
        let is_read = |device: &Device| {
            published.iter().any(|total| total.device == *device && total.current.is_some())
        };
        assert!(devices.iter().all(is_read) && published.len() <= MAX_DEVICES, "{number}");
        assert_eq!(published[0].observed, number as f64 * INTERVAL as f64);
    }
}
