//! Labels that come and go, lists, restarts of the server and repeated events: a session is counted once.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{Bookmark, Event, Gone, Listed, Read, ReadAhead, Shown, TestWatch, read, unix},
};
use crate::sessions::ledger::{LiveSession, Phase};

fn failed() -> Json {
    in_phase(after_exit(running(), 1, "Error", 600), "Failed")
}

fn named(mut pod: Json, uid: &str) -> Json {
    pod["metadata"]["uid"] = json!(uid);
    pod
}

/// The reason and the durations of the only session.
#[track_caller]
fn once(events: &[Event], reason: &str, durations: (u64, f64)) {
    let watch = TestWatch::after(events);
    assert_eq!(watch.endings(), [(format!("cad {reason}"), 1.0)], "{events:#?}");
    assert_eq!(watch.durations(), durations, "{events:#?}");
}

#[test]
fn an_end_is_counted_once_however_often_the_watch_shows_it() {
    let removed = deleted(failed(), 700, 0);
    let events = [
        Shown(6, running()),
        Shown(601, failed()),
        Shown(650, failed()),
        Listed(660, vec![failed()]),
        Gone(700, removed),
    ];
    once(&events, "error", (1, 600.0));
}

#[test]
fn a_label_that_comes_and_goes_after_the_end_does_not_count_the_session_again() {
    let mut events = vec![Shown(6, running()), Shown(601, failed())];
    for round in 0..3 {
        events.extend([Gone(610 + round, failed()), Shown(620 + round, failed())]);
    }
    events.push(Gone(700, deleted(failed(), 700, 0)));
    once(&events, "error", (1, 600.0));
}

#[test]
fn a_label_that_comes_and_goes_while_the_pod_terminates_does_not_end_the_session() {
    let terminating = deleted(running(), 590, 30);
    let last = deleted(failed(), 590, 30);
    let removed = deleted(failed(), 601, 0);
    let events = [
        Shown(6, running()),
        Shown(590, terminating.clone()),
        Gone(592, terminating.clone()),
        Shown(593, terminating),
        Shown(600, last),
        Gone(601, removed),
    ];
    once(&events, "deleted", (1, 600.0));
}

#[test]
fn a_running_session_that_loses_its_label_has_not_ended() {
    let events = [Shown(6, running()), Gone(10, running())];
    assert_eq!(TestWatch::after(&events).endings(), []);
    once(&[&events[..], &[Shown(20, running()), Shown(601, failed())]].concat(), "error", (1, 600.0));
}

#[test]
fn a_session_that_ends_without_its_label_is_counted_when_it_regains_it() {
    let events = [
        Shown(6, running()),
        Gone(10, running()),
        Shown(700, failed()),
        Gone(710, failed()),
        Shown(720, failed()),
    ];
    once(&events, "error", (1, 600.0));
}

#[test]
fn a_label_that_comes_back_brings_back_what_was_seen_before() {
    // The last object shows neither the run nor the first request.
    let last = in_phase(with(deleted(running(), 601, 0), &desktop(&status_unknown())), "Failed");
    let events = [
        Shown(6, running()),
        Shown(590, deleted(running(), 590, 30)),
        Gone(592, deleted(running(), 590, 30)),
        Shown(601, last.clone()),
        Gone(602, last),
    ];
    once(&events, "deleted", (1, 590.0));
}

#[test]
fn a_pod_that_a_finalizer_keeps_is_counted_once_when_its_label_comes_and_goes() {
    let kept = with(deleted(failed(), 700, 0), &json!({"metadata": {"finalizers": ["example.com/keep"]}}));
    let events = [
        Shown(6, running()),
        Shown(601, failed()),
        Shown(700, kept.clone()),
        Gone(710, kept.clone()),
        Shown(720, kept.clone()),
        Gone(800, kept),
    ];
    once(&events, "error", (1, 600.0));
}

#[test]
fn a_session_that_disappears_while_the_watch_is_interrupted_ends_when_the_interruption_began() {
    let other = named(running(), "other");
    let events =
        [Shown(6, running()), Shown(6, other.clone()), Shown(300, other.clone()), Listed(400, vec![other])];
    assert_eq!(TestWatch::after(&events).endings(), [], "the pod can have lost its label");
    let events = [&events[..], &[Read(401, None)]].concat();
    once(&events, "unknown", (1, 300.0));
}

#[test]
fn a_session_that_disappears_after_its_desktop_has_ended_lasts_until_that_end() {
    let exited = after_exit(running(), 3, "Error", 200);
    for (state, seconds) in [(exited, 200.0), (deleted(running(), 250, 30), 250.0)] {
        let other = named(running(), "other");
        let events = [
            Shown(6, running()),
            Shown(260, state),
            Shown(300, other.clone()),
            Listed(400, vec![other]),
            Read(500, None),
        ];
        once(&events, "unknown", (1, seconds));
    }
}

#[test]
fn a_session_that_disappears_in_a_gap_was_not_seen_by_the_events_after_the_gap() {
    let mut watch = TestWatch::after(&[Shown(6, running())]);
    let mut later = read(&named(running(), "other"));
    later.version = 50;
    watch.ledger.begin_gap();
    watch.ledger.seen(&later, unix(350));
    watch.ledger.begin_list();
    watch.ledger.seen(&later, unix(400));
    watch.ledger.end_list(60, unix(400));
    watch.send(&Read(401, None));
    assert_eq!((watch.endings(), watch.durations()), (vec![("cad unknown".to_owned(), 1.0)], (1, 6.0)));
}

#[test]
fn a_list_that_is_interrupted_and_repeated_does_not_move_the_end() {
    let mut watch = TestWatch::after(&[Shown(6, running())]);
    watch.ledger.begin_list();
    watch.send(&Shown(350, named(running(), "other")));
    watch.send(&Listed(400, vec![named(running(), "other")]));
    watch.send(&Read(401, None));
    assert_eq!((watch.endings(), watch.durations()), (vec![("cad unknown".to_owned(), 1.0)], (1, 6.0)));
}

#[test]
fn a_session_that_is_not_in_a_list_and_appears_again_continues() {
    let events =
        [Shown(6, running()), Listed(300, vec![]), Listed(400, vec![running()]), Shown(601, failed())];
    once(&events, "error", (1, 600.0));
}

#[test]
fn a_session_that_ends_without_its_label_is_counted_by_a_read() {
    let lost = [Shown(6, running()), Gone(10, running()), Read(40, Some(running()))];
    once(&[&lost[..], &[Read(601, Some(failed())), Read(700, None)]].concat(), "error", (1, 600.0));
    once(&[&lost[..], &[Bookmark(600, 0), Read(601, None)]].concat(), "unknown", (1, 40.0));
    let regained = [&lost[..], &[Shown(50, running()), Read(80, None), Shown(601, failed())]].concat();
    once(&regained, "error", (1, 600.0));
    let other = named(running(), "another pod with this name");
    once(&[&lost[..], &[Bookmark(600, 1), Read(601, Some(other))]].concat(), "unknown", (1, 40.0));
}

#[test]
fn a_read_without_the_pod_decides_when_every_event_before_it_is_known() {
    // A new leader reads at once, and its watch is late with the events after the saved state.
    let late = [
        Shown(6, running()),
        Gone(10, running()),
        ReadAhead(40, 3),
        Shown(41, running()),
        Shown(42, deleted(running(), 39, 0)),
        ReadAhead(43, 1),
        Gone(44, deleted(running(), 39, 0)),
        Read(70, None),
    ];
    once(&late, "deleted", (1, 39.0));
    let unlabelled = [Shown(6, running()), Gone(10, running()), ReadAhead(40, 3)];
    assert_eq!(TestWatch::after(&unlabelled).endings(), []);
    let other = named(running(), "other");
    let later =
        [Shown(41, other.clone()), ReadAhead(60, 9), Shown(61, other), Bookmark(62, 2), ReadAhead(80, 9)];
    once(&[&unlabelled[..], &later].concat(), "unknown", (1, 10.0));
}

#[test]
fn a_removal_that_cannot_be_decoded_is_decided_by_a_read() {
    let mut watch = TestWatch::after(&[Shown(6, running())]);
    watch.ledger.unreadable("u".to_owned(), true, unix(50));
    watch.send(&Read(71, None));
    assert_eq!((watch.endings(), watch.durations()), (vec![("cad unknown".to_owned(), 1.0)], (1, 50.0)));
}

#[test]
fn a_clock_that_was_ahead_does_not_make_a_session_longer() {
    let other = named(running(), "other");
    let events =
        [Shown(6, running()), Shown(80_000, other.clone()), Listed(400, vec![other]), Read(401, None)];
    once(&events, "unknown", (1, 400.0));
}

#[test]
fn a_pod_that_is_not_read_often_and_not_before_it_is_due() {
    let mut watch = TestWatch::after(&[Shown(6, running()), Gone(10, running())]);
    assert_eq!(watch.ledger.unseen(unix(29), 9), []);
    let due = watch.ledger.unseen(unix(30), 9);
    assert_eq!((due.len(), due[0].uid.as_str(), due[0].key.name.as_str()), (1, "u", "desktop"));
    watch.send(&Read(30, Some(running())));
    assert_eq!(watch.ledger.unseen(unix(49), 9), []);
}

#[test]
fn a_pod_that_never_ran_and_disappears_has_no_duration() {
    once(&[Shown(1, accepted()), Listed(300, vec![]), Read(301, None)], "unknown", (0, 0.0));
}

#[test]
fn ends_that_an_earlier_server_counted_are_not_counted_again() {
    let rejected = refused(accepted(), "OutOfcpu");
    let unlocated = in_phase(with(running(), &desktop(&status_unknown())), "Failed");
    let removed = deleted(failed(), 700, 0);
    for pod in [failed(), rejected, unlocated, removed] {
        let mut watch = TestWatch::started_at(1000);
        watch.send(&Listed(1001, vec![pod.clone()]));
        watch.send(&Shown(1002, pod.clone()));
        watch.send(&Gone(1003, deleted(pod.clone(), 1003, 0)));
        assert_eq!(watch.endings(), [], "{pod:#}");
    }
}

#[test]
fn ends_since_the_start_of_the_server_are_counted() {
    let mut watch = TestWatch::started_at(550);
    watch.send(&Listed(610, vec![failed()]));
    assert_eq!(watch.endings(), [("cad error".to_owned(), 1.0)]);
    // This session runs when the server starts, and the clock of its node is behind.
    let mut watch = TestWatch::started_at(1000);
    watch.send(&Listed(1001, vec![running()]));
    watch.send(&Shown(1002, failed()));
    assert_eq!(watch.endings(), [("cad error".to_owned(), 1.0)]);
}

#[test]
fn an_older_event_changes_nothing() {
    let mut watch = TestWatch::after(&[Shown(6, running()), Shown(601, failed())]);
    let phases = watch.ledger.phases();
    let mut stale = read(&running());
    for version in [1, 2] {
        stale.version = version;
        watch.ledger.seen(&stale, unix(700));
        watch.ledger.gone(&stale, unix(700));
    }
    assert_eq!((watch.ledger.phases(), watch.endings().len()), (phases, 1));
}

#[test]
fn an_event_of_a_removed_pod_does_not_bring_it_back() {
    let mut watch = TestWatch::after(&[Shown(6, running()), Gone(601, deleted(failed(), 601, 0))]);
    let mut stale = read(&running());
    stale.version = 2;
    watch.ledger.seen(&stale, unix(700));
    assert_eq!(watch.ledger.phases().unwrap()[&Phase::Running], 0);
}

#[test]
fn the_devices_of_a_session_are_remembered_after_its_last_status() {
    let mut holds = running();
    holds["status"]["containerStatuses"][0]["allocatedResourcesStatus"] =
        json!([{"name": "nvidia.com/gpu", "resources": [{"resourceID": "GPU-1", "health": "Healthy"}]}]);
    let mut live = LiveSession::new(&read(&holds), false);
    live.observe(&read(&holds));
    live.observe(&read(&failed()));
    let devices: Vec<_> = live.devices().map(|device| (device.source.as_str(), device.id.as_str())).collect();
    assert_eq!(devices, [("kubelet", "GPU-1")]);
}

#[test]
fn a_live_session_can_be_stored() {
    let mut live = LiveSession::new(&read(&running()), false);
    live.observe(&read(&deleted(running(), 590, 30)));
    let stored = serde_json::to_string(&live).unwrap();
    assert_eq!(serde_json::from_str::<LiveSession>(&stored).unwrap(), live, "{stored}");
    let mut live = LiveSession::new(&read(&running()), true);
    live.observe(&read(&running()));
    let stored = serde_json::to_string(&live).unwrap();
    assert!(stored.len() <= 300, "{} bytes for a running session: {stored}", stored.len());
}
