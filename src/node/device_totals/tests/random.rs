//! For random polls of a shared card, the sessions have together what the agent counts for them, and at most the card.

use proptest::{collection::vec, option, prelude::*};

use super::*;

/// A poll of a card with two sessions and another pod.
#[derive(Clone, Debug)]
struct RandomPoll {
    /// Milliseconds since the last poll.
    gap: u64,
    /// Milliseconds for which the driver has recorded nothing; none if it keeps no samples.
    silence: Option<u64>,
    /// Number of samples in the driver's buffer.
    length: u64,
    /// Whether the driver was loaded again: its clock and its energy counter are set back.
    is_reset: bool,
    /// Percent of the time in which the card works, in its samples and in its last window.
    percent: u32,
    window: Option<u32>,
    /// Percent of the time in which the processes of each pod work; none if it is not known.
    sm: [Option<u32>; 3],
    joules: u64,
}

const OWNERS: [OwnerKind; 3] = [OwnerKind::Session, OwnerKind::Session, OwnerKind::OtherPod];

/// Microseconds between two samples.
const SPACING: u64 = 166_667;

fn poll() -> impl Strategy<Value = RandomPoll> {
    let gap = prop_oneof![8 => 13_000_u64..17_000, 1 => 30_000_u64..100_000, 1 => 1_u64..2000];
    let silence = option::weighted(0.9, prop_oneof![4 => Just(0), 1 => 0_u64..40_000]);
    let length = prop::sample::select(vec![20, 72, 120]);
    let percent = || option::of(0_u32..=100);
    let values = (0_u32..=100, percent(), [percent(), percent(), percent()], 0_u64..4000);
    (gap, silence, length, prop::bool::weighted(0.05), values).prop_map(
        |(gap, silence, length, is_reset, (percent, window, sm, joules))| RandomPoll {
            gap,
            silence,
            length,
            is_reset,
            percent,
            window,
            sm,
            joules,
        },
    )
}

fn ratio(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}

// === impl RandomPoll ===

impl RandomPoll {
    /// The driver's values at `clock`, in milliseconds of its clock.
    fn reading(&self, clock: u64, joules: u64) -> Reading {
        let samples = self.silence.map(|silence| {
            let newest = (clock - silence) * 1000 / SPACING;
            let sample = |number| Sample { at: number * SPACING, ratio: ratio(self.percent) };
            (newest - self.length..=newest).map(sample).collect()
        });
        let (utilization, energy) = (self.window.map(ratio), Some(joules * 1000));
        Reading { samples, utilization, energy, ..Reading::default() }
    }

    fn usages(&self) -> [OwnUsage; 3] {
        let all_sm = self.sm.iter().flatten().map(|percent| ratio(*percent)).sum();
        self.sm.map(|percent| OwnUsage { sm: percent.map(ratio), all_sm, ..OwnUsage::default() })
    }
}

/// The agent's totals and the accounts of both sidecars.
fn play(polls: &[RandomPoll]) -> (DeviceCounters, [Account; 2]) {
    let (card, start, max_gap) = (card(), Instant::now(), Duration::from_secs(2 * INTERVAL));
    let mut totals = DeviceTotals::new(Duration::from_secs(INTERVAL));
    let mut sidecars = [(); 2].map(|()| Account::new("GPU-1"));
    let (mut passed, mut clock, mut joules) = (0, 100_000_000, 0);
    for poll in polls {
        passed += poll.gap;
        clock += poll.gap;
        joules += poll.joules;
        if poll.is_reset {
            (clock, joules) = (clock - 1_000_000, 5);
        }
        let (at, usages) = (start + Duration::from_millis(passed), poll.usages());
        let reading = poll.reading(clock, joules);
        let owners = OWNERS.into_iter().zip(usages.clone()).collect();
        let sessions = Some(DeviceSessions { count: 2, ..DeviceSessions::default() });
        totals.add(&[DeviceUse { device: &card, reading: Some(&reading), owners, sessions }], at);
        for (account, own) in sidecars.iter_mut().zip(&usages) {
            account.allocate(at);
            let reading =
                DeviceReading { scopes: SCOPES, reading: &reading, own: Some(own), at, has_viewer: None };
            let _: (ScopedValues, _) = account.add(reading, max_gap);
        }
    }
    (totals.published().remove(0), sidecars)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_sessions_add_up(polls in vec(poll(), 1..10)) {
        let (total, sidecars) = play(&polls);
        let sum = |value: fn(&Account) -> Option<f64>| -> f64 { sidecars.iter().filter_map(value).sum() };
        let (busy, joules) = (sum(|account| account.busy.get(Scope::Session)), sum(|account| account.attributed));
        let card = sidecars[0].busy.get(SCOPES.device).unwrap_or_default();
        prop_assert!(busy <= card + 1e-6, "{busy} of {card} busy seconds");
        for (sessions, agent, all) in [(busy, total.busy, Some(card)), (joules, total.energy, None)] {
            let agent = agent.unwrap_or_default();
            let part = agent.get(OwnerKind::Session);
            prop_assert!((sessions - part).abs() < 1e-6, "the sessions have {sessions}, the agent counts {part}");
            let parts: f64 = OwnerKind::ALL.map(|owner| agent.get(owner)).iter().sum();
            prop_assert!((parts - all.unwrap_or(parts)).abs() < 1e-6, "the parts are {parts} of {all:?}");
        }
    }
}
