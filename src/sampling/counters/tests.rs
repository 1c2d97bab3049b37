use std::time::{Duration, Instant};

use super::{account::MAX_XIDS, *};
use crate::{
    gpu::{Call, Code, Fault, Memory, Reading, Sample},
    sampling::{
        bounds::{Clamp, remove_impossible},
        processes::OwnUsage,
        scope::{ByScope, Scope},
    },
};

mod energy;
mod idle;
mod limits;
mod own_work;

const SESSION: DeviceScopes = DeviceScopes { device: Scope::Session, card: Scope::Session };

/// The account of one device, and the start time of a test.
struct Fixture {
    account: Account,
    totals: CallTotals,
    values: ScopedValues,
    interval: Duration,
    /// Whether a viewer is connected at the next reading.
    has_viewer: Option<bool>,
    start: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self {
            account: Account::new("GPU-1"),
            totals: CallTotals::default(),
            values: ScopedValues::default(),
            interval: Duration::from_secs(15),
            has_viewer: None,
            start: Instant::now(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    /// Allocates and reads a device that is not shared, at each of these seconds.
    fn read(mut self, readings: &[(u64, Reading)]) -> Self {
        for (seconds, reading) in readings {
            self.poll(*seconds as f64, SESSION, reading, None);
        }
        self
    }

    fn poll(&mut self, seconds: f64, scopes: DeviceScopes, reading: &Reading, own: Option<&OwnUsage>) {
        self.account.allocate(self.at(seconds));
        self.add(seconds, scopes, reading, own);
    }

    fn add(&mut self, seconds: f64, scopes: DeviceScopes, reading: &Reading, own: Option<&OwnUsage>) {
        let mut reading = reading.clone();
        self.totals.add_clamps(&remove_impossible(&mut reading));
        let reading = DeviceReading {
            scopes,
            reading: &reading,
            own,
            at: self.at(seconds),
            has_viewer: self.has_viewer,
        };
        let (values, clamps) = self.account.add(reading, self.interval * 2);
        self.totals.add_clamps(&clamps);
        self.values = values;
    }
}

fn account(readings: &[(u64, Reading)]) -> Account {
    Fixture::new().read(readings).account
}

fn window(ratio: f64) -> Reading {
    Reading { utilization: Some(ratio), ..Reading::default() }
}

/// The driver's samples of the last 20 s, all with the same ratio. The utilisation of the last window has another ratio.
fn samples(at: u64, ratio: f64) -> (u64, Reading) {
    let newest = (at + 1000) * 6;
    let samples =
        (newest - 120..=newest).map(|number| Sample { at: number * 1_000_000 / 6, ratio }).collect();
    (at, Reading { samples: Some(samples), utilization: Some(0.99), ..Reading::default() })
}

fn energy(millijoules: u64) -> Reading {
    Reading { energy: Some(millijoules), ..Reading::default() }
}

fn busy(account: &Account) -> f64 {
    (account.busy.get(Scope::Session).unwrap() * 1000.0).round() / 1000.0
}

#[test]
fn without_samples_busy_seconds_are_window_times_gap() {
    assert_eq!(busy(&account(&[(0, window(1.0))])), 0.0);
    let account = account(&[(0, window(1.0)), (15, window(0.5)), (31, window(0.25))]);
    assert_eq!((busy(&account), account.allocated, account.unsampled), (7.5 + 4.0, Some(31.0), 31.0));
}

#[test]
fn without_samples_a_long_gap_counts_as_idle_and_the_next_gap_counts_again() {
    let account = account(&[(0, window(1.0)), (15, window(1.0)), (3600, window(1.0)), (3615, window(1.0))]);
    assert_eq!((busy(&account), account.allocated, account.unsampled), (30.0, Some(3615.0), 3615.0));
}

#[test]
fn samples_take_precedence_over_the_window() {
    let account = account(&[samples(0, 1.0), samples(15, 0.5), samples(30, 0.5)]);
    assert_eq!((busy(&account), account.unsampled), (15.0, 0.0));
}

/// The driver returns no sample of a process that does not work, and the mean since the requested time.
#[test]
fn samples_of_processes_are_requested_since_the_last_reading() {
    let newest = |readings: &[(u64, Reading)]| account(readings).newest_process_sample();
    assert_eq!(newest(&[samples(0, 0.0)]), 1_000_000_000);
    assert_eq!(newest(&[samples(0, 0.0), samples(15, 0.0)]), 1_015_000_000);
    assert_eq!(
        newest(&[samples(0, 0.0), (15, window(0.5))]),
        1_000_000_000,
        "the driver has no samples any more"
    );
}

#[test]
fn a_hole_in_a_timely_reading_is_extrapolated_and_counted_as_unsampled() {
    let account = account(&[samples(0, 1.0), samples(28, 0.5)]);
    assert_eq!(busy(&account), 14.0);
    assert!((account.unsampled - 8.0).abs() < 0.2, "{}", account.unsampled);
}

#[test]
fn after_a_long_gap_only_the_samples_count() {
    let account = account(&[samples(0, 1.0), samples(600, 0.5)]);
    assert!((busy(&account) - 10.0).abs() < 0.2, "{account:?}");
    assert!((account.unsampled - 580.0).abs() < 0.2, "{account:?}");
}

#[test]
fn a_clock_that_is_set_back_affects_one_reading() {
    let (_, mut back) = samples(30, 0.5);
    back.samples.iter_mut().flatten().for_each(|sample| sample.at -= 900_000_000);
    let (_, mut after) = samples(45, 0.5);
    after.samples.iter_mut().flatten().for_each(|sample| sample.at -= 900_000_000);
    let account = account(&[samples(0, 0.5), samples(15, 0.5), (30, back), (45, after)]);
    assert!((busy(&account) - (7.5 + 0.99 * 15.0 + 7.5)).abs() < 0.2, "{account:?}");
}

#[test]
fn no_busy_time_is_lost_or_doubled_between_two_readings() {
    // The driver keeps one sample of 100 % per second. The readings are at any time between two samples.
    let reading = |microseconds: u64| {
        let samples = (0..=microseconds / 1_000_000)
            .map(|second| Sample { at: 3_000_000 + second * 1_000_000, ratio: 1.0 })
            .collect();
        Reading { samples: Some(samples), ..Reading::default() }
    };
    let mut fixture = Fixture { interval: Duration::from_secs(5), ..Fixture::new() };
    for microseconds in (0..1000).map(|number| number * 4_700_000 + number % 3 * 100_000) {
        fixture.poll(microseconds as f64 / 1e6, SESSION, &reading(microseconds), None);
    }
    let (busy, allocated) = (busy(&fixture.account), fixture.account.allocated.unwrap());
    let unsampled = fixture.account.unsampled;
    assert!((allocated - busy).abs() < 1.0 && unsampled == 0.0, "{busy} of {allocated}");
}

#[test]
fn time_covered_by_the_window_is_not_counted_again_by_later_samples() {
    let account = account(&[samples(0, 1.0), (15, window(1.0)), samples(30, 1.0), samples(45, 1.0)]);
    assert!(busy(&account) > 44.0 && busy(&account) <= 45.0, "{account:?}");
}

/// A reading of a driver whose buffer has one sample per second, at these seconds, and whose last window has this utilisation.
fn buffer(seconds: std::ops::Range<u64>, window: f64) -> Reading {
    let samples = seconds.map(|second| Sample { at: second * 1_000_000, ratio: 1.0 }).collect();
    Reading { samples: Some(samples), utilization: Some(window), ..Reading::default() }
}

/// The driver keeps samples of work only.
#[test]
fn a_burst_after_an_empty_buffer_counts_with_its_own_seconds() {
    let empty = || buffer(0..0, 0.0);
    let burst = || buffer(158..160, 0.0);
    for first in [buffer(100..110, 0.0), empty()] {
        let account = account(&[(10, first), (25, empty()), (40, empty()), (60, burst()), (75, burst())]);
        assert_eq!(busy(&account), 2.0, "{account:?}");
        assert!((15.0 + 15.0 + 18.0..=65.0).contains(&account.unsampled), "{account:?}");
    }
}

#[test]
fn an_empty_buffer_at_the_end_of_a_burst_counts_nothing_until_the_samples_come() {
    let mut fixture = Fixture::new();
    for (seconds, reading, expected) in [
        (10, buffer(100..110, 0.0), 0.0),
        (25, buffer(100..110, 1.0), 0.0),
        (40, buffer(100..111, 0.0), 1.0),
        (55, buffer(0..0, 0.0), 1.0),
    ] {
        fixture.poll(seconds as f64, SESSION, &reading, None);
        assert_eq!(busy(&fixture.account), expected, "{seconds}");
    }
}

#[test]
fn a_driver_that_stops_to_keep_samples_is_read_by_its_window() {
    let stopped = || buffer(100..110, 0.5);
    let account =
        account(&[(10, stopped()), (25, stopped()), (40, stopped()), (55, stopped()), (70, stopped())]);
    assert_eq!((busy(&account), account.unsampled), (0.5 * 30.0, 60.0), "30 s are waited for");
}

#[test]
fn a_driver_whose_buffer_is_always_empty_is_read_by_its_window() {
    let empty = || buffer(0..0, 0.5);
    assert_eq!(busy(&account(&[(0, empty()), (15, empty()), (30, empty())])), 15.0);
}

#[test]
fn a_failed_call_affects_one_reading() {
    let failed = || (15, window(0.5));
    let account = account(&[samples(0, 1.0), failed(), samples(30, 1.0), samples(45, 1.0)]);
    assert!((busy(&account) - 37.5).abs() < 0.2 && account.unsampled == 15.0, "{account:?}");
}

/// Newer drivers keep 72 samples.
#[test]
fn samples_between_two_readings_cover_the_time_that_the_buffer_does_not() {
    let sixths = |at: u64| {
        (at * 6 - 71..=at * 6)
            .map(|number| Sample { at: number * 1_000_000 / 6, ratio: 1.0 })
            .collect::<Vec<_>>()
    };
    let mut fixture = Fixture::new();
    for at in [100, 115, 130] {
        let reading = Reading { samples: Some(sixths(at)), ..Reading::default() };
        fixture.poll(at as f64, SESSION, &reading, None);
        fixture.account.keep_samples(&sixths(at + 7));
    }
    assert!((busy(&fixture.account) - 30.0).abs() < 0.01, "{:?}", fixture.account);
    assert!(fixture.account.unsampled < 1e-6, "{:?}", fixture.account);
    assert_eq!(fixture.account.buffered_time().map(|time| time.as_millis()), Some(11_833));
    fixture.account.carry_over(fixture.at(145.0));
    assert_eq!(busy(&fixture.account), 30.0, "the device was not read, so its samples do not count");
}

/// The clock begins with the start of the node, and a sample is far in the future.
#[test]
fn times_of_any_clock_are_compared_only_with_each_other() {
    let mut first = buffer(1..10, 1.0);
    first.samples.as_mut().unwrap().push(Sample { at: u64::MAX, ratio: 1.0 });
    let account = account(&[(0, first), (15, buffer(10..25, 1.0)), (30, buffer(10..40, 1.0))]);
    assert_eq!((busy(&account), account.unsampled), (30.0, 15.0));
}

#[test]
fn unsampled_time_grows_while_the_driver_does_not_answer_and_never_falls() {
    let mut fixture = Fixture::new();
    let mut unsampled = vec![];
    for (seconds, answers) in [(0, true), (15, false), (30, false), (35, true), (40, true)] {
        if answers {
            fixture.poll(seconds as f64, SESSION, &samples(seconds, 1.0).1, None);
        } else {
            fixture.account.carry_over(fixture.at(seconds as f64));
        }
        unsampled.push(fixture.account.unsampled.round());
    }
    assert_eq!(unsampled, [0.0, 15.0, 30.0, 30.0, 30.0]);
}

#[test]
fn devices_that_are_only_shown_have_no_allocated_time() {
    let mut fixture = Fixture::new();
    for seconds in [0.0, 15.0] {
        fixture.account.show_only();
        let scopes = DeviceScopes { device: Scope::Node, card: Scope::Node };
        fixture.add(seconds, scopes, &window(1.0), None);
    }
    assert_eq!((fixture.account.allocated, fixture.account.busy.get(Scope::Node)), (None, Some(15.0)));
}

#[test]
fn values_out_of_range_are_clamped_and_counted() {
    let memory = Reading { memory: Some(Memory { used: 9, total: 8 }), ..window(1.01) };
    let readings = [(0, memory.clone()), (15, memory), (30, energy(5)), (45, energy(1))];
    let Fixture { account, totals, .. } = Fixture::new().read(&readings);
    assert_eq!(totals.clamped, [(Clamp::Utilization, 2), (Clamp::Memory, 2), (Clamp::Energy, 1)]);
    assert_eq!((busy(&account), account.peak.get(Scope::Session)), (15.0, Some(8)));
}

/// The driver keeps no samples, and one value of its window is impossible (`dcgm-exporter#418`).
#[test]
fn an_impossible_utilization_is_unsampled_and_not_busy() {
    let readings = [0.5, 8_083_349.05, 0.5].map(window);
    let [first, impossible, last] = readings;
    let fixture = Fixture::new().read(&[(0, first), (15, impossible), (30, last)]);
    assert_eq!((busy(&fixture.account), fixture.account.unsampled), (7.5, 30.0));
    assert_eq!(fixture.totals.clamped, [(Clamp::Utilization, 1)]);
}

#[test]
fn a_device_with_only_impossible_samples_has_no_utilization() {
    let mut fixture = Fixture::new().read(&[samples(0, 0.5)]);
    let (_, mut impossible) = samples(15, 8_083_349.05);
    impossible.utilization = None;
    fixture.poll(15.0, SESSION, &impossible, None);
    assert_eq!((fixture.values.utilization.get(Scope::Session), fixture.account.unsampled), (None, 15.0));
    assert_eq!(fixture.account.busy.get(Scope::Session), Some(0.0));
    assert_eq!(fixture.totals.clamped, [(Clamp::Utilization, 90)]);
}

#[test]
fn a_device_counts_only_while_it_is_allocated() {
    let mut fixture = Fixture::new();
    fixture.account.allocate(fixture.at(0.0));
    fixture.account.carry_over(fixture.at(15.0));
    fixture.account.release();
    fixture.account.carry_over(fixture.at(45.0));
    fixture.account.allocate(fixture.at(60.0));
    fixture.account.allocate(fixture.at(75.0));
    assert_eq!((fixture.account.allocated, fixture.account.unsampled), (Some(15.0 + 15.0), 15.0));
}

#[test]
fn the_number_of_different_xid_numbers_is_limited() {
    let mut account = Account::new("GPU-1");
    for code in (0..100).chain([0]) {
        account.add_xid(Some(code));
    }
    let xids = &account.xids;
    assert_eq!((xids[0], xids[MAX_XIDS], xids.len()), ((Some(0), 2), (None, 84), MAX_XIDS + 1));
}

#[test]
fn failed_calls_are_counted_by_call_and_code() {
    let mut totals = CallTotals::default();
    let lost = Fault { call: Call::Memory, code: Code::GpuLost };
    let missing = Fault { call: Call::Init, code: Code::LibraryMissing };
    totals.add_calls(7, &[lost, missing, lost]);
    assert_eq!((totals.faults, totals.calls), (vec![(lost, 2), (missing, 1)], 7));
}
