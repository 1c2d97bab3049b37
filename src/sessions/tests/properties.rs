//! Random lives of several pods in random order: the ledger gives the expected totals, and repeated events change nothing.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{read, unix},
};
use crate::sessions::ledger::{EndReason, Ledger, LiveSession, SessionPod, SessionTotals};

/// A life: the events of one pod, and its end as the test knows it.
#[derive(Debug, Clone)]
struct Life {
    events: Vec<(i64, Change)>,
    end: Option<(EndReason, Option<i64>)>,
}

#[derive(Debug, Clone)]
enum Change {
    Seen(Json),
    Gone(Json),
}

use Change::{Gone, Seen};

/// An event for the ledger.
#[derive(Debug, Clone)]
struct Sent {
    seconds: i64,
    pod: SessionPod,
    is_gone: bool,
}

fn start() -> Vec<(i64, Change)> {
    vec![(0, Seen(created())), (1, Seen(accepted())), (6, Seen(running()))]
}

fn removal(pod: Json, seconds: i64) -> [(i64, Change); 2] {
    let last = deleted(pod, seconds, 0);
    [(seconds, Seen(last.clone())), (seconds, Gone(last))]
}

/// The desktop exits at `end`, and the pod is removed later.
fn exits(end: i64, code: i32, reason: &str, truth: EndReason) -> Life {
    let last =
        in_phase(after_exit(running(), code, reason, end), if code == 0 { "Succeeded" } else { "Failed" });
    let mut events = start();
    events.extend([(end, Seen(after_exit(running(), code, reason, end))), (end + 1, Seen(last.clone()))]);
    events.extend(removal(last, end + 50));
    Life { events, end: Some((truth, Some(end))) }
}

/// A client, or the eviction API, deletes the pod at `end`, and the desktop exits two seconds later.
fn is_deleted(end: i64, is_drain: bool, truth: EndReason) -> Life {
    let before = if is_drain { disrupted(running(), "EvictionByEvictionAPI", end) } else { running() };
    let terminating = deleted(before, end, 30);
    let last = in_phase(after_exit(terminating.clone(), 143, "Error", end + 2), "Failed");
    let mut events = start();
    events.extend([(end, Seen(terminating)), (end + 2, Seen(last.clone()))]);
    events.extend(removal(last, end + 3));
    Life { events, end: Some((truth, Some(end + 2))) }
}

fn never_starts(end: i64) -> Life {
    let mut events = vec![(0, Seen(created())), (1, Seen(accepted()))];
    events.extend(removal(accepted(), end));
    Life { events, end: Some((EndReason::NeverStarted, None)) }
}

fn is_rejected(_: i64) -> Life {
    let events = vec![(0, Seen(created())), (1, Seen(refused(accepted(), "OutOfpods")))];
    Life { events, end: Some((EndReason::Rejected, None)) }
}

fn restarts_with_its_node(end: i64) -> Life {
    let mut events = start();
    events.push((end, Seen(refused(running(), "UnexpectedAdmissionError"))));
    Life { events, end: Some((EndReason::NodeLost, Some(end))) }
}

fn goes_on(_: i64) -> Life {
    Life { events: start(), end: None }
}

/// The pod loses its label after the event at `index` and regains it at once.
fn with_lost_label(mut life: Life, index: usize) -> Life {
    let (seconds, change) = life.events[index % life.events.len()].clone();
    // A removed pod cannot regain its label.
    if let Seen(pod) = change
        && pod["metadata"]["deletionGracePeriodSeconds"] != json!(0)
    {
        let position = index % life.events.len() + 1;
        life.events.splice(position..position, [(seconds, Gone(pod.clone())), (seconds, Seen(pod))]);
    }
    life
}

/// A life whose pod keeps its label.
fn labelled_life() -> impl Strategy<Value = Life> {
    let kinds: [fn(i64) -> Life; 10] = [
        |end| exits(end, 0, "Completed", EndReason::Completed),
        |end| exits(end, 0, "OOMKilled", EndReason::Completed),
        |end| exits(end, 3, "Error", EndReason::Error),
        |end| exits(end, 137, "OOMKilled", EndReason::OomKilled),
        |end| is_deleted(end, false, EndReason::Deleted),
        |end| is_deleted(end, true, EndReason::Drained),
        never_starts,
        is_rejected,
        restarts_with_its_node,
        goes_on,
    ];
    (0..kinds.len(), 10..10_000_i64).prop_map(move |(kind, end)| kinds[kind](end))
}

fn life() -> impl Strategy<Value = Life> {
    let lost_label = proptest::option::of(0..8_usize);
    (labelled_life(), lost_label).prop_map(|(life, lost_label)| match lost_label {
        Some(index) => with_lost_label(life, index),
        None => life,
    })
}

/// The events of all lives. Each pod keeps the order of its events; `choices` decides which pod is next.
fn interleaved(lives: &[Life], choices: &[Index]) -> Vec<Sent> {
    let mut rest: Vec<_> = lives.iter().map(|life| life.events.iter()).collect();
    let total: usize = lives.iter().map(|life| life.events.len()).sum();
    let mut sent = vec![];
    for step in 0..total {
        let waiting: Vec<_> = (0..rest.len()).filter(|number| rest[*number].len() > 0).collect();
        let number = *choices[step % choices.len()].get(&waiting);
        let Some((seconds, change)) = rest[number].next() else { continue };
        let (Seen(pod) | Gone(pod)) = change;
        let mut pod = read(pod);
        pod.uid = number.to_string();
        pod.version = step as u64 + 1;
        sent.push(Sent { seconds: *seconds, pod, is_gone: matches!(change, Gone(_)) });
    }
    sent
}

fn apply(ledger: &mut Ledger, sent: &Sent) {
    if sent.is_gone {
        ledger.gone(&sent.pod, unix(sent.seconds));
    } else {
        ledger.seen(&sent.pod, unix(sent.seconds));
    }
}

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

/// A list of the pods that exist after these events.
fn list(ledger: &mut Ledger, events: &[Sent], now: i64) {
    let mut pods = BTreeMap::new();
    for event in events {
        if event.is_gone {
            pods.remove(&event.pod.uid);
        } else {
            pods.insert(&event.pod.uid, &event.pod);
        }
    }
    ledger.begin_list();
    for pod in pods.values() {
        ledger.seen(pod, unix(now));
    }
    ledger.end_list(events.len() as u64, unix(now));
    for unseen in ledger.unseen(unix(30_000), usize::MAX) {
        ledger.read(&unseen.uid, None, unix(now));
    }
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
