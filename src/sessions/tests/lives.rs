//! Lives of pods: their events, and how each ends.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{read, unix},
};
use crate::sessions::ledger::{EndReason, Ledger, SessionPod};

/// A life: the events of one pod, and its end as the test knows it.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) events: Vec<(i64, Change)>,
    pub(super) end: Option<(EndReason, Option<i64>)>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Seen(Json),
    Gone(Json),
}

use Change::{Gone, Seen};

/// An event for the ledger.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) seconds: i64,
    pub(super) pod: SessionPod,
    pub(super) is_gone: bool,
}

fn start() -> Vec<(i64, Change)> {
    vec![(0, Seen(created())), (1, Seen(accepted())), (6, Seen(running()))]
}

fn removal(pod: Json, seconds: i64) -> [(i64, Change); 2] {
    let last = deleted(pod, seconds, 0);
    [(seconds, Seen(last.clone())), (seconds, Gone(last))]
}

/// The desktop exits at `end`, and the pod is removed later.
pub(super) fn exits(end: i64, code: i32, reason: &str, truth: EndReason) -> Life {
    let last =
        in_phase(after_exit(running(), code, reason, end), if code == 0 { "Succeeded" } else { "Failed" });
    let mut events = start();
    events.extend([(end, Seen(after_exit(running(), code, reason, end))), (end + 1, Seen(last.clone()))]);
    events.extend(removal(last, end + 50));
    Life { events, end: Some((truth, Some(end))) }
}

/// A client, or the eviction API, deletes the pod at `end`, and the desktop exits two seconds later.
pub(super) fn is_deleted(end: i64, is_drain: bool, truth: EndReason) -> Life {
    let before = if is_drain { disrupted(running(), "EvictionByEvictionAPI", end) } else { running() };
    let terminating = deleted(before, end, 30);
    let last = in_phase(after_exit(terminating.clone(), 143, "Error", end + 2), "Failed");
    let mut events = start();
    events.extend([(end, Seen(terminating)), (end + 2, Seen(last.clone()))]);
    events.extend(removal(last, end + 3));
    Life { events, end: Some((truth, Some(end + 2))) }
}

pub(super) fn never_starts(end: i64) -> Life {
    let mut events = vec![(0, Seen(created())), (1, Seen(accepted()))];
    events.extend(removal(accepted(), end));
    Life { events, end: Some((EndReason::NeverStarted, None)) }
}

pub(super) fn is_rejected(_: i64) -> Life {
    let events = vec![(0, Seen(created())), (1, Seen(refused(accepted(), "OutOfpods")))];
    Life { events, end: Some((EndReason::Rejected, None)) }
}

pub(super) fn restarts_with_its_node(end: i64) -> Life {
    let mut events = start();
    events.push((end, Seen(refused(running(), "UnexpectedAdmissionError"))));
    Life { events, end: Some((EndReason::NodeLost, Some(end))) }
}

pub(super) fn goes_on(_: i64) -> Life {
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
pub(super) fn labelled_life() -> impl Strategy<Value = Life> {
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

pub(super) fn life() -> impl Strategy<Value = Life> {
    let lost_label = proptest::option::of(0..8_usize);
    (labelled_life(), lost_label).prop_map(|(life, lost_label)| match lost_label {
        Some(index) => with_lost_label(life, index),
        None => life,
    })
}

/// The events of all lives. Each pod keeps the order of its events; `choices` decides which pod is next.
pub(super) fn interleaved(lives: &[Life], choices: &[Index]) -> Vec<Sent> {
    let mut rest: Vec<_> = lives.iter().map(|life| life.events.iter()).collect();
    let total: usize = lives.iter().map(|life| life.events.len()).sum();
    let mut sent = vec![];
    for step in 0..total {
        let waiting: Vec<_> = (0..rest.len()).filter(|number| rest[*number].len() > 0).collect();
        let number = choices
            .get(step % choices.len().max(1))
            .map_or(waiting[step % waiting.len()], |it| *it.get(&waiting));
        let Some((seconds, change)) = rest[number].next() else { continue };
        let (Seen(pod) | Gone(pod)) = change;
        let mut pod = read(pod);
        pod.uid = number.to_string();
        pod.version = step as u64 + 1;
        sent.push(Sent { seconds: *seconds, pod, is_gone: matches!(change, Gone(_)) });
    }
    sent
}

pub(super) fn apply(ledger: &mut Ledger, sent: &Sent) {
    if sent.is_gone {
        ledger.gone(&sent.pod, unix(sent.seconds));
    } else {
        ledger.seen(&sent.pod, unix(sent.seconds));
    }
}

/// A list of the pods that exist after these events.
pub(super) fn list(ledger: &mut Ledger, events: &[Sent], now: i64) {
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
        ledger.read(&unseen.uid, None, events.len() as u64, unix(now));
    }
}
