//! Templates and pools: which names a session has, and the bound on their number.

use serde_json::{Value as Json, json};

use super::{
    pods::*,
    watch::{Gone, Listed, Shown, TestWatch, read},
};

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
