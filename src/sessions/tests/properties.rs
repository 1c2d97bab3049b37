//! Random lives of several pods in random order: the ledger gives the expected totals, and repeated events change nothing.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    lives::{Sent, apply, interleaved, labelled_life, life, list},
    watch::unix,
};
use crate::sessions::ledger::{EndReason, Ledger, LiveSession, SessionTotals};

fn empty() -> Ledger {
    let mut ledger = Ledger::new(Ledger::empty(unix(-1)));
    ledger.begin_list();
    ledger.end_list(0, unix(-1));
    ledger
}

fn totals(ledger: &mut Ledger) -> SessionTotals {
    let unsaved = ledger.take_unsaved().unwrap();
    ledger.saved(unsaved);
    ledger.totals().next().map(|(_, totals)| totals.clone()).unwrap_or_default()
}

proptest! {
    #[test]
    fn any_interleaving_of_the_events_of_several_pods_gives_the_expected_totals(
        lives in vec(life(), 1..8), choices in vec(any::<Index>(), 40),
    ) {
        let mut ledger = empty();
        interleaved(&lives, &choices).iter().for_each(|sent| apply(&mut ledger, sent));
        let totals = totals(&mut ledger);
        let ends: Vec<_> = lives.iter().filter_map(|life| life.end).collect();
        for reason in EndReason::ALL {
            let expected = ends.iter().filter(|(end, _)| *end == reason).count() as u64;
            prop_assert_eq!(totals.ended.get(&reason).copied().unwrap_or(0), expected, "{}", reason.as_str());
        }
        let durations: Vec<_> = ends.iter().filter_map(|(_, duration)| *duration).collect();
        prop_assert_eq!(totals.durations.count, durations.len() as u64);
        prop_assert_eq!(totals.durations.sum, durations.iter().sum::<i64>() as u64);
    }

    #[test]
    fn events_that_are_repeated_in_any_order_change_nothing(
        lives in vec(life(), 1..6), choices in vec(any::<Index>(), 40), repeated in vec((any::<Index>(), any::<Index>()), 1..60),
    ) {
        let sent = interleaved(&lives, &choices);
        let (mut once, mut repeating) = (empty(), empty());
        for (step, event) in sent.iter().enumerate() {
            apply(&mut once, event);
            apply(&mut repeating, event);
            for (_, earlier) in repeated.iter().filter(|(at, _)| at.index(sent.len()) == step) {
                apply(&mut repeating, &sent[earlier.index(step + 1)]);
            }
            prop_assert_eq!(totals(&mut once), totals(&mut repeating));
            prop_assert_eq!(once.phases(), repeating.phases());
        }
    }

    #[test]
    fn a_live_session_that_is_stored_and_read_between_two_events_continues_as_before(
        life in life(), choices in vec(any::<Index>(), 4), stored_at in any::<Index>(),
    ) {
        let sent = interleaved(&[life], &choices);
        let mut live = LiveSession::new(&sent[0].pod, false);
        let mut stored = live.clone();
        for (step, event) in sent.iter().enumerate() {
            if stored_at.index(sent.len()) == step {
                stored = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
            }
            prop_assert_eq!(live.observe(&event.pod), stored.observe(&event.pod));
        }
        prop_assert_eq!(live, stored);
    }

    #[test]
    fn a_list_between_two_events_changes_nothing(
        lives in vec(labelled_life(), 1..6), choices in vec(any::<Index>(), 40), listed in vec(any::<Index>(), 1..6),
    ) {
        let sent = interleaved(&lives, &choices);
        let (mut watched, mut relisting) = (empty(), empty());
        for (step, event) in sent.iter().enumerate() {
            apply(&mut watched, event);
            apply(&mut relisting, event);
            if listed.iter().any(|at| at.index(sent.len()) == step) {
                list(&mut relisting, &sent[..=step], event.seconds);
            }
            prop_assert_eq!(totals(&mut watched), totals(&mut relisting));
            prop_assert_eq!(watched.phases(), relisting.phases());
        }
    }

    /// A pod that exists only during the interruption is never seen.
    #[test]
    fn each_session_that_was_seen_is_counted_once_after_an_interrupted_watch(
        lives in vec(labelled_life(), 1..6), choices in vec(any::<Index>(), 40), begin in any::<Index>(), end in any::<Index>(),
    ) {
        let sent = interleaved(&lives, &choices);
        let (begin, end) = (begin.index(sent.len()), end.index(sent.len()));
        let gap = begin.min(end)..begin.max(end);
        let mut ledger = empty();
        sent[..gap.start].iter().for_each(|event| apply(&mut ledger, event));
        list(&mut ledger, &sent[..gap.end], 20_000);
        sent[gap.end..].iter().for_each(|event| apply(&mut ledger, event));
        let is_seen = |number: &usize| {
            let of_pod = |event: &Sent| event.pod.uid == number.to_string();
            let exists = sent[..gap.end].iter().rfind(|event| of_pod(event)).is_some_and(|last| !last.is_gone);
            exists || sent[..gap.start].iter().any(of_pod) || sent[gap.end..].iter().any(of_pod)
        };
        let ended = (0..lives.len()).filter(|number| lives[*number].end.is_some()).filter(is_seen).count() as u64;
        prop_assert_eq!(totals(&mut ledger).ended.values().sum::<u64>(), ended);
    }
}
