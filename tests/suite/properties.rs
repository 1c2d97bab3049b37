//! Properties of injection that hold for every pod and every configuration, tested with random pods (`kit::random_pods`). Each
//! property is tested with 256 pods; `PROPTEST_CASES` changes that number.

mod modifications;
mod nodes;
mod sidecar;
mod size;
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

use modifications::{MODIFICATIONS, decide_the_user, may_stay_unrepaired, modify_field, without_sidecar};
use sidecar::{check_sidecar, index_of_sidecar};

/// Configurations that change what is injected.
static INJECTORS: LazyLock<Vec<Injector>> =
    LazyLock::new(|| CONFIGURATIONS.iter().map(|text| Injector::new(settings(text))).collect());

const CONFIGURATIONS: [&str; 6] = [
    "sidecar: {}",
    "sidecar: {mode: container, fixedUser: false}",
    "gpuAccess: runtime\nshowUser: true\ngpuResources: {part: [example.com/slot]}",
    "scrapeAnnotations: auto\ngpuAccess: none\npresence: off",
    "sidecar: {imagePullSecrets: [pull-one, registry], imagePullPolicy: Always, port: 9500}",
    "sidecar: {resources: {requests: {cpu: 0.5, memory: 1000Mi}, limits: {cpu: 1000m, memory: 1024Mi}}}
profiles:
- {name: desktops, matchLabels: {app: desktop}, session: example.com/session, user: note, pool: app.kubernetes.io/name}",
];

fn settings(text: &str) -> Settings {
    Settings::parse(text, Path::new("config.yaml")).unwrap()
}

fn any_injector() -> impl Strategy<Value = &'static Injector> {
    select((0..CONFIGURATIONS.len()).collect::<Vec<_>>()).prop_map(|index| &INJECTORS[index])
}

const SCRAPE: [&str; 3] = ["prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"];

const OWNED: OwnedFields<'_> = OwnedFields {
    keys: &[key::INJECTED, key::STATUS, key::CONFIG, SCRAPE[0], SCRAPE[1], SCRAPE[2]],
    container: CONTAINER,
};

/// The result of admission.
struct Admitted {
    decision: String,
    warnings: Vec<String>,
    is_patched: bool,
    pod: Value,
}

/// Admits a pod, and checks what must hold for every call.
fn admit(pod: &Value, injector: &Injector) -> Admitted {
    let body = random_pods::text(&review(pod, "desktops"));
    let admission = injector.admit(body.as_bytes(), &Namespaces::default()).unwrap();
    let answer = Answer::read(&admission.reply, UID);
    assert_eq!(answer.decision, admission.outcome.to_string());
    let offline = injector.consider(random_pods::text(pod).as_bytes(), "desktops", &Namespaces::default());
    assert_eq!((offline.outcome, &offline.patch), (admission.outcome, &answer.patch), "consider and admit");
    let pod = answer.applied(pod, &OWNED);
    Admitted { is_patched: answer.patch.is_some(), decision: answer.decision, warnings: answer.warnings, pod }
}

/// The pod without what injection has added to the pod `before`.
fn without_additions(mut pod: Value, before: &Value, injector: &Injector) -> Value {
    let secrets = &injector.settings().sidecar.image_pull_secrets;
    let is_of_sidecar = |item: &Value| item["name"] == CONTAINER;
    let is_secret = |item: &Value| secrets.iter().any(|secret| *item == json!({"name": secret}));
    let mut containers = drop_added(&mut pod["spec"], &before["spec"], "initContainers", is_of_sidecar);
    containers += drop_added(&mut pod["spec"], &before["spec"], "containers", is_of_sidecar);
    assert!(containers <= 1, "{containers} containers were added");
    assert_eq!(drop_added(&mut pod["spec"], &before["spec"], "volumes", is_of_sidecar), containers);
    drop_added(&mut pod["spec"], &before["spec"], "imagePullSecrets", is_secret);
    restore(&mut pod, before, "labels", &[key::INJECTED]);
    restore(&mut pod, before, "annotations", &[key::STATUS, key::CONFIG]);
    if !mentions_prometheus(before) {
        restore(&mut pod, before, "annotations", &SCRAPE);
    }
    pod
}

/// Removes the items that were added to a list and returns their number.
fn drop_added(spec: &mut Value, before: &Value, list: &str, is_allowed: impl Fn(&Value) -> bool) -> usize {
    let count = before[list].as_array().map_or(0, Vec::len);
    let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) else { return 0 };
    let added = items.split_off(count);
    assert!(added.iter().all(is_allowed), "added to {list}: {added:?}");
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

/// Removes null and empty lists and maps: the API server treats them as absent.
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
    fn every_answer_is_valid_and_a_second_call_changes_nothing(pod in random_pods::possibly_invalid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        let twice = admit(&once.pod, injector);
        prop_assert!(!twice.is_patched, "{} then {}: {}", once.decision, twice.decision, twice.pod);
    }

    #[test]
    fn only_the_webhooks_own_fields_change(pod in random_pods::valid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        let rest = without_empty(without_additions(once.pod, &pod, injector));
        prop_assert_eq!(rest, without_empty(pod), "{}", once.decision);
    }

    #[test]
    fn a_skipped_pod_gets_only_the_status_annotation(pod in random_pods::valid(), injector in any_injector()) {
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
    fn a_pod_with_defaults_of_the_api_server_is_not_changed_again(pod in random_pods::valid(), injector in any_injector()) {
        // A real first call has a pod with defaults. Golden files and the CLI have pods without them.
        for pod in [pod.clone(), stored(&pod)] {
            let once = admit(&pod, injector);
            let twice = admit(&stored(&once.pod), injector);
            prop_assert!(!twice.is_patched, "{} then {}: {}", once.decision, twice.decision, twice.pod);
        }
    }

    /// A client shows each warning on one line.
    #[test]
    fn a_warning_is_one_line_of_at_most_120_characters(pod in random_pods::valid(), injector in any_injector()) {
        let Admitted { warnings, .. } = admit(&pod, injector);
        let is_short = |warning: &String| warning.chars().count() <= 120 && !warning.contains(char::is_control);
        prop_assert!(warnings.iter().all(is_short), "{:?}", warnings);
    }

    #[test]
    fn the_quality_of_service_never_gets_worse(pod in random_pods::valid(), injector in any_injector()) {
        let (before, after) = (qos(&pod), qos(&admit(&pod, injector).pod));
        let kept = after == before || (before, after) == (Qos::BestEffort, Qos::Burstable);
        prop_assert!(kept, "{:?} becomes {:?}", before, after);
    }

    #[test]
    fn the_sidecar_is_restricted_and_takes_nothing_from_the_desktop(pod in random_pods::valid(), injector in any_injector()) {
        let once = admit(&pod, injector);
        if once.decision == "injected" {
            let stored = stored(&once.pod);
            let (list, index) = index_of_sidecar(&stored).unwrap();
            check_sidecar(&stored["spec"][list][index], &stored, list);
        }
    }

    #[test]
    fn unsafe_changes_by_other_webhooks_are_repaired(
        pod in random_pods::valid(),
        injector in any_injector(),
        modifications in subsequence(&MODIFICATIONS[..], 1..4),
        reinvoked in any::<bool>(),
    ) {
        prop_assume!(!decide_the_user(&modifications));
        let once = admit(&pod, injector);
        if once.decision == "injected" {
            let mut broken = once.pod.clone();
            modifications.iter().for_each(|(path, value)| modify_field(&mut broken, path, value));
            // The API server's own plugins run again between the two calls.
            let broken = if reinvoked { stored(&broken) } else { broken };
            let twice = admit(&broken, injector);
            prop_assert!(twice.decision == "repaired" || modifications.iter().all(|(path, _)| may_stay_unrepaired(path, reinvoked)), "{}", twice.decision);
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

/// The properties test nothing if the random pods are too similar. About half of the pods must be injected, and every decision
/// must occur that depends only on the pod. The decision that needs a pod with all ports is left out.
#[test]
fn the_random_pods_lead_to_every_decision() {
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
        "unsupported_node",
        "undecodable",
        "kubevirt",
        "mirror_pod",
        "already_injected",
    ] {
        assert!(decisions.contains_key(&format!("skipped: {reason}")), "{decisions:?}");
    }
}
