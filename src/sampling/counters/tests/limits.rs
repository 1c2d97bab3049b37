//! For random answers of the driver, no counter falls, and no part exceeds its total.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    gpu::{Process, ProcessKind, ProcessUtilization},
    sampling::processes::{SampleWindow, own_usage},
};

/// One poll of a device. `Released` is a poll that attributes the device to another session.
#[derive(Clone, Debug)]
enum Poll {
    Read { early: Vec<Vec<Sample>>, answer: Box<Answer> },
    Unread { early: Vec<Sample> },
    NoDriver,
    Shown { answer: Box<Answer> },
    Released,
}

/// Everything that the driver returns for the device.
#[derive(Clone, Debug)]
struct Answer {
    scopes: DeviceScopes,
    reading: Reading,
    listed: Option<Vec<Process>>,
    processes: Option<Vec<ProcessUtilization>>,
}

fn ratio() -> BoxedStrategy<f64> {
    prop_oneof![
        6 => (0_u32..=100).prop_map(|percent| f64::from(percent) / 100.0),
        1 => select(vec![-1.0, 1.01, 1.7, f64::NAN, f64::INFINITY, f64::from(u32::MAX) / 100.0]),
    ]
    .boxed()
}

/// A time below this one counts from the newest sample before it.
const RELATIVE: u64 = 20_000_000;

/// A time of the driver's clock, in microseconds: relative to earlier samples, of the same or another clock, or impossible.
fn time() -> BoxedStrategy<u64> {
    prop_oneof![6 => 0..RELATIVE, 2 => 1_000_000_000..1_600_000_000_u64, 1 => 0..100_000_000_u64, 1 => select(vec![0, 1, u64::MAX])].boxed()
}

/// A buffer: consecutive samples with any spacing, single samples at any time, or nothing. Some samples come twice.
fn buffer() -> BoxedStrategy<Vec<Sample>> {
    let consecutive =
        (time(), 1..2_000_000_u64, vec(ratio(), 0..130)).prop_map(|(begin, spacing, ratios)| {
            let sample =
                |(number, ratio)| Sample { at: begin.saturating_add(number as u64 * spacing), ratio };
            ratios.into_iter().enumerate().map(sample).collect::<Vec<_>>()
        });
    let single = vec((time(), ratio()).prop_map(|(at, ratio)| Sample { at, ratio }), 0..4);
    (consecutive, single, any::<bool>())
        .prop_map(|(consecutive, single, twice)| {
            let repeated = if twice { consecutive.clone() } else { vec![] };
            [consecutive, repeated, single].concat()
        })
        .boxed()
}

fn memory() -> BoxedStrategy<Memory> {
    let bytes = || select(vec![0, 1, 900, 1000, 48 << 30, u64::MAX]);
    (bytes(), bytes()).prop_map(|(used, total)| Memory { used, total }).boxed()
}

fn reading() -> BoxedStrategy<Reading> {
    let energy = select(vec![0, 1000, 10_000, 1_000_000, u64::MAX]);
    let engine = || option::of(ratio());
    (option::weighted(0.8, buffer()), engine(), option::of(memory()), option::of(energy), engine(), engine())
        .prop_map(|(samples, utilization, memory, energy, encoder, decoder)| {
            let rest = Reading::default();
            let mut reading = Reading { samples, utilization, memory, energy, encoder, decoder, ..rest };
            _ = remove_impossible(&mut reading);
            reading
        })
        .boxed()
}

fn answer(scopes: Vec<DeviceScopes>) -> BoxedStrategy<Box<Answer>> {
    // PIDs 7 and 8 are the session's.
    let process = (7_u32..9, select(vec![None, Some(0), Some(1 << 30), Some(u64::MAX - 1)]))
        .prop_map(|(pid, memory)| Process { pid, kind: ProcessKind::Compute, memory });
    let part = || {
        prop_oneof![4 => 0_u32..=100, 1 => select(vec![101, 102, 1600, u32::MAX])]
            .prop_map(|percent| f64::from(percent) / 100.0)
    };
    let sample = (6_u32..10, time(), part(), part()).prop_map(|(pid, at, sm, encoder)| ProcessUtilization {
        pid,
        at,
        sm,
        encoder,
        decoder: encoder,
    });
    (select(scopes), reading(), option::of(vec(process, 0..4)), option::of(vec(sample, 0..6)))
        .prop_map(|(scopes, reading, listed, processes)| {
            Box::new(Answer { scopes, reading, listed, processes })
        })
        .boxed()
}

fn poll() -> BoxedStrategy<Poll> {
    let both = |scope| DeviceScopes { device: scope, card: scope };
    let slice = DeviceScopes { device: Scope::Session, card: Scope::Device };
    let attributed = answer(vec![both(Scope::Session), both(Scope::Device), both(Scope::Device), slice]);
    prop_oneof![
        12 => (vec(buffer(), 0..3), attributed).prop_map(|(early, answer)| Poll::Read { early, answer }),
        2 => buffer().prop_map(|early| Poll::Unread { early }),
        1 => Just(Poll::NoDriver),
        1 => answer(vec![both(Scope::Node)]).prop_map(|answer| Poll::Shown { answer }),
        1 => Just(Poll::Released),
    ]
    .boxed()
}

/// Busy seconds of the device itself while it was allocated, and the session's part while it was shared.
#[derive(Default)]
struct Sums {
    device: f64,
    own: f64,
    largest_memory: u64,
}

/// Moves relative times to the newest sample before them, as a driver's times continue.
fn continue_times(polls: &mut [(f64, Poll)]) {
    let mut newest = 1_000_000_000;
    let mut continued = |samples: &mut Vec<Sample>| {
        let shift = if samples.first().is_some_and(|sample| sample.at < RELATIVE) { newest } else { 0 };
        samples.iter_mut().for_each(|sample| sample.at = sample.at.saturating_add(shift));
        newest = samples.iter().map(|sample| sample.at).filter(|at| *at < 1 << 60).max().unwrap_or(newest);
        newest
    };
    for (_, poll) in polls {
        match poll {
            Poll::Read { early, answer } => {
                early.iter_mut().for_each(|samples| _ = continued(samples));
                answer.continue_times(&mut continued);
            }
            Poll::Shown { answer } => answer.continue_times(&mut continued),
            Poll::Unread { early } => _ = continued(early),
            Poll::NoDriver | Poll::Released => {}
        }
    }
}

impl Answer {
    fn continue_times(&mut self, continued: &mut impl FnMut(&mut Vec<Sample>) -> u64) {
        let newest = continued(self.reading.samples.as_mut().unwrap_or(&mut vec![]));
        for sample in self.processes.iter_mut().flatten().filter(|sample| sample.at < RELATIVE) {
            sample.at += newest.saturating_sub(RELATIVE / 2);
        }
    }
}

impl Fixture {
    fn answer(&mut self, seconds: f64, answer: &Answer) {
        let last = self.account.newest_process_sample();
        let window = SampleWindow::new(last, [answer.reading.newest_sample().unwrap_or(1); 2], self.interval);
        let own = answer.listed.as_ref().map(|listed| own_usage(listed, answer.processes.as_deref(), window));
        self.add(seconds, answer.scopes, &answer.reading, own.as_ref());
    }

    fn play(&mut self, seconds: f64, poll: &Poll) {
        let now = self.at(seconds);
        match poll {
            Poll::Read { early, answer } => {
                early.iter().for_each(|samples| self.account.keep_samples(samples));
                self.account.allocate(now);
                self.answer(seconds, answer);
            }
            Poll::Unread { early } => {
                self.account.keep_samples(early);
                self.account.carry_over(now);
            }
            Poll::NoDriver => self.account.carry_over(now),
            Poll::Shown { answer } => {
                self.account.show_only();
                self.answer(seconds, answer);
            }
            Poll::Released => self.account.release(),
        }
    }
}

fn of(values: &ByScope<f64>, scope: Scope) -> f64 {
    values.get(scope).unwrap_or_default()
}

const SCOPES: [Scope; 3] = [Scope::Session, Scope::Device, Scope::Node];

fn check_counters(earlier: &Account, account: &Account) {
    let sums = |account: &Account| {
        let by_scope = SCOPES.map(|scope| {
            (of(&account.busy, scope), of(&account.energy, scope), of(&account.idle_energy, scope))
        });
        (account.allocated, account.unsampled, account.attributed, by_scope)
    };
    let (before, after) = (sums(earlier), sums(account));
    assert!(before.0 <= after.0 && before.1 <= after.1 && before.2 <= after.2, "{before:?} {after:?}");
    for (earlier, later) in before.3.into_iter().zip(after.3) {
        assert!(earlier.0 <= later.0 && earlier.1 <= later.1 && earlier.2 <= later.2, "{before:?} {after:?}");
        assert!(later.2 <= later.1 + 1e-6, "more idle energy than energy: {after:?}");
    }
    let allocated = account.allocated.unwrap_or_default() + 1e-6;
    assert!(account.unsampled <= allocated, "{account:?}");
    let idle = |account: &Account| {
        IdleReason::ALL
            .iter()
            .map(|reason| account.idle.map_or(0.0, |idle| idle.get(*reason)))
            .collect::<Vec<_>>()
    };
    let (before, after) = (idle(earlier), idle(account));
    assert!(before[0] <= after[0] && before[1] <= after[1], "{before:?} {after:?}");
    assert!(after.iter().sum::<f64>() <= allocated, "more idle than allocated: {account:?}");
    let energy: f64 = SCOPES.iter().map(|scope| of(&account.energy, *scope)).sum();
    assert!(account.attributed.unwrap_or_default() <= energy + 1e-6, "{account:?}");
}

fn check_values(values: &ScopedValues, answer: &Answer) {
    let device = answer.scopes.device;
    for ratios in [&values.utilization, &values.encoder, &values.decoder] {
        assert!(ratios.iter().all(|(_, ratio)| (0.0..=1.0).contains(&ratio)), "{values:?}");
        if let (Some(own), Some(device)) = (ratios.get(Scope::Session), ratios.get(device)) {
            assert!(own <= device, "{values:?}");
        }
    }
    if let Some(memory) = answer.reading.memory {
        assert!(values.memory.iter().all(|(_, bytes)| bytes <= memory.used.min(memory.total)), "{values:?}");
    }
}

impl Sums {
    /// Adds one poll and checks the limits that hold for the sums.
    fn add(&mut self, earlier: &Account, account: &Account, answer: &Answer) {
        let more = |scope| of(&account.busy, scope) - of(&earlier.busy, scope);
        let is_shared = answer.scopes.device == Scope::Device;
        if is_shared {
            let joules = |values: &Account| {
                let parts = of(&values.idle_energy, Scope::Device) + values.attributed.unwrap_or_default();
                (of(&values.energy, Scope::Device), parts)
            };
            let (before, after) = (joules(earlier), joules(account));
            assert!(after.1 - before.1 <= after.0 - before.0 + 1e-6, "{before:?} {after:?}");
        }
        self.device += more(answer.scopes.device);
        self.own += if is_shared { more(Scope::Session) } else { 0.0 };
        assert!(self.device <= account.allocated.unwrap() + 1e-6, "{} of {account:?}", self.device);
        assert!(self.own <= self.device + 1e-6, "{} of {}", self.own, self.device);
    }

    /// Before the driver has returned a total, a peak has no limit.
    fn check_peaks(&mut self, account: &Account, answer: &Answer) {
        let is_known = account.total_memory.is_some();
        let total = answer.reading.memory.map_or(0, |memory| memory.total);
        self.largest_memory = if is_known { self.largest_memory.max(total) } else { u64::MAX };
        assert!(account.peak.iter().all(|(_, bytes)| bytes <= self.largest_memory), "{account:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_counter_falls_and_no_figure_exceeds_what_it_is_a_part_of(
        mut polls in vec((prop_oneof![4 => 14.0..17.0, 1 => 0.0..2.0, 1 => 30.0..900.0], poll()), 1..30),
        viewers in vec(option::weighted(0.8, any::<bool>()), 30),
    ) {
        continue_times(&mut polls);
        let (mut fixture, mut sums, mut seconds) = (Fixture::new(), Sums::default(), 0.0);
        for ((gap, poll), has_viewer) in polls.iter().zip(viewers) {
            seconds += gap;
            fixture.has_viewer = has_viewer;
            let earlier = fixture.account.clone();
            fixture.play(seconds, poll);
            check_counters(&earlier, &fixture.account);
            match poll {
                Poll::Read { answer, .. } => {
                    check_values(&fixture.values, answer);
                    sums.check_peaks(&fixture.account, answer);
                    sums.add(&earlier, &fixture.account, answer);
                }
                Poll::Shown { answer } => {
                    check_values(&fixture.values, answer);
                    sums.check_peaks(&fixture.account, answer);
                }
                Poll::Unread { .. } | Poll::NoDriver | Poll::Released => {
                    prop_assert_eq!(&earlier.busy, &fixture.account.busy, "billed without a reading");
                    prop_assert_eq!(&earlier.energy, &fixture.account.energy);
                }
            }
        }
    }
}
