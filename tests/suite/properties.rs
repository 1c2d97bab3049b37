//! The algebra of injection over pods at random (`kit::random_pods`): whatever a pod is like and whatever is configured, what
//! holds for one holds for all. `PROPTEST_CASES` raises the number of pods, 256 for each property.

mod damage;
mod sidecar;
mod uninject;

use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use kit::{
    answer::{Answer, OwnedFields, UID, review},
    pod_defaults::{Qos, qos, stored},
    random_pods,
};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    contract::{CONTAINER, key},
};

use damage::{DAMAGE, harm, is_left, without_sidecar};
use sidecar::{is_harmless, place};

/// Configurations that change what is injected.
static INJECTORS: LazyLock<Vec<Injector>> =
    LazyLock::new(|| CONFIGURATIONS.iter().map(|text| Injector::new(settings(text))).collect());

const CONFIGURATIONS: [&str; 6] = [
    "sidecar: {}",
    "sidecar: {mode: container, fixedUser: false}",
    "gpuAccess: runtime\nshowUser: true",
    "scrapeAnnotations: auto\ngpuAccess: none",
    "sidecar: {imagePullSecrets: [ours, registry], imagePullPolicy: Always, port: 9500}",
    "sidecar: {resources: {requests: {cpu: 0.5, memory: 1000Mi}, limits: {cpu: 1000m, memory: 1024Mi}}}
profiles:
- {name: anybody, matchLabels: {app: desktop}, session: example.com/session, user: note, pool: app.kubernetes.io/name}",
];

fn settings(text: &str) -> Settings {
    Settings::parse(text, Path::new("config.yaml")).unwrap()
}

fn any_injector() -> impl Strategy<Value = &'static Injector> {
    select((0..CONFIGURATIONS.len()).collect::<Vec<_>>()).prop_map(|index| &INJECTORS[index])
}

const SCRAPE: [&str; 3] = ["prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"];

const OURS: OwnedFields<'_> = OwnedFields {
    keys: &[key::INJECTED, key::STATUS, key::CONFIG, SCRAPE[0], SCRAPE[1], SCRAPE[2]],
    container: CONTAINER,
};

/// What became of a pod.
struct Admitted {
    decision: String,
    warnings: Vec<String>,
    is_patched: bool,
    pod: Value,
}

/// One call, in which everything that holds for every call is looked at.
fn admit(pod: &Value, injector: &Injector) -> Admitted {
    let body = random_pods::text(&review(pod, "desktops"));
    let admission = injector.admit(body.as_bytes(), &Namespaces::default()).unwrap();
    let answer = Answer::read(&admission.reply, UID);
    assert_eq!(answer.decision, admission.outcome.to_string());
    let offline = injector.consider(random_pods::text(pod).as_bytes(), "desktops", &Namespaces::default());
    assert_eq!((offline.outcome, &offline.patch), (admission.outcome, &answer.patch), "consider and admit");
    let pod = answer.applied(pod, &OURS);
    Admitted { is_patched: answer.patch.is_some(), decision: answer.decision, warnings: answer.warnings, pod }
}

/// The document without what injection added to it, given what it was before.
fn without_ours(mut pod: Value, before: &Value, injector: &Injector) -> Value {
    let secrets = &injector.settings().sidecar.image_pull_secrets;
    let is_ours = |item: &Value| item["name"] == CONTAINER;
    let is_secret = |item: &Value| secrets.iter().any(|secret| *item == json!({"name": secret}));
    let mut containers = drop_added(&mut pod["spec"], &before["spec"], "initContainers", is_ours);
    containers += drop_added(&mut pod["spec"], &before["spec"], "containers", is_ours);
    assert!(containers <= 1, "{containers} containers");
    assert_eq!(drop_added(&mut pod["spec"], &before["spec"], "volumes", is_ours), containers);
    drop_added(&mut pod["spec"], &before["spec"], "imagePullSecrets", is_secret);
    restore(&mut pod, before, "labels", &[key::INJECTED]);
    restore(&mut pod, before, "annotations", &[key::STATUS, key::CONFIG]);
    if !mentions_prometheus(before) {
        restore(&mut pod, before, "annotations", &SCRAPE);
    }
    pod
}

/// How many items the list has more than before.
fn drop_added(spec: &mut Value, before: &Value, list: &str, may_be: impl Fn(&Value) -> bool) -> usize {
    let known = before[list].as_array().map_or(0, Vec::len);
    let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) else { return 0 };
    let added = items.split_off(known);
    assert!(added.iter().all(may_be), "{list} has got {added:?}");
    added.len()
}

fn restore(pod: &mut Value, before: &Value, map: &str, keys: &[&str]) {
    let Some(entries) = pod["metadata"][map].as_object_mut() else { return };
    for key in keys {
        match before["metadata"][map].get(key) {
            Some(value) => entries.insert((*key).to_owned(), value.clone()),
            None => entries.remove(*key),
        };
    }
}

fn mentions_prometheus(pod: &Value) -> bool {
    let annotations = pod["metadata"]["annotations"].as_object();
    annotations.into_iter().flatten().any(|(key, _)| key.to_ascii_lowercase().starts_with("prometheus"))
}

/// Absent, null and empty are the same to the API server where a list or map is expected.
fn without_empty(mut pod: Value) -> Value {
    let prune = |parent: &mut Value, fields: &[&str]| {
        if let Value::Object(parent) = parent {
            let empty = |value: &Value| value.is_null() || *value == json!([]) || *value == json!({});
            parent.retain(|field, value| !(fields.contains(&field.as_str()) && empty(value)));
        }
    };
    prune(&mut pod["metadata"], &["labels", "annotations"]);
    prune(&mut pod["spec"], &["initContainers", "volumes", "imagePullSecrets"]);
    prune(&mut pod, &["metadata"]);
    pod
}

proptest! {
    #[test]
    fn whatever_a_pod_is_like_its_answer_is_sound(pod in random_pods::possibly_invalid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        let twice = admit(&once.pod, injector);
        prop_assert!(!twice.is_patched, "{} then {}: {}", once.decision, twice.decision, twice.pod);
    }

    #[test]
    fn what_is_not_ours_is_unchanged(pod in random_pods::valid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        let rest = without_empty(without_ours(once.pod, &pod, injector));
        prop_assert_eq!(rest, without_empty(pod), "{}", once.decision);
    }

    #[test]
    fn a_skip_adds_its_reason_and_nothing_else(pod in random_pods::valid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        if once.decision != "injected" {
            let mut expected = pod.clone();
            if once.is_patched {
                expected["metadata"]["annotations"][key::STATUS] = json!(once.decision);
            }
            prop_assert_eq!(once.pod, expected);
        }
    }

    #[test]
    fn what_the_api_server_stored_is_not_injected_again(pod in random_pods::valid(), injector in any_injector()) {
        // The first call sees a defaulted pod already; goldens and the CLI do not.
        for pod in [pod.clone(), stored(&pod)] {
            let once = admit(&pod, injector);
            let twice = admit(&stored(&once.pod), injector);
            prop_assert!(!twice.is_patched, "{} then {}: {}", once.decision, twice.decision, twice.pod);
        }
    }

    /// What people see in one piece.
    #[test]
    fn a_warning_is_a_short_line(pod in random_pods::valid(), injector in any_injector()) {
        let Admitted { warnings, .. } = admit(&pod, injector);
        let is_short = |warning: &String| warning.chars().count() <= 120 && !warning.contains(char::is_control);
        prop_assert!(warnings.iter().all(is_short), "{:?}", warnings);
    }

    #[test]
    fn the_quality_of_service_is_kept(pod in random_pods::valid(), injector in any_injector()) {
        let (before, after) = (qos(&pod), qos(&admit(&pod, injector).pod));
        let kept = after == before || (before, after) == (Qos::BestEffort, Qos::Burstable);
        prop_assert!(kept, "{:?} became {:?}", before, after);
    }

    #[test]
    fn the_sidecar_takes_nothing_from_the_desktop(pod in random_pods::valid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        if once.decision == "injected" {
            let stored = stored(&once.pod);
            let (list, index) = place(&stored).unwrap();
            is_harmless(&stored["spec"][list][index], &stored, list);
        }
    }

    #[test]
    fn what_others_broke_is_put_back(
        pod in random_pods::valid(),
        injector in any_injector(),
        damage in subsequence(&DAMAGE[..], 1..4),
        reinvoked in any::<bool>(),
    ) {
        let once = admit(&pod, injector);
        if once.decision == "injected" {
            let mut broken = once.pod.clone();
            damage.iter().for_each(|(path, value)| harm(&mut broken, path, value));
            // Between the two calls the API server's own plugins have run again.
            let broken = if reinvoked { stored(&broken) } else { broken };
            let twice = admit(&broken, injector);
            prop_assert!(twice.decision == "repaired" || damage.iter().all(|(path, _)| is_left(path, reinvoked)), "{}", twice.decision);
            prop_assert_eq!(without_sidecar(&twice.pod), without_sidecar(&broken));
            let thrice = admit(&twice.pod, injector);
            prop_assert_eq!(thrice.decision, "skipped: already_injected");
            prop_assert!(!thrice.is_patched);
            if !reinvoked {
                prop_assert_eq!(twice.pod, once.pod);
            }
        }
    }
}

/// The properties are worth what the pods are like: about half are injected, and every decision is met that depends on
/// the pod alone, but for one that takes thousands of ports.
#[test]
fn the_pods_are_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let (strategy, pods) = (random_pods::possibly_invalid(), 500);
    let mut decisions = BTreeMap::<String, u32>::new();
    for _ in 0..pods {
        let pod = strategy.new_tree(&mut runner).unwrap().current();
        *decisions.entry(admit(&pod, &INJECTORS[0]).decision).or_default() += 1;
    }
    let injected = decisions["injected"];
    assert!((pods * 2 / 5..pods * 7 / 10).contains(&injected), "{decisions:?}");
    for reason in [
        "opted_out",
        "host_network",
        "name_taken",
        "windows",
        "undecodable",
        "kubevirt",
        "mirror_pod",
        "already_injected",
    ] {
        assert!(decisions.contains_key(&format!("skipped: {reason}")), "{decisions:?}");
    }
}
