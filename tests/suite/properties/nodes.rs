//! A pod is skipped exactly if it can run only on nodes that cannot run the sidecar: Windows nodes, virtual nodes, and nodes of
//! another architecture. The oracle compares the pod with every set of labels that a node of a small world can have, as the
//! scheduler does.

use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};
use serde_json::{Value, json};
use vdi_metrics::admission::{Injector, Namespaces, Outcome, Settings, SkipReason};

/// A node's labels.
type Labels = Vec<(&'static str, &'static str)>;

const BUILD: &str = "node.kubernetes.io/windows-build";
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
const ARCH: &str = "kubernetes.io/arch";
const TYPE: &str = "type";
const VIRTUAL: &str = "virtual-kubelet";
const OTHER_KEYS: [&str; 3] = [BUILD, TYPE, ARCH];
const VALUES: [&str; 5] = ["linux", "windows", "arm64", VIRTUAL, "other"];
/// The architecture of the sidecar's image.
const IMAGE_ARCH: &str = "arm64";

/// Every set of labels of the nodes of one operating system.
fn nodes(os: &'static str) -> Vec<Labels> {
    let of_os = || OS_LABELS.map(|key| (key, os)).to_vec();
    let builds: Vec<Labels> = match os {
        "windows" => VALUES.map(|build| [of_os(), vec![(BUILD, build)]].concat()).to_vec(),
        _ => vec![of_os()],
    };
    let with = |key| move |value| vec![(key, value)];
    let of_arch = [VALUES.map(with(ARCH)).to_vec(), vec![vec![(ARCH, "unlisted")]]].concat();
    let of_type = [VALUES.map(with(TYPE)).to_vec(), vec![vec![]]].concat();
    product(&product(&builds, &of_arch), &of_type)
}

fn product(some: &[Labels], others: &[Labels]) -> Vec<Labels> {
    some.iter().flat_map(|one| others.iter().map(|other| [&one[..], other].concat())).collect()
}

/// Whether a Linux node with these labels can run the sidecar.
fn runs_sidecar(labels: &Labels) -> bool {
    labels.contains(&(ARCH, IMAGE_ARCH)) && !labels.contains(&(TYPE, VIRTUAL))
}

/// Whether the scheduler and the kubelet accept the pod on a node with these labels.
fn accepts(spec: &Value, os: &str, labels: &Labels) -> bool {
    let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let selects = |requirement: &Value| {
        let value = label(requirement["key"].as_str().unwrap());
        let mut values = requirement["values"].as_array().into_iter().flatten();
        let is_listed = value.is_some_and(|value| values.any(|listed| *listed == value));
        match requirement["operator"].as_str().unwrap() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            _ => value.is_none(),
        }
    };
    let requirements = |term: &Value, list: &str| term[list].as_array().cloned().unwrap_or_default();
    let matches = |term: &Value| {
        let expressions = requirements(term, "matchExpressions");
        let is_empty = expressions.is_empty() && requirements(term, "matchFields").is_empty();
        !is_empty && expressions.iter().all(selects)
    };
    let mut selector = spec["nodeSelector"].as_object().into_iter().flatten();
    let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    (spec["os"].is_null() || spec["os"]["name"] == os)
        && selector.all(|(key, value)| label(key) == value.as_str())
        && terms.as_array().is_none_or(|terms| terms.iter().any(matches))
}

/// At most one requirement for each key that Linux nodes do not determine: two of them can exclude each other.
fn term() -> impl Strategy<Value = Value> {
    let requirement = |key: &'static str| {
        (select(&["In", "NotIn", "Exists", "DoesNotExist"][..]), subsequence(&VALUES[..], 1..3)).prop_map(
            move |(operator, values)| match operator {
                "In" | "NotIn" => json!({"key": key, "operator": operator, "values": values}),
                _ => json!({"key": key, "operator": operator}),
            },
        )
    };
    let of_os = vec(select(&OS_LABELS[..]).prop_flat_map(requirement), 0..3);
    let others = subsequence(&OTHER_KEYS[..], 0..4)
        .prop_flat_map(move |keys| keys.into_iter().map(requirement).collect::<Vec<_>>());
    let fields = option::weighted(
        0.2,
        Just(json!([{"key": "metadata.name", "operator": "In", "values": ["node-1"]}])),
    );
    (option::weighted(0.9, (of_os, others)), fields).prop_map(|(expressions, fields)| {
        let expressions = expressions.map(|(of_os, others)| [of_os, others].concat());
        json!({"matchExpressions": expressions, "matchFields": fields})
    })
}

fn spec() -> impl Strategy<Value = Value> {
    let selected = (select(&[OS_LABELS[0], OS_LABELS[1], BUILD][..]), select(&VALUES[..]));
    let selector =
        option::weighted(0.4, vec(selected.prop_map(|(key, value)| (key.to_owned(), json!(value))), 0..2));
    let affinity = option::weighted(0.7, vec(term(), 1..4));
    let os = option::weighted(0.2, select(&["linux", "windows"][..]));
    (selector, affinity, os, prop::bool::weighted(0.1)).prop_map(|(selector, terms, os, has_options)| {
        let options = has_options.then(|| json!({"windowsOptions": {"runAsUserName": "x"}}));
        let required = terms.map(|terms| json!({"nodeSelectorTerms": terms}));
        json!({
            "containers": [{"name": "desktop", "securityContext": options}],
            "nodeSelector": selector.map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>()),
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}},
            "os": os.map(|name| json!({"name": name})),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]
    #[test]
    fn a_pod_is_skipped_exactly_if_no_node_can_run_the_sidecar(spec in spec()) {
        let fits = |os| nodes(os).iter().any(|labels| accepts(&spec, os, labels));
        let fits_sidecar = nodes("linux").iter().any(|labels| runs_sidecar(labels) && accepts(&spec, "linux", labels));
        let has_options = !spec["containers"][0]["securityContext"].is_null();
        let pod = json!({"metadata": {}, "spec": spec}).to_string();
        let mut settings = Settings::default();
        settings.sidecar.architectures = vec![IMAGE_ARCH.to_owned()];
        let outcome = Injector::new(settings).consider(pod.as_bytes(), "", &Namespaces::default()).outcome;
        // A pod that no node accepts never runs, so both decisions are right.
        if fits("linux") || fits("windows") {
            let is_windows = fits("windows") && (has_options || !fits("linux"));
            prop_assert_eq!(outcome == Outcome::Skipped(SkipReason::Windows), is_windows, "{}", pod);
            let is_unsupported = !is_windows && fits("linux") && !fits_sidecar;
            prop_assert_eq!(outcome == Outcome::Skipped(SkipReason::UnsupportedNode), is_unsupported, "{}", pod);
        }
    }
}
