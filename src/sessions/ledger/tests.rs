use super::*;

const START: UnixTime = UnixTime(1_000_000);

fn at(seconds: i64) -> UnixTime {
    UnixTime(START.0 + seconds)
}

fn running(uid: &str) -> Pod {
    Pod {
        uid: uid.into(),
        template: Some("cad".into()),
        phase: Phase::Running,
        started: Some(START),
        finished: None,
        deleted: None,
        ending: Ending::Orderly,
    }
}

fn ended(uid: &str, seconds: i64) -> Pod {
    Pod { phase: Phase::Succeeded, finished: Some(at(seconds)), ..running(uid) }
}

fn durations(ledger: &Ledger) -> Durations {
    ledger.totals()["cad"].durations.clone()
}

#[test]
fn a_session_is_counted_once_however_often_its_end_is_seen() {
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
fn the_phase_follows_the_pod_and_leaves_with_it() {
    let mut ledger = Ledger::since(START);
    ledger.begin_list();
    ledger.seen(Pod { phase: Phase::Pending, started: None, ..running("a") }, at(0));
    assert_eq!(ledger.in_phase(Phase::Pending), None, "not all have been seen yet");
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
fn a_forced_deletion_ends_the_session_when_it_is_seen() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    ledger.gone(&Pod { deleted: Some(at(40)), ..running("a") }, at(40));
    assert_eq!((durations(&ledger).count, durations(&ledger).sum), (1, 40.0));
}

#[test]
fn a_deletion_time_ahead_of_the_end_is_not_believed() {
    let mut ledger = Ledger::since(START);
    ledger.gone(&Pod { deleted: Some(at(60)), ..running("a") }, at(31));
    assert_eq!(durations(&ledger).sum, 31.0);
}

#[test]
fn an_end_that_nobody_watched_is_found_by_the_next_list() {
    let mut ledger = Ledger::since(START);
    ledger.seen(running("a"), at(1));
    ledger.seen(running("b"), at(1));
    ledger.begin_list();
    ledger.seen(running("b"), at(70));
    ledger.end_list(at(70));
    assert_eq!((ledger.in_phase(Phase::Running), durations(&ledger).count), (Some(1), 1));
}

#[test]
fn an_end_before_our_time_belongs_to_another_ledger() {
    let mut ledger = Ledger::since(at(500));
    ledger.seen(ended("a", 499), at(501));
    ledger.gone(&ended("a", 499), at(502));
    assert_eq!(durations(&ledger).count, 0);
    ledger.seen(ended("b", 500), at(501));
    assert_eq!(durations(&ledger).count, 1);
}

#[test]
fn what_was_seen_alive_is_counted_whatever_its_clock_says() {
    let mut ledger = Ledger::since(at(500));
    ledger.seen(running("a"), at(501));
    ledger.gone(&Pod { deleted: Some(at(499)), ..running("a") }, at(502));
    ledger.seen(running("b"), at(501));
    ledger.seen(ended("b", 498), at(502));
    assert_eq!(durations(&ledger).count, 2);
}

#[test]
fn a_lost_label_is_no_end() {
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
    ledger.gone(&Pod { phase: Phase::Pending, started: None, deleted: Some(at(9)), ..running("a") }, at(9));
    assert_eq!(durations(&ledger).count, 0);
}

#[test]
fn failures_are_told_apart() {
    let mut ledger = Ledger::since(START);
    for (uid, failure) in [("a", Failure::Error), ("b", Failure::Error), ("c", Failure::Evicted)] {
        let ending = Ending::Failure(failure);
        ledger.seen(Pod { phase: Phase::Failed, ending, ..ended(uid, 10) }, at(11));
    }
    let failures = &ledger.totals()["cad"].failures;
    assert_eq!(failures, &BTreeMap::from([(Failure::Error, 2), (Failure::Evicted, 1)]));
}

#[test]
fn a_day_and_more_is_in_no_bucket_but_counted() {
    let mut ledger = Ledger::since(START);
    ledger.seen(ended("a", 86_401), at(86_401));
    assert_eq!((durations(&ledger).buckets, durations(&ledger).count), ([0; 9], 1));
}

#[test]
fn templates_are_bounded() {
    let mut ledger = Ledger::since(START);
    for n in 0..1000 {
        ledger.seen(Pod { template: Some(format!("t{n}")), ..running(&format!("u{n}")) }, at(1));
    }
    assert_eq!(ledger.totals().len(), MOST_TEMPLATES + 1);
    assert!(ledger.totals().contains_key(OTHER_TEMPLATE));
    ledger.seen(Pod { template: None, ..running("none") }, at(1));
    assert!(!ledger.totals().contains_key(NO_TEMPLATE));
}
