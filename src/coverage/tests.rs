//! The pods that count, their reasons, and the order of Events.

use std::collections::BTreeMap;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use serde_json::{Value, json};

use super::{
    announcements::{Announcement, Announcements, MAX_SUBJECTS},
    event::event,
    judge::{self, OptIn, OptInTimes, WebhookMark},
    read,
    reason::NoSidecarReason::{self, CreatedBefore, Missed, Skipped},
    store::CoverageStore,
};
use crate::{
    admission::{Outcome, SkipReason, selection::shipped_webhooks},
    contract::key,
};

/// The webhook configuration was created at this time, and the namespace `desktops` opted in 10 s later.
const CONFIGURED: i64 = 1_800_000_000;
const OPTED_IN: i64 = CONFIGURED + 10;

fn metadata(value: Value) -> ObjectMeta {
    serde_json::from_value(value).unwrap()
}

fn time(unix: i64) -> String {
    Timestamp::from_second(unix).unwrap().to_string()
}

/// A pod of the namespace `desktops`, created at this time.
fn pod(uid: &str, created: i64, fields: &Value) -> ObjectMeta {
    let mut pod =
        json!({"uid": uid, "name": uid, "namespace": "desktops", "creationTimestamp": time(created)});
    pod.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    metadata(pod)
}

fn label(value: &str) -> Value {
    json!({"labels": {key::INJECT: value}})
}

fn annotation(key: &str, value: &str) -> Value {
    json!({"annotations": {key: value}})
}

/// A store in which `desktops` has opted in, with these pods.
fn store(pods: &[ObjectMeta]) -> CoverageStore {
    let mut store = CoverageStore::new(shipped_webhooks().unwrap());
    store.begin_namespaces();
    store.namespace_listed("desktops", OPTED_IN);
    assert_eq!(store.end_namespaces(), Vec::<String>::new());
    store.begin_configurations();
    store.configuration_seen("vdi-metrics", CONFIGURED);
    store.end_configurations();
    list(&mut store, pods);
    store
}

fn list(store: &mut CoverageStore, pods: &[ObjectMeta]) {
    store.begin_pods();
    for pod in pods {
        store.pod_seen(&read::pod(pod).unwrap());
    }
    store.end_pods();
}

fn see(store: &mut CoverageStore, pod: &ObjectMeta) {
    store.pod_seen(&read::pod(pod).unwrap());
}

/// The UIDs of the pods that count.
fn uids(store: &CoverageStore) -> Vec<&str> {
    store.pods().map(|(uid, _)| uid).collect()
}

fn counts(store: &CoverageStore) -> [u64; 3] {
    let counts = store.counts();
    [CreatedBefore, Missed, Skipped].map(|reason| counts[&reason])
}

#[test]
fn only_opted_in_pods_without_a_sidecar_count() {
    let later = OPTED_IN + 1;
    let mirror = annotation("kubernetes.io/config.mirror", "hash");
    let in_namespace = |name: &str, inject: &str| json!({"namespace": name, "labels": {key::INJECT: inject}});
    for (case, fields, created, expected) in [
        ("created after both", json!({}), later, Some(Missed)),
        ("created in the second of the opt-in", json!({}), OPTED_IN, Some(CreatedBefore)),
        ("created before the opt-in", json!({}), OPTED_IN - 1, Some(CreatedBefore)),
        ("own label, after the webhook", label("enabled"), CONFIGURED + 1, Some(Missed)),
        ("own label, before the webhook", label("enabled"), CONFIGURED, Some(CreatedBefore)),
        ("unknown value of the label", label("yes"), later, Some(Missed)),
        ("opted out by label", label("disabled"), later, None),
        ("opted out by annotation", annotation(key::INJECT, "disabled"), later, None),
        ("mirror pod", mirror, later, None),
        ("own label in another namespace", in_namespace("other", "enabled"), later, Some(Missed)),
        ("no label in another namespace", json!({"namespace": "other"}), later, None),
        ("system namespace", in_namespace("kube-system", "enabled"), later, None),
        ("host network", annotation(key::STATUS, "skipped: host_network"), later, Some(Skipped)),
        ("skipped before a new configuration", annotation(key::STATUS, "skipped: windows"), 0, Some(Skipped)),
        ("a reason of a later version", annotation(key::STATUS, "skipped: new"), later, Some(Skipped)),
        ("another status", annotation(key::STATUS, "unknown"), later, Some(Missed)),
        ("opted out by the webhook", annotation(key::STATUS, "skipped: opted_out"), later, None),
        ("injected, but the label is lost", annotation(key::STATUS, "injected"), later, None),
        ("deleted", json!({"deletionTimestamp": time(later)}), later, None),
    ] {
        let store = store(&[pod("a", created, &fields)]);
        let counted: Vec<_> = store.pods().map(|(_, pod)| store.reason(pod)).collect();
        assert_eq!(counted, expected.into_iter().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn the_decision_is_read_as_admission_writes_it() {
    for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Repaired) {
        let pod = pod("a", 0, &annotation(key::STATUS, &outcome.to_string()));
        let expected = match outcome {
            Outcome::Skipped(reason) => WebhookMark::Skipped(Some(reason)),
            Outcome::Injected | Outcome::Repaired => WebhookMark::Injected,
        };
        assert_eq!(judge::mark(&read::pod(&pod).unwrap()), expected, "{outcome}");
    }
}

#[test]
fn without_a_webhook_configuration_only_the_opt_in_decides() {
    let reason = |namespace, created| judge::reason(created, false, OptInTimes { namespace, webhook: None });
    assert_eq!(reason(Some(OPTED_IN), OPTED_IN), CreatedBefore);
    assert_eq!(reason(Some(OPTED_IN), OPTED_IN + 1), Missed);
    assert_eq!(reason(None, 0), Missed);
}

#[test]
fn the_opt_in_of_a_namespace_is_the_earliest_change_by_a_client_that_manages_the_label() {
    let entry = |at: i64, label: &str| {
        json!({"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": time(at), "fieldsV1": {"f:metadata": {"f:labels": {format!("f:{label}"): {}}}}})
    };
    for (entries, expected) in [
        (vec![], None),
        (vec![entry(40, "team")], None),
        (vec![entry(20, "team"), entry(40, key::INJECT), entry(30, key::INJECT)], Some(30)),
    ] {
        let namespace =
            metadata(json!({"name": "desktops", "creationTimestamp": time(5), "managedFields": entries}));
        assert_eq!(read::opted_in(&namespace), expected);
    }
}

#[test]
fn a_later_change_of_the_namespace_does_not_change_the_reason() {
    let mut store = store(&[pod("a", OPTED_IN + 1, &json!({}))]);
    assert_eq!(counts(&store), [0, 1, 0]);
    assert!(!store.namespace_seen("desktops", OPTED_IN + 100), "its pods are known");
    assert_eq!(counts(&store), [0, 1, 0]);
    store.begin_namespaces();
    store.namespace_listed("desktops", OPTED_IN + 100);
    assert_eq!(store.end_namespaces(), Vec::<String>::new());
    assert_eq!(counts(&store), [0, 1, 0]);
}

#[test]
fn the_counts_follow_the_labels_of_namespaces() {
    let mut store = store(&[pod("a", 0, &json!({})), pod("b", 0, &label("enabled"))]);
    assert_eq!(uids(&store), ["a", "b"]);
    store.namespace_gone("desktops");
    assert_eq!(uids(&store), ["b"]);
    assert!(store.namespace_seen("desktops", OPTED_IN), "its pods must be listed");
    store.pod_listed(&read::pod(&pod("a", 0, &json!({}))).unwrap());
    assert_eq!(uids(&store), ["a", "b"]);

    // The same while the watch of namespaces was interrupted.
    store.begin_namespaces();
    store.namespace_listed("new", OPTED_IN);
    assert_eq!(store.end_namespaces(), ["new"]);
    assert_eq!(uids(&store), ["b"]);
}

#[test]
fn a_namespace_that_opts_in_during_a_list_of_all_pods_is_complete_after_it() {
    let of_new = pod("a", 0, &json!({"namespace": "new"}));
    let mut store = store(&[]);
    store.begin_pods();
    see(&mut store, &of_new);
    store.namespace_seen("new", OPTED_IN);
    store.pod_listed(&read::pod(&of_new).unwrap());
    assert_eq!(uids(&store), ["a"]);
    store.end_pods();
    assert_eq!(uids(&store), ["a"]);
}

#[test]
fn a_pod_that_changes_or_is_missing_in_a_new_list_does_not_count_any_more() {
    let [a, b, c] = ["a", "b", "c"].map(|uid| pod(uid, 0, &json!({})));
    let mut store = store(&[a, b.clone(), c]);
    see(&mut store, &pod("a", 0, &annotation(key::INJECT, "disabled")));
    assert_eq!(uids(&store), ["b", "c"]);
    store.pod_gone("c");
    assert_eq!(uids(&store), ["b"]);
    see(&mut store, &pod("d", 0, &json!({})));
    list(&mut store, &[b]);
    assert_eq!(uids(&store), ["b"]);
}

#[test]
fn there_are_no_counts_before_every_list_is_complete() {
    let mut store = CoverageStore::new(shipped_webhooks().unwrap());
    let empty = BTreeMap::new();
    store.begin_namespaces();
    store.end_namespaces();
    assert_eq!(store.counts(), empty);
    list(&mut store, &[]);
    assert_eq!(store.counts(), empty);
    store.skip_configurations();
    assert_eq!(store.counts(), NoSidecarReason::ALL.map(|reason| (reason, 0)).into());
}

fn owned(uid: &str, owner: &str, created: i64) -> ObjectMeta {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true});
    pod(uid, created, &json!({"ownerReferences": [owner]}))
}

/// Every Event that is missing, in their order.
fn announce(announcements: &mut Announcements, store: &CoverageStore) -> Vec<Announcement> {
    let next = || {
        let announcement = announcements.next(store)?;
        announcements.done(&announcement);
        Some(announcement)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn each_owner_gets_one_event_for_each_reason() {
    let pods = [owned("a", "set", 0), owned("b", "set", 0), owned("c", "set", OPTED_IN + 1)];
    let mut store = store(&[&pods[..], &[pod("d", 0, &json!({}))]].concat());
    let mut announcements = Announcements::default();
    let written = announce(&mut announcements, &store);
    let written: Vec<_> =
        written.iter().map(|it| (&*it.subject.kind, &*it.subject.name, it.reason)).collect();
    let expected =
        [("ReplicaSet", "set", CreatedBefore), ("ReplicaSet", "set", Missed), ("Pod", "d", CreatedBefore)];
    assert_eq!(written, expected);
    see(&mut store, &owned("e", "set", 0));
    assert_eq!(announce(&mut announcements, &store), []);
    see(&mut store, &owned("f", "other", 0));
    assert_eq!(announce(&mut announcements, &store).len(), 1);
}

#[test]
fn an_event_that_was_not_written_is_the_next_one_again() {
    let store = store(&[pod("a", 0, &json!({}))]);
    let mut announcements = Announcements::default();
    assert!(announcements.next(&store).is_some());
    assert_eq!(announcements.next(&store), announcements.next(&store));
    assert_eq!(announce(&mut announcements, &store).len(), 1);
}

#[test]
fn the_memory_of_events_is_bounded_and_forgets_objects_without_pods() {
    let all: Vec<_> = (0..MAX_SUBJECTS + 5).map(|index| pod(&format!("{index:06}"), 0, &json!({}))).collect();
    let mut store = store(&all);
    let mut announcements = Announcements::default();
    assert_eq!(announce(&mut announcements, &store).len(), MAX_SUBJECTS);
    store.pod_gone("000000");
    store.pod_gone("000001");
    let more = announce(&mut announcements, &store);
    assert_eq!(more.iter().map(|it| &*it.pod).collect::<Vec<_>>(), ["010000", "010001"]);
}

#[test]
fn an_event_fits_the_limits_of_the_api() {
    let long = "p".repeat(253);
    let mut skips: Vec<_> =
        SkipReason::ALL.into_iter().map(|reason| format!("skipped: {}", reason.as_str())).collect();
    skips.push("skipped: unknown".to_owned());
    let mut pods: Vec<_> = skips.iter().map(|status| pod("a", 0, &annotation(key::STATUS, status))).collect();
    pods.extend([pod("a", 0, &json!({})), pod("a", OPTED_IN + 1, &json!({}))]);
    for mut metadata in pods {
        metadata.name = Some(long.clone());
        let store = store(&[metadata]);
        for announcement in announce(&mut Announcements::default(), &store) {
            let event = event(&announcement, Timestamp::UNIX_EPOCH);
            assert!(event.note.as_ref().unwrap().len() <= 1024, "{event:?}");
            let name = event.metadata.name.unwrap();
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '.'), "{name}");
        }
    }
}

#[test]
fn the_event_names_the_owner_the_pod_the_cause_and_the_remedy() {
    let mut skipped = owned("a", "set", 0);
    skipped.annotations = Some([(key::STATUS.to_owned(), "skipped: host_network".to_owned())].into());
    let store = store(&[skipped]);
    let announcement = Announcements::default().next(&store).unwrap();
    let event = serde_json::to_value(event(&announcement, Timestamp::UNIX_EPOCH)).unwrap();
    assert_eq!(
        event["regarding"],
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "desktops", "name": "set", "uid": "set"})
    );
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("NoMetricsSidecar")));
    let note = event["note"].as_str().unwrap();
    assert!(
        note.starts_with("Pod a has no metrics sidecar") && note.contains("skipped it: host_network. "),
        "{note}"
    );
}

#[test]
fn the_label_of_the_pod_stands_above_the_label_of_the_namespace() {
    let webhooks = shipped_webhooks().unwrap();
    for (fields, namespace, expected) in [
        (label("enabled"), true, Some(OptIn::Pod)),
        (label("enabled"), false, Some(OptIn::Pod)),
        (json!({}), true, Some(OptIn::Namespace)),
        (json!({}), false, None),
    ] {
        let pod = pod("a", 0, &fields);
        assert_eq!(judge::opt_in(&webhooks, &read::pod(&pod).unwrap(), namespace), expected);
    }
}
