//! A watch that sends events to a ledger, and what the metrics show then.

use serde_json::{Value as Json, json};

use super::pods::EPOCH;
use crate::{
    runtime::catalogue::Value,
    sessions::{
        ledger::{Ledger, SessionPod, UnixTime},
        metrics::ROWS,
        pod,
    },
};

/// An event of the watch; the first field is the time in seconds.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// ADDED or MODIFIED.
    Shown(i64, Json),
    /// DELETED.
    Gone(i64, Json),
    /// Events are missing here.
    Missed,
    /// A complete list.
    Listed(i64, Vec<Json>),
    /// A read of every pod that the watch does not show any more: the pod that still exists.
    Read(i64, Option<Json>),
    /// A read that does not find the pods, at a resource version this much later than the last event.
    ReadAhead(i64, u64),
    /// A bookmark, at a resource version this much later than the last event.
    Bookmark(i64, u64),
}

pub(super) use Event::{Bookmark, Gone, Listed, Missed, Read, ReadAhead, Shown};

/// A watch and its ledger.
#[derive(Debug)]
pub(super) struct TestWatch {
    pub(super) ledger: Ledger,
    version: u64,
}

pub(super) fn unix(seconds: i64) -> UnixTime {
    UnixTime(EPOCH + seconds)
}

/// The pod as the server reads it.
pub(super) fn read(pod: &Json) -> SessionPod {
    pod::read(&serde_json::from_value(pod.clone()).unwrap()).unwrap()
}

// === impl TestWatch ===

impl TestWatch {
    /// A server that started one second before the first pod.
    pub(super) fn new() -> Self {
        Self::started_at(-1)
    }

    pub(super) fn started_at(seconds: i64) -> Self {
        Self { ledger: Ledger::new(Ledger::empty(unix(seconds))), version: 0 }
    }

    /// The state of the ledger after these events.
    pub(super) fn after(events: &[Event]) -> Self {
        let mut watch = Self::new();
        watch.send(&Listed(0, vec![]));
        events.iter().for_each(|event| watch.send(event));
        watch
    }

    /// Sends an event and saves the ledger. Each object has the next resource version.
    pub(super) fn send(&mut self, event: &Event) {
        self.apply(event);
        self.save();
    }

    pub(super) fn save(&mut self) {
        let unsaved = self.ledger.take_unsaved().unwrap();
        self.ledger.saved(unsaved);
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Shown(now, pod) => {
                let pod = self.numbered(pod);
                self.ledger.seen(&pod, unix(*now));
            }
            Gone(now, pod) => {
                let pod = self.numbered(pod);
                self.ledger.gone(&pod, unix(*now));
            }
            Missed => self.ledger.begin_gap(),
            Listed(now, pods) => {
                self.ledger.begin_list();
                for pod in pods {
                    let pod = self.numbered(pod);
                    self.ledger.seen(&pod, unix(*now));
                }
                self.ledger.end_list(self.version, unix(*now));
            }
            Read(now, pod) => {
                let pod = pod.as_ref().map(|pod| self.numbered(pod));
                for unseen in self.ledger.unseen(unix(*now), usize::MAX) {
                    self.ledger.read(&unseen.uid, pod.as_ref(), self.version, unix(*now));
                }
            }
            Bookmark(now, later) => self.ledger.progress(self.version + later, unix(*now)),
            ReadAhead(now, later) => {
                for unseen in self.ledger.unseen(unix(*now), usize::MAX) {
                    self.ledger.read(&unseen.uid, None, self.version + later, unix(*now));
                }
            }
        }
    }

    fn numbered(&mut self, pod: &Json) -> SessionPod {
        self.version += 1;
        let mut pod = pod.clone();
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        read(&pod)
    }

    /// The series of a metric that are not 0: the labels, joined by spaces, and the value or the sum.
    pub(super) fn shown(&self, name: &str) -> Vec<(String, f64)> {
        let all = self.series(name).into_iter();
        all.filter(|(_, value)| *value != 0.0).collect()
    }

    /// All series of a metric.
    pub(super) fn series(&self, name: &str) -> Vec<(String, f64)> {
        let row = ROWS.iter().find(|row| row.name == name).expect("a metric of the ledger");
        let series = (row.series)(&self.ledger).into_iter().map(|series| {
            let value = match series.value {
                Value::Number(number) => number,
                Value::Histogram(histogram) => histogram.get_sample_sum(),
            };
            (series.labels.join(" "), value)
        });
        series.collect()
    }

    /// The endings by `template reason`.
    pub(super) fn endings(&self) -> Vec<(String, f64)> {
        self.shown("vdi_session_ended_total")
    }

    /// Number and sum of the durations.
    pub(super) fn durations(&self) -> (u64, f64) {
        let totals = self.ledger.totals().map(|(_, totals)| &totals.durations);
        totals.fold((0, 0.0), |(count, sum), durations| (count + durations.count, sum + durations.sum as f64))
    }
}
