//! A recording of session pods on a real node: the ledger counts the same ends as the server did in that run.
//!
//! `tests/README.md` describes how the recording is made.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    pods::EPOCH,
    watch::{Listed, TestWatch, read},
};
use crate::sessions::ledger::UnixTime;

/// The first line has the versions and the ends; each other line is an event.
const RECORDING: &str = include_str!("../../../tests/recordings/session_fates.jsonl");

#[derive(Deserialize)]
struct Header {
    kind: String,
    endings: Vec<Ending>,
}

/// The totals of one template in the recorded run.
#[derive(Deserialize)]
struct Ending {
    template: String,
    reason: String,
    durations: u64,
    duration: f64,
    allocated: f64,
    missing: f64,
    restarts: f64,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    /// Time in seconds since 1970.
    received: f64,
    object: Json,
}

fn recording() -> (Header, Vec<Event>) {
    let (header, events) = RECORDING.split_once('\n').unwrap();
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap());
    (serde_json::from_str(header).unwrap(), events.collect())
}

/// A watch that began before the first event.
fn watch(events: &[Event]) -> TestWatch {
    let start = events[0].received as i64 - EPOCH - 1;
    let mut watch = TestWatch::started_at(start);
    watch.send(&Listed(start, vec![]));
    watch
}

fn apply(watch: &mut TestWatch, event: &Event) {
    let (pod, now) = (read(&event.object), UnixTime(event.received as i64));
    if event.kind == "DELETED" {
        watch.ledger.gone(&pod, now);
    } else {
        watch.ledger.seen(&pod, now);
    }
}

/// The sum of a metric by template, without zeros.
fn by_template(watch: &TestWatch, name: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in watch.shown(name) {
        let template = labels.split(' ').next().unwrap_or_default().to_owned();
        *sums.entry(template).or_default() += value;
    }
    sums
}

fn check(watch: &TestWatch, endings: &[Ending]) {
    let expected: BTreeMap<_, _> =
        endings.iter().map(|end| (format!("{} {}", end.template, end.reason), 1.0)).collect();
    assert_eq!(watch.endings().into_iter().collect::<BTreeMap<_, _>>(), expected);
    let counted = |template: &str| {
        watch.ledger.totals().find(|(name, _)| *name == template).map(|(_, totals)| totals.durations.count)
    };
    for end in endings {
        assert_eq!(counted(&end.template), Some(end.durations), "durations of {}", end.template);
    }
    for (metric, value) in [
        ("vdi_session_duration_seconds", (|end| end.duration) as fn(&Ending) -> f64),
        ("vdi_sessions_gpu_allocated_seconds_total", |end| end.allocated),
        ("vdi_session_last_words_missing_total", |end| end.missing),
        ("vdi_session_restarts_total", |end| end.restarts),
    ] {
        let expected = endings.iter().map(|end| (end.template.clone(), value(end)));
        let expected: BTreeMap<_, _> = expected.filter(|(_, value)| *value != 0.0).collect();
        assert_eq!(by_template(watch, metric), expected, "{metric}");
    }
}

#[test]
fn the_recorded_events_give_the_recorded_ends() {
    let (header, events) = recording();
    assert_eq!(header.kind, "Pod");
    let mut watch = watch(&events);
    events.iter().for_each(|event| apply(&mut watch, event));
    watch.save();
    check(&watch, &header.endings);
}

#[test]
fn repeated_events_change_nothing() {
    let (header, events) = recording();
    let mut watch = watch(&events);
    for (position, event) in events.iter().enumerate() {
        apply(&mut watch, event);
        // A watch that continues from an older resource version sends the last events again.
        events[position.saturating_sub(20)..=position].iter().for_each(|event| apply(&mut watch, event));
    }
    watch.save();
    check(&watch, &header.endings);
}
