//! The pauses that admission sees, and the trial pods.

use super::{CONFIG, Story};
use crate::{
    admission::InjectionRequest,
    breaker::{
        circuit::{MAX_TRIAL_INTERVAL, TRIAL_INTERVAL},
        pauses::Pauses,
    },
};

const REQUEST: InjectionRequest<'_> =
    InjectionRequest { template: Some("cad"), config: CONFIG, is_dry_run: false };

/// How many of the pods that are created each second until `end` get a sidecar.
fn injected(pauses: &Pauses, start: i64, end: i64) -> usize {
    (start..end).filter(|second| !pauses.apply_to(&REQUEST, second * 1000)).count()
}

#[test]
fn one_pod_in_a_minute_gets_a_sidecar() {
    let story = Story::with_cad_open();
    let pauses = Pauses::default().next(&story.state);
    assert_eq!(injected(&pauses, story.now, story.now + TRIAL_INTERVAL), 0);
    assert_eq!(injected(&pauses, story.now + TRIAL_INTERVAL, story.now + 6 * TRIAL_INTERVAL), 5);
}

#[test]
fn a_new_snapshot_allows_no_second_trial() {
    let story = Story::with_cad_open();
    let pauses = Pauses::default().next(&story.state);
    let now = (story.now + TRIAL_INTERVAL) * 1000;
    assert!(!pauses.apply_to(&REQUEST, now));
    assert!(pauses.next(&story.state).apply_to(&REQUEST, now + 1));
}

#[test]
fn the_time_between_trials_grows_while_they_fail() {
    let mut story = Story::with_cad_open();
    let mut pauses = Pauses::default().next(&story.state);
    let mut gaps = vec![];
    for trial in 0..4 {
        let began = story.now;
        while pauses.apply_to(&REQUEST, story.now * 1000) {
            story.now += 1;
        }
        gaps.push(story.now - began);
        story.fails(&format!("trial-{trial}"), "cad", "n1");
        pauses = pauses.next(&story.state);
    }
    let expected = [TRIAL_INTERVAL, 2 * TRIAL_INTERVAL, 4 * TRIAL_INTERVAL, MAX_TRIAL_INTERVAL];
    assert_eq!(gaps, expected);
}

#[test]
fn a_pause_covers_the_pods_of_its_template_and_configuration() {
    let mut story = Story::with_cad_open();
    let pauses = Pauses::default().next(&story.state);
    let now = story.now * 1000;
    for (request, is_paused) in [
        (REQUEST, true),
        (InjectionRequest { template: Some("office"), ..REQUEST }, false),
        (InjectionRequest { template: None, ..REQUEST }, false),
        (InjectionRequest { config: "changed", ..REQUEST }, false),
    ] {
        assert_eq!(pauses.apply_to(&request, now), is_paused, "{request:?}");
    }
    story.fails("d", "office", "n1");
    story.fails("e", "", "n1");
    assert_eq!(story.open().len(), 2);
    let pauses = pauses.next(&story.state);
    assert!(pauses.apply_to(&InjectionRequest { template: None, ..REQUEST }, now), "all pods");
}

#[test]
fn a_dry_run_is_no_trial() {
    let story = Story::with_cad_open();
    let pauses = Pauses::default().next(&story.state);
    let now = (story.now + TRIAL_INTERVAL) * 1000;
    assert!(pauses.apply_to(&InjectionRequest { is_dry_run: true, ..REQUEST }, now));
    assert!(!pauses.apply_to(&REQUEST, now));
}

#[test]
fn a_closed_circuit_pauses_nothing() {
    let mut story = Story::with_cad_open();
    let pauses = Pauses::default().next(&story.state);
    story.starts("a", "cad", "n1");
    assert!(!pauses.next(&story.state).apply_to(&REQUEST, story.now * 1000));
}
