use super::{
    totals::{MAX_TEMPLATES, NO_TEMPLATE, OTHER_TEMPLATE},
    *,
};

const START: UnixTime = UnixTime(1_000_000);

fn at(seconds: i64) -> UnixTime {
    UnixTime(START.0 + seconds)
}

fn running(uid: &str) -> SessionPod {
    SessionPod {
        uid: uid.into(),
        template: Some("cad".into()),
        phase: Phase::Running,
        started: Some(START),
        finished: None,
        deleted: None,
        has_finalizers: false,
        ending: Ending::Orderly,
    }
}

fn ended(uid: &str, seconds: i64) -> SessionPod {
    SessionPod { phase: Phase::Succeeded, finished: Some(at(seconds)), ..running(uid) }
}

fn durations(ledger: &Ledger) -> Durations {
    ledger.totals()["cad"].durations.clone()
}

#[test]
fn a_session_is_counted_once_however_often_the_watch_shows_its_end() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    assert_eq!(durations(&ledger), Durations::default());
    ledger.seen(ended("a", 100), at(101));
    ledger.seen(ended("a", 100), at(150));
    ledger.gone(&ended("a", 100), at(200));
    let once = Durations { buckets: [0, 1, 0, 0, 0, 0, 0, 0, 0], count: 1, sum: 100.0 };
    assert_eq!(durations(&ledger), once);
}

#[test]
fn the_phase_gauge_follows_the_pods() {
    let mut ledger = Ledger::since(START);
    ledger.begin_list();
    ledger.seen(SessionPod { phase: Phase::Pending, started: None, ..running("a") }, at(0));
    assert_eq!(ledger.in_phase(Phase::Pending), None, "the first list is not complete");
    ledger.end_list(at(0));
    assert_eq!(ledger.in_phase(Phase::Pending), Some(1));
    ledger.seen(running("a"), at(1));
    assert_eq!((ledger.in_phase(Phase::Pending), ledger.in_phase(Phase::Running)), (Some(0), Some(1)));
    ledger.seen(ended("a", 5), at(6));
    assert_eq!((ledger.in_phase(Phase::Running), ledger.in_phase(Phase::Succeeded)), (Some(0), Some(1)));
    ledger.gone(&ended("a", 5), at(9));
    assert!(Phase::ALL.iter().all(|phase| ledger.in_phase(*phase) == Some(0)));
}

#[test]
fn a_forced_deletion_ends_the_session_at_the_deletion_timestamp() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    ledger.gone(&SessionPod { deleted: Some(at(40)), ..running("a") }, at(40));
    assert_eq!((durations(&ledger).count, durations(&ledger).sum), (1, 40.0));
}

#[test]
fn a_deletion_timestamp_in_the_future_is_replaced_by_the_current_time() {
    let mut ledger = Ledger::since(START);
    ledger.gone(&SessionPod { deleted: Some(at(60)), ..running("a") }, at(31));
    assert_eq!(durations(&ledger).sum, 31.0);
}

#[test]
fn a_session_that_ended_while_the_watch_was_interrupted_is_counted_after_the_next_list() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    ledger.seen(running("b"), at(1));
    ledger.begin_list();
    ledger.seen(running("b"), at(70));
    ledger.end_list(at(70));
    assert_eq!((ledger.in_phase(Phase::Running), durations(&ledger).count), (Some(1), 1));
}

#[test]
fn a_session_that_ended_before_the_server_started_is_not_counted() {
    let mut ledger = Ledger::since(at(500));
    ledger.seen(ended("a", 499), at(501));
    ledger.gone(&ended("a", 499), at(502));
    assert_eq!(durations(&ledger).count, 0);
    ledger.seen(ended("b", 500), at(501));
    assert_eq!(durations(&ledger).count, 1);
}

#[test]
fn a_session_that_was_seen_running_is_counted_with_any_clock_of_its_node() {
    let mut ledger = Ledger::since(at(500));
    ledger.seen(running("a"), at(501));
    ledger.gone(&SessionPod { deleted: Some(at(499)), ..running("a") }, at(502));
    ledger.seen(running("b"), at(501));
    ledger.seen(ended("b", 498), at(502));
    assert_eq!(durations(&ledger).count, 2);
}

#[test]
fn a_running_session_that_loses_its_label_has_not_ended() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    ledger.gone(&running("a"), at(10));
    assert_eq!(durations(&ledger).count, 0);
    ledger.seen(running("a"), at(20));
    ledger.seen(ended("a", 30), at(31));
    assert_eq!((durations(&ledger).count, durations(&ledger).sum), (1, 30.0));
}

#[test]
fn a_session_that_never_started_has_no_duration() {
    let mut ledger = Ledger::since(START);
    ledger.gone(
        &SessionPod { phase: Phase::Pending, started: None, deleted: Some(at(9)), ..running("a") },
        at(9),
    );
    assert_eq!(durations(&ledger).count, 0);
}

#[test]
fn failures_are_counted_by_reason() {
    let mut ledger = Ledger::since(START);
    for (uid, failure) in [("a", Failure::Error), ("b", Failure::Error), ("c", Failure::Evicted)] {
        let ending = Ending::Failure(failure);
        ledger.seen(SessionPod { phase: Phase::Failed, ending, ..ended(uid, 10) }, at(11));
    }
    let failures = &ledger.totals()["cad"].failures;
    assert_eq!(failures, &BTreeMap::from([(Failure::Error, 2), (Failure::Evicted, 1)]));
}

#[test]
fn a_session_of_more_than_a_day_is_counted_but_in_no_bucket() {
    let mut ledger = Ledger::since(START);
    ledger.seen(ended("a", 86_401), at(86_401));
    assert_eq!((durations(&ledger).buckets, durations(&ledger).count), ([0; 9], 1));
}

#[test]
fn the_number_of_templates_is_bounded() {
    let mut ledger = Ledger::since(START);
    for n in 0..1000 {
        ledger.seen(SessionPod { template: Some(format!("t{n}")), ..running(&format!("u{n}")) }, at(1));
    }
    assert_eq!(ledger.totals().len(), MAX_TEMPLATES + 1);
    assert!(ledger.totals().contains_key(OTHER_TEMPLATE));
    ledger.seen(SessionPod { template: None, ..running("none") }, at(1));
    assert!(!ledger.totals().contains_key(NO_TEMPLATE));
}

fn lose_label(ledger: &mut Ledger, pod: &SessionPod, now: i64) {
    // The API server reports a lost label as a deletion and sends the last state that had the label.
    ledger.gone(pod, at(now));
}

#[test]
fn an_ended_session_that_loses_and_regains_its_label_is_counted_once() {
    let mut ledger = Ledger::since(START);
    ledger.seen(ended("a", 100), at(101));
    for round in 0..3 {
        lose_label(&mut ledger, &ended("a", 100), 110 + round);
        ledger.seen(ended("a", 100), at(120 + round));
    }
    ledger.gone(&SessionPod { deleted: Some(at(200)), ..ended("a", 100) }, at(200));
    assert_eq!(durations(&ledger).count, 1);
}

#[test]
fn a_session_that_loses_its_label_while_terminating_and_regains_it_is_counted_once() {
    let mut ledger = Ledger::since(START);
    let terminating = SessionPod { deleted: Some(at(60)), ..running("a") };
    ledger.seen(terminating.clone(), at(31));
    lose_label(&mut ledger, &terminating, 32);
    ledger.seen(terminating, at(33));
    ledger.gone(&SessionPod { deleted: Some(at(60)), ..ended("a", 50) }, at(51));
    assert_eq!(durations(&ledger).count, 1);
}

#[test]
fn a_deleted_session_that_a_finalizer_keeps_is_counted_once_when_its_label_comes_and_goes() {
    let mut ledger = Ledger::since(START);
    let kept = SessionPod { deleted: Some(at(130)), has_finalizers: true, ..ended("a", 100) };
    ledger.seen(kept.clone(), at(101));
    lose_label(&mut ledger, &kept, 110);
    ledger.seen(kept, at(120));
    assert_eq!(durations(&ledger).count, 1);
}

#[test]
fn a_counted_session_that_regains_its_label_after_a_relist_is_not_counted_again() {
    let mut ledger = Ledger::since(START);
    ledger.seen(ended("a", 100), at(101));
    ledger.seen(running("b"), at(101));
    for _ in 0..2 {
        ledger.begin_list();
        ledger.end_list(at(110));
    }
    assert_eq!(durations(&ledger).count, 2, "b ended while the watch was interrupted");
    ledger.begin_list();
    ledger.seen(ended("a", 100), at(120));
    ledger.seen(running("b"), at(120));
    ledger.end_list(at(120));
    ledger.seen(ended("b", 130), at(131));
    assert_eq!(durations(&ledger).count, 2);
    assert_eq!(ledger.in_phase(Phase::Succeeded), Some(2));
}

#[test]
fn a_session_that_ends_while_it_has_no_label_is_counted_when_it_regains_it() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    lose_label(&mut ledger, &running("a"), 10);
    ledger.seen(ended("a", 30), at(40));
    lose_label(&mut ledger, &ended("a", 30), 41);
    ledger.seen(ended("a", 30), at(42));
    assert_eq!((durations(&ledger).count, durations(&ledger).sum), (1, 30.0));
}
