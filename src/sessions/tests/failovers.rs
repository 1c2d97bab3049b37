//! Leaders follow each other: each is killed at any point of its work, also between two writes of a save. The totals are those of a
//! ledger that was never interrupted, and what the metrics show never falls.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    lives::{
        Life, Sent, apply, exits, interleaved, is_deleted, is_rejected, labelled_life, life, list,
        never_starts,
    },
    watch::unix,
};
use crate::sessions::{
    checkpoint::{
        CheckpointWriter, SaveError,
        tests::memory::{FaultKind, Memory, now},
    },
    ledger::{EndReason, Ledger, SessionTotals},
    replica::history::{History, PodEvent},
};

/// Where a new leader gets the events since the last save.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Memory,
    ApiServer,
    List,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This number of events happens in the cluster.
    Happen(usize),
    /// The leader receives the next event.
    Receive,
    /// The leader reads the pods that its watch does not show.
    Read,
    Save,
    /// The leader is killed, and another one continues.
    Kill(Source),
    /// The leader is killed at an operation of its next save.
    KillInSave(usize, FaultKind, Source),
}

struct Leader {
    writer: CheckpointWriter<Memory>,
    ledger: Ledger,
    /// Number of events that it received or that were in the saved state.
    received: usize,
}

/// The events of a cluster, and the leaders that count them.
struct Run {
    /// The event at index i has the resource version i + 1.
    events: Vec<Sent>,
    /// Number of events that have happened.
    happened: usize,
    store: Memory,
    leaders: usize,
    leader: Leader,
    reads: i64,
    shown: BTreeMap<(String, &'static str), u64>,
}

// === impl Run ===

impl Run {
    fn new(events: Vec<Sent>) -> Self {
        let store = Memory::default();
        let leader = take_over(&store, 0);
        let mut run =
            Self { events, happened: 0, store, leaders: 1, leader, reads: 0, shown: BTreeMap::new() };
        list(&mut run.leader.ledger, &[], -1);
        run
    }

    /// The totals after these steps, once every event was received and saved.
    fn after(events: Vec<Sent>, steps: &[Step]) -> Ledger {
        let mut run = Self::new(events);
        steps.iter().for_each(|step| run.step(*step));
        run.happened = run.events.len();
        while run.leader.received < run.happened {
            run.step(Step::Receive);
        }
        (0..9).find(|_| run.save().is_ok()).expect("a save that succeeds");
        run.leader.ledger
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Happen(count) => self.happened = self.events.len().min(self.happened + count),
            Step::Receive => {
                if self.leader.received < self.happened {
                    apply(&mut self.leader.ledger, &self.events[self.leader.received]);
                    self.leader.received += 1;
                }
            }
            Step::Read => self.read_unseen(),
            // A fault of an earlier leader's save can come in this one.
            Step::Save => _ = self.save(),
            Step::Kill(source) => self.replace(source),
            Step::KillInSave(operation, kind, source) => {
                self.store.fault(operation, kind);
                if self.save().is_err() {
                    self.replace(source);
                }
            }
        }
    }

    /// A read shows what exists now, although the leader has not received every event. It shows a pod with its label as existing, and the
    /// leader ignores this.
    fn read_unseen(&mut self) {
        self.reads += 1;
        let (ledger, happened) = (&mut self.leader.ledger, &self.events[..self.happened]);
        let now = unix(30_000 + 100 * self.reads);
        for unseen in ledger.unseen(now, usize::MAX) {
            let last = happened.iter().rfind(|event| event.pod.uid == unseen.uid);
            if last.is_some_and(|event| event.is_gone && event.pod.is_removal()) {
                ledger.read(&unseen.uid, None, happened.len() as u64, now);
            }
        }
    }

    fn save(&mut self) -> Result<(), SaveError> {
        let Leader { writer, ledger, .. } = &mut self.leader;
        let unsaved = ledger.take_unsaved().unwrap();
        let saved = now(writer.save(&unsaved));
        match &saved {
            Ok(()) => ledger.saved(unsaved),
            Err(SaveError::Lost) => panic!("no other leader has taken over"),
            Err(_) => ledger.not_saved(&unsaved),
        }
        self.check_shown();
        saved
    }

    fn replace(&mut self, source: Source) {
        self.leader = take_over(&self.store, self.leaders);
        self.leaders += 1;
        self.check_shown();
        let Leader { ledger, received, .. } = &mut self.leader;
        let events = &self.events[..self.happened];
        *received = usize::try_from(ledger.resource_version()).unwrap();
        match source {
            Source::ApiServer => ledger.resume(),
            Source::Memory => {
                ledger.resume();
                let history = history(events);
                if history.covers(ledger.resource_version()) {
                    history.replay(ledger);
                    *received = self.happened;
                }
            }
            Source::List => {
                list(ledger, events, 20_000);
                *received = self.happened;
            }
        }
        // A new leader reads at once.
        self.read_unseen();
    }

    /// What the metrics show has not become less.
    fn check_shown(&mut self) {
        for (template, totals) in self.leader.ledger.totals() {
            for reason in EndReason::ALL {
                let count = totals.ended.get(&reason).copied().unwrap_or(0);
                let shown = self.shown.entry((template.to_owned(), reason.as_str())).or_default();
                assert!(count >= *shown, "{template} {} fell from {shown} to {count}", reason.as_str());
                *shown = count;
            }
        }
        for ((template, reason), shown) in &self.shown {
            let is_shown = self.leader.ledger.totals().any(|(name, _)| name == template);
            assert!(is_shown || *shown == 0, "{template} {reason} has disappeared");
        }
    }
}

/// A leader loads the saved state. It can have to try again: a write of the leader before it still arrives, or a fault comes.
fn take_over(store: &Memory, number: usize) -> Leader {
    let empty = || Ledger::empty(unix(-1));
    let attempt = |_| now(CheckpointWriter::take_over(store.clone(), number.to_string(), empty())).ok();
    let (writer, state) = (0..9).find_map(attempt).expect("an attempt that succeeds");
    Leader { writer, ledger: Ledger::new(state), received: 0 }
}

fn history(events: &[Sent]) -> History {
    let mut history = History::default();
    history.begin(0);
    for Sent { seconds, pod, is_gone } in events {
        history.push(PodEvent { pod: pod.clone(), is_gone: *is_gone, received: unix(*seconds) });
    }
    history
}

/// The totals of a ledger that receives every event.
fn truth(events: &[Sent]) -> Vec<(String, SessionTotals)> {
    let mut ledger = Ledger::new(Ledger::empty(unix(-1)));
    list(&mut ledger, &[], -1);
    events.iter().for_each(|event| apply(&mut ledger, event));
    let unsaved = ledger.take_unsaved().unwrap();
    ledger.saved(unsaved);
    totals(&ledger)
}

fn totals(ledger: &Ledger) -> Vec<(String, SessionTotals)> {
    ledger.totals().map(|(template, totals)| (template.to_owned(), totals.clone())).collect()
}

fn lives_of_every_kind() -> Vec<Life> {
    vec![
        exits(40, 0, "Completed", EndReason::Completed),
        exits(50, 137, "OOMKilled", EndReason::OomKilled),
        is_deleted(60, false, EndReason::Deleted),
        is_deleted(70, true, EndReason::Drained),
        never_starts(80),
        is_rejected(90),
    ]
}

/// Each operation of each save, before it, after it, and while it is on its way.
#[test]
fn a_kill_at_any_point_of_any_save_changes_nothing() {
    let events = interleaved(&lives_of_every_kind(), &[]);
    let truth = truth(&events);
    let kinds = [FaultKind::Fails, FaultKind::AnswerLost].into_iter().chain((1..4).map(FaultKind::Delayed));
    for kind in kinds {
        for source in [Source::Memory, Source::ApiServer] {
            for killed_save in 0..events.len() / 3 {
                for operation in 0..6 {
                    let steps = (0..events.len()).flat_map(|number| {
                        let save = match (number % 3, number / 3 == killed_save) {
                            (2, true) => Some(Step::KillInSave(operation, kind, source)),
                            (2, false) => Some(Step::Save),
                            _ => None,
                        };
                        [Some(Step::Happen(1)), Some(Step::Receive), save].into_iter().flatten()
                    });
                    let ledger = Run::after(events.clone(), &steps.collect::<Vec<_>>());
                    let what = format!("{kind:?} {source:?} at operation {operation} of save {killed_save}");
                    assert_eq!(totals(&ledger), truth, "{what}");
                }
            }
        }
    }
}

fn fault() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        Just(FaultKind::Fails),
        Just(FaultKind::AnswerLost),
        (1..6_usize).prop_map(FaultKind::Delayed),
    ]
}

fn step(source: impl Strategy<Value = Source> + Clone + 'static) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Happen(1)),
        1 => (2..10_usize).prop_map(Step::Happen),
        6 => Just(Step::Receive),
        2 => Just(Step::Save),
        1 => Just(Step::Read),
        1 => source.clone().prop_map(Step::Kill),
        1 => (0..8_usize, fault(), source).prop_map(|(operation, kind, source)| Step::KillInSave(operation, kind, source)),
    ]
}

fn with_history() -> impl Strategy<Value = Source> + Clone {
    prop_oneof![Just(Source::Memory), Just(Source::ApiServer)]
}

fn any_source() -> impl Strategy<Value = Source> + Clone {
    prop_oneof![Just(Source::Memory), Just(Source::ApiServer), Just(Source::List)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn failovers_that_continue_from_the_saved_version_give_the_truth(
        lives in vec(life(), 1..8), choices in vec(any::<Index>(), 40), steps in vec(step(with_history()), 0..80),
    ) {
        let events = interleaved(&lives, &choices);
        let truth = truth(&events);
        prop_assert_eq!(totals(&Run::after(events, &steps)), truth);
    }

    /// After a list, a session that disappeared meanwhile ends with the reason `unknown`. A session that no saved state has is not counted. If no
    /// state has shown that the desktop ran, the reason can be `rejected` instead of `node_lost`.
    #[test]
    fn failovers_with_lists_count_no_session_twice(
        lives in vec(labelled_life(), 1..8), choices in vec(any::<Index>(), 40), steps in vec(step(any_source()), 0..80),
    ) {
        let events = interleaved(&lives, &choices);
        let truth: BTreeMap<_, _> = truth(&events).into_iter().collect();
        let ledger = Run::after(events, &steps);
        for (template, totals) in totals(&ledger) {
            let of_truth = truth.get(&template).cloned().unwrap_or_default();
            let sum = |totals: &SessionTotals| totals.ended.values().sum::<u64>();
            prop_assert!(sum(&totals) <= sum(&of_truth), "{template}");
            for (reason, count) in &totals.ended {
                let is_known = ![EndReason::Unknown, EndReason::Rejected].contains(reason);
                let most = of_truth.ended.get(reason).copied().unwrap_or(0);
                prop_assert!(!is_known || *count <= most, "{template} {reason:?}");
            }
        }
        let unknown: u64 = totals(&ledger).iter().filter_map(|(_, totals)| totals.ended.get(&EndReason::Unknown)).sum();
        prop_assert_eq!(ledger.in_gaps(), unknown);
    }
}
