use super::{account::MOST_XIDS, *};
use crate::gpu::{Call, Code, Memory, Sample};

const INTERVAL: Duration = Duration::from_secs(15);
const GPU: &str = "GPU-1";

/// Feeds (seconds since the start, reading) of one device that is ours alone.
fn account(reads: &[(u64, Reading)]) -> Account {
    counters(Scope::Session, reads).accounts()[0].clone()
}

fn counters(scope: Scope, reads: &[(u64, Reading)]) -> Counters {
    let mut counters = Counters::new(INTERVAL);
    let start = Instant::now();
    for (at, reading) in reads {
        let now = start + Duration::from_secs(*at);
        counters.hold(&[GPU], &[], now);
        counters.read(GPU, Scopes { device: scope, card: scope }, reading, None, now);
    }
    counters
}

fn window(ratio: f64) -> Reading {
    Reading { utilization: Some(ratio), ..Reading::default() }
}

/// What the driver's samples of the last 20 s say at a second, all of one ratio; and a window that would say otherwise.
fn samples(at: u64, ratio: f64) -> (u64, Reading) {
    let newest = (at + 1000) * 6;
    let samples = (newest - 120..=newest).map(|tick| Sample { at: tick * 1_000_000 / 6, ratio }).collect();
    (at, Reading { samples, utilization: Some(0.99), ..Reading::default() })
}

fn energy(millijoules: u64) -> Reading {
    Reading { energy: Some(millijoules), ..Reading::default() }
}

fn busy(account: &Account) -> f64 {
    (account.busy.get(Scope::Session).unwrap() * 1000.0).round() / 1000.0
}

#[test]
fn without_samples_busy_seconds_are_ratio_times_time() {
    assert_eq!(busy(&account(&[(0, window(1.0))])), 0.0);
    let account = account(&[(0, window(1.0)), (15, window(0.5)), (31, window(0.25))]);
    assert_eq!((busy(&account), account.allocated, account.unsampled), (7.5 + 4.0, Some(31.0), 31.0));
}

#[test]
fn without_samples_a_long_gap_counts_nothing_and_the_next_read_counts_again() {
    let account = account(&[(0, window(1.0)), (15, window(1.0)), (3600, window(1.0)), (3615, window(1.0))]);
    assert_eq!((busy(&account), account.allocated, account.unsampled), (30.0, Some(3615.0), 3615.0));
}

#[test]
fn the_drivers_samples_go_before_its_window() {
    let account = account(&[samples(0, 1.0), samples(15, 0.5), samples(30, 0.5)]);
    assert_eq!((busy(&account), account.unsampled), (15.0, 0.0));
}

#[test]
fn what_the_buffer_has_lost_is_filled_in_a_timely_read_and_said() {
    let account = account(&[samples(0, 1.0), samples(28, 0.5)]);
    assert_eq!(busy(&account), 14.0);
    assert!((account.unsampled - 8.0).abs() < 0.2, "{}", account.unsampled);
}

#[test]
fn after_a_long_silence_only_the_samples_count() {
    let account = account(&[samples(0, 1.0), samples(600, 0.5)]);
    assert!((busy(&account) - 10.0).abs() < 0.2, "{account:?}");
    assert!((account.unsampled - 580.0).abs() < 0.2, "{account:?}");
}

#[test]
fn a_clock_that_was_set_back_costs_one_read() {
    let (_, mut back) = samples(30, 0.5);
    back.samples.iter_mut().for_each(|tick| tick.at -= 900_000_000);
    let (_, mut after) = samples(45, 0.5);
    after.samples.iter_mut().for_each(|tick| tick.at -= 900_000_000);
    let account = account(&[samples(0, 0.5), samples(15, 0.5), (30, back), (45, after)]);
    assert!((busy(&account) - (7.5 + 0.99 * 15.0 + 7.5)).abs() < 0.2, "{account:?}");
}

#[test]
fn the_edge_of_the_samples_is_counted_once() {
    // A sample a second that says all of it was work; reads fall anywhere between two.
    let read = |at: u64| {
        let samples = (0..=at / 1_000_000)
            .map(|second| Sample { at: 3_000_000 + second * 1_000_000, ratio: 1.0 })
            .collect();
        Reading { samples, ..Reading::default() }
    };
    let mut counters = Counters::new(Duration::from_secs(5));
    let start = Instant::now();
    for at in (0..1000).map(|number| number * 4_700_000 + number % 3 * 100_000) {
        let now = start + Duration::from_micros(at);
        counters.hold(&[GPU], &[], now);
        counters.read(GPU, Scopes { device: Scope::Session, card: Scope::Session }, &read(at), None, now);
    }
    let account = &counters.accounts()[0];
    let (busy, allocated) = (busy(account), account.allocated.unwrap());
    assert!((allocated - busy).abs() < 1.0 && account.unsampled == 0.0, "{busy} of {allocated}");
}

#[test]
fn samples_that_could_not_be_had_once_are_not_counted_twice() {
    let account = account(&[samples(0, 1.0), (15, window(1.0)), samples(30, 1.0), samples(45, 1.0)]);
    assert!(busy(&account) > 44.0 && busy(&account) <= 45.0, "{account:?}");
}

#[test]
fn while_nobody_can_look_time_is_unsampled_and_later_samples_do_not_take_that_back() {
    let mut counters = Counters::new(INTERVAL);
    let start = Instant::now();
    let scopes = Scopes { device: Scope::Session, card: Scope::Session };
    let mut unsampled = vec![];
    for (at, reading) in [
        (0, Some(samples(0, 1.0).1)),
        (15, None),
        (30, None),
        (35, Some(samples(35, 1.0).1)),
        (40, Some(samples(40, 1.0).1)),
    ] {
        let now = start + Duration::from_secs(at);
        match reading {
            Some(reading) => {
                counters.hold(&[GPU], &[], now);
                counters.read(GPU, scopes, &reading, None, now);
            }
            None => counters.hold_on(now),
        }
        unsampled.push(counters.accounts()[0].unsampled.round());
    }
    assert_eq!(unsampled, [0.0, 15.0, 30.0, 30.0, 30.0]);
}

#[test]
fn what_is_only_shown_is_not_held() {
    let mut counters = Counters::new(INTERVAL);
    let start = Instant::now();
    for seconds in [0, 15] {
        counters.hold(&[], &[GPU], start + Duration::from_secs(seconds));
        let scopes = Scopes { device: Scope::Node, card: Scope::Node };
        counters.read(GPU, scopes, &window(1.0), None, start + Duration::from_secs(seconds));
    }
    let account = &counters.accounts()[0];
    assert_eq!((account.allocated, account.busy.get(Scope::Node)), (None, Some(15.0)));
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
}

#[test]
fn what_cannot_be_is_clamped_and_counted() {
    let memory = Reading { memory: Some(Memory { used: 9, total: 8 }), ..window(1.7) };
    let reads = [(0, memory.clone()), (15, memory), (30, energy(5)), (45, energy(1))];
    let counters = counters(Scope::Session, &reads);
    assert_eq!(counters.clamped(), [(Clamp::Utilization, 2), (Clamp::Memory, 2), (Clamp::Energy, 1)]);
    let account = &counters.accounts()[0];
    assert_eq!((busy(account), account.peak.get(Scope::Session)), (15.0, Some(8)));
}

#[test]
fn the_sessions_own_part_of_a_shared_card_is_apart() {
    let mut counters = Counters::new(INTERVAL);
    let start = Instant::now();
    let own = OwnUsage { sm: Some(0.2), memory: Some(100), encoder: Some(0.1), ..OwnUsage::default() };
    let mut shown = Shown::default();
    for (at, millijoules) in [(0, 0), (15, 30_000)] {
        let now = start + Duration::from_secs(at);
        counters.hold(&[GPU], &[], now);
        let memory = Some(Memory { used: 900, total: 1000 });
        let reading = Reading { energy: Some(millijoules), memory, encoder: Some(0.6), ..window(0.8) };
        shown = counters.read(
            GPU,
            Scopes { device: Scope::Device, card: Scope::Device },
            &reading,
            Some(&own),
            now,
        );
    }
    let account = &counters.accounts()[0];
    let both = |values: &ByScope<f64>| (values.get(Scope::Session), values.get(Scope::Device));
    assert_eq!(both(&account.busy), (Some(3.0), Some(12.0)));
    assert_eq!(both(&account.energy), (None, Some(30.0)));
    assert_eq!(account.attributed, Some(7.5));
    assert_eq!(both(&shown.utilization), (Some(0.2), Some(0.8)));
    assert_eq!(both(&shown.encoder), (Some(0.1), Some(0.6)));
    assert_eq!((shown.memory.get(Scope::Session), shown.memory.get(Scope::Device)), (Some(100), Some(900)));
}

#[test]
fn a_device_counts_only_while_it_is_held() {
    let mut counters = Counters::new(INTERVAL);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    counters.hold(&[GPU], &[], at(0));
    counters.hold_on(at(15));
    counters.hold(&["GPU-2"], &[], at(30));
    counters.hold_on(at(45));
    counters.hold(&[GPU, "GPU-2"], &[], at(60));
    counters.hold(&[GPU], &[], at(75));
    let of = |value: fn(&Account) -> f64| counters.accounts().iter().map(value).collect::<Vec<_>>();
    assert_eq!(of(|account| account.allocated.unwrap()), [15.0 + 15.0, 30.0]);
    assert_eq!(of(|account| account.unsampled), [15.0, 15.0]);
}

#[test]
fn kinds_of_faults_are_bounded() {
    let mut counters = Counters::new(INTERVAL);
    counters.hold(&[GPU], &[], Instant::now());
    for code in (0..100).chain([0]) {
        counters.reported(GPU, Some(code));
    }
    counters.reported("GPU-2", Some(1));
    let xids = &counters.accounts()[0].xids;
    assert_eq!((xids[0], xids[MOST_XIDS], xids.len()), ((Some(0), 2), (None, 84), MOST_XIDS + 1));
    for number in 0..100 {
        counters.hold(&[&format!("GPU-{number}")], &[], Instant::now());
    }
    assert_eq!(counters.accounts().len(), MOST_ACCOUNTS);
}

#[test]
fn faults_are_counted_by_call_and_code() {
    let mut counters = Counters::new(INTERVAL);
    let lost = Fault { call: Call::Memory, code: Code::GpuLost };
    let missing = Fault { call: Call::Init, code: Code::LibraryMissing };
    counters.asked(7, &[lost, missing, lost]);
    assert_eq!((counters.faults(), counters.calls()), (&[(lost, 2), (missing, 1)][..], 7));
}
