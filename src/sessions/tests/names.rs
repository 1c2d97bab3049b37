//! Templates and pools: which names a session has, and the bound on their number.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{Gone, Listed, Shown, TestWatch, read},
};
use crate::sessions::ledger::ActiveSettings;

/// A running pod without the sidecar in its spec.
fn without_sidecar(labels: &Json, annotations: &Json) -> Json {
    let mut pod = running();
    pod["metadata"]["labels"] = labels.clone();
    pod["metadata"]["annotations"] = annotations.clone();
    pod["spec"]["initContainers"] = json!([]);
    pod
}

#[test]
fn a_name_that_the_sidecar_would_not_show_is_no_name() {
    let key = "vdi-metrics.io/template";
    for (labels, annotations, expected) in [
        (json!({key: "cad"}), json!({key: "office"}), Some("cad")),
        (json!({key: ""}), json!({key: "office"}), Some("office")),
        (json!({}), json!({key: "x".repeat(253)}), Some(&*"x".repeat(253))),
        (json!({}), json!({key: "x".repeat(254)}), None),
        (json!({}), json!({key: "a\nb"}), None),
        (json!({}), json!({key: "a\u{7f}"}), None),
        (json!({}), json!({}), None),
    ] {
        let pod = read(&without_sidecar(&labels, &annotations));
        assert_eq!(pod.names.template.as_deref(), expected, "{labels} {annotations}");
    }
}

#[test]
fn the_names_do_not_change_after_the_desktop_has_run() {
    let renamed = with(running(), &json!({"metadata": {"labels": {"vdi-metrics.io/template": "office"}}}));
    let failed = in_phase(after_exit(renamed.clone(), 1, "Error", 600), "Failed");
    let watch = TestWatch::after(&[Shown(6, running()), Shown(10, renamed), Shown(601, failed)]);
    assert_eq!(watch.endings(), [("cad error".to_owned(), 1.0)]);
}

fn of_template(mut pod: Json, number: usize) -> Json {
    pod["metadata"]["uid"] = json!(format!("u{number}"));
    pod["metadata"]["labels"]["vdi-metrics.io/template"] = json!(format!("t{number}"));
    pod
}

fn ended() -> Json {
    in_phase(after_exit(running(), 0, "Completed", 600), "Succeeded")
}

#[test]
fn a_template_has_counters_of_0_before_its_first_event() {
    let watch = TestWatch::after(&[Shown(1, accepted())]);
    assert!(watch.series("vdi_session_failures_total").contains(&("cad oom_killed".to_owned(), 0.0)));
    assert!(watch.series("vdi_session_ended_total").contains(&("cad completed".to_owned(), 0.0)));
}

#[test]
fn templates_whose_pods_never_end_do_not_keep_slots_from_others() {
    let mut watch = TestWatch::new();
    watch.send(&Listed(0, (0..300).map(|number| of_template(accepted(), number)).collect()));
    let shown = |watch: &TestWatch| watch.ledger.totals().count();
    assert_eq!(shown(&watch), 200 + 1, "and `other`");
    for number in 1000..1150 {
        watch.send(&Shown(601, of_template(ended(), number)));
    }
    assert_eq!(shown(&watch), 200 + 1);
    let endings = watch.endings();
    assert_eq!(endings.len(), 150);
    assert!(endings.contains(&("t1149 completed".to_owned(), 1.0)), "{endings:?}");
}

#[test]
fn the_number_of_templates_with_ends_is_bounded() {
    let mut watch = TestWatch::after(&[]);
    for number in 0..1000 {
        watch.send(&Shown(601, of_template(ended(), number)));
        watch.send(&Gone(602, deleted(of_template(ended(), number), 602, 0)));
    }
    assert_eq!(watch.ledger.totals().count(), 200 + 1);
    assert!(watch.endings().contains(&("other completed".to_owned(), 800.0)));
    let total: f64 = watch.endings().iter().map(|(_, count)| count).sum();
    assert_eq!(total, 1000.0);
}

const DAY: i64 = 86_400;

/// A session that ends on this day, in a pod that was created on that day.
fn ended_on(day: i64, number: usize) -> Json {
    let date = format!("2026-02-{day:02}T00:10:00Z");
    let end =
        json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": date, "finishedAt": date}});
    with(
        in_phase(with(running(), &desktop(&end)), "Succeeded"),
        &json!({"metadata": {
        "uid": format!("u{number}"), "labels": {"vdi-metrics.io/template": format!("t{number}")}}}),
    )
}

#[test]
fn a_template_without_sessions_for_a_week_loses_its_slot_to_a_new_one() {
    let mut watch = TestWatch::after(&[]);
    let first = 31 * DAY;
    for number in 0..200 {
        watch.send(&Shown(first + number as i64, ended_on(1, number)));
        if number > 0 {
            watch.send(&Gone(first + number as i64, deleted(ended_on(1, number), 602, 0)));
        }
    }
    let names = |watch: &TestWatch| -> Vec<String> {
        watch.endings().into_iter().map(|(labels, _)| labels.split(' ').next().unwrap().to_owned()).collect()
    };
    watch.send(&Shown(first + 6 * DAY, ended_on(7, 1000)));
    assert!(names(&watch).contains(&"other".to_owned()), "a session of each template has ended in this week");
    watch.send(&Shown(first + 8 * DAY, ended_on(9, 1001)));
    let after = names(&watch);
    assert!(after.contains(&"t1001".to_owned()));
    // The pod of `t0` exists.
    assert!(after.contains(&"t0".to_owned()) && !after.contains(&"t1".to_owned()), "{after:?}");
    assert_eq!(watch.ledger.totals().count(), 200 + 1);
}

#[test]
fn names_of_the_configuration_always_have_a_slot() {
    let mut watch = TestWatch::after(&[]);
    for number in 0..250 {
        watch.send(&Shown(601, of_template(ended(), number)));
    }
    let configured =
        ActiveSettings { templates: vec!["t240".into(), "new".into()], ..ActiveSettings::default() };
    watch.ledger.configure(configured);
    watch.save();
    assert!(watch.series("vdi_session_ended_total").contains(&("new completed".to_owned(), 0.0)));
    watch.send(&Shown(601, of_template(ended(), 2400)));
    let mut pod = of_template(ended(), 240);
    pod["metadata"]["uid"] = json!("another");
    watch.send(&Shown(601, pod));
    assert!(watch.endings().contains(&("t240 completed".to_owned(), 1.0)), "{:?}", watch.endings());
    assert_eq!(watch.ledger.totals().count(), 200 + 1);
}

#[test]
fn sessions_with_another_configuration_are_shown_until_they_end() {
    let configured =
        |hash: &str| with(running(), &json!({"metadata": {"annotations": {"vdi-metrics.io/config": hash}}}));
    let mut watch = TestWatch::after(&[Shown(6, configured("a"))]);
    let old = |watch: &TestWatch| watch.series("vdi_sessions_with_old_configuration");
    for (active, expected) in [("a", 0.0), ("b", 1.0)] {
        watch.ledger.configure(ActiveSettings { hash: active.into(), ..ActiveSettings::default() });
        assert_eq!(old(&watch), [("cad".to_owned(), expected)]);
    }
    watch.send(&Shown(601, in_phase(after_exit(configured("a"), 0, "Completed", 600), "Succeeded")));
    assert_eq!(old(&watch), [("cad".to_owned(), 0.0)]);
}

#[test]
fn the_number_of_pairs_of_template_and_pool_is_bounded() {
    let pods = (0..2000).map(|number| {
        let pool = json!(format!("p{}", number % 150));
        let mut pod = of_template(ended(), number / 150);
        pod["metadata"]["uid"] = json!(format!("u{number}"));
        pod["spec"]["initContainers"] = json!([]);
        pod["metadata"]["labels"]["vdi-metrics.io/pool"] = pool;
        pod
    });
    let watch = TestWatch::after(&[Listed(601, pods.collect())]);
    let pairs = watch.series("vdi_sessions").len() / 6;
    assert!((400..=401).contains(&pairs), "{pairs}");
    let total: f64 = watch.shown("vdi_sessions").iter().map(|(_, count)| count).sum();
    assert_eq!(total, 2000.0);
}

#[test]
fn a_template_with_a_reserved_name_counts_as_other() {
    for name in ["none", "other"] {
        let pod = with(ended(), &json!({"metadata": {"labels": {"vdi-metrics.io/template": name}}}));
        assert_eq!(TestWatch::after(&[Shown(601, pod)]).endings(), [("other completed".to_owned(), 1.0)]);
    }
    let pod = with(ended(), &json!({"metadata": {"labels": {"vdi-metrics.io/template": null}}}));
    assert_eq!(TestWatch::after(&[Shown(601, pod)]).endings(), [("none completed".to_owned(), 1.0)]);
}

#[test]
fn a_session_of_more_than_a_day_is_counted_but_in_no_bucket() {
    let pod = with(ended(), &json!({"status": {"startTime": "2025-12-30T00:00:00Z"}}));
    let watch = TestWatch::after(&[Shown(601, pod)]);
    let (_, totals) = watch.ledger.totals().next().unwrap();
    assert_eq!((totals.durations.buckets, totals.durations.count), ([0; 9], 1));
}
