//! Pods at a limit of the API server on the size of an object: a pod that is accepted without the webhook is accepted with it.

use kit::random_pods;
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use vdi_metrics::admission::Injector;

use super::{Admitted, admit, any_injector};

/// The API server rejects an object whose annotations have more bytes.
const MAX_ANNOTATION_BYTES: usize = 262_144;
/// The webhook changes no review that has more bytes.
const MAX_PATCHED_BYTES: usize = 1 << 20;
/// More bytes than all annotations of the sidecar have.
const ENOUGH: usize = 256;

fn annotation_bytes(pod: &Value) -> usize {
    let annotations = pod["metadata"]["annotations"].as_object();
    annotations.into_iter().flatten().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum()
}

/// The pod with one more annotation, so that exactly `free` bytes are left. The annotation is made of `text`.
fn with_full_annotations(mut pod: Value, free: usize, text: &str) -> Value {
    const KEY: &str = "example.com/filler";
    if !pod["metadata"]["annotations"].is_object() {
        pod["metadata"]["annotations"] = json!({});
    }
    let missing = MAX_ANNOTATION_BYTES - free - annotation_bytes(&pod) - KEY.len();
    let filler = text.repeat(missing / text.len()) + &"x".repeat(missing % text.len());
    pod["metadata"]["annotations"][KEY] = json!(filler);
    assert_eq!(annotation_bytes(&pod), MAX_ANNOTATION_BYTES - free);
    pod
}

/// Admits a pod whose annotations leave `free` bytes. They must fit afterwards too.
fn admit_full(pod: Value, free: usize, text: &str, injector: &Injector) -> Admitted {
    let admitted = admit(&with_full_annotations(pod, free, text), injector);
    let after = annotation_bytes(&admitted.pod);
    assert!(after <= MAX_ANNOTATION_BYTES, "{}: {after} bytes", admitted.decision);
    admitted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_annotations_never_exceed_their_limit(
        pod in random_pods::valid(),
        injector in any_injector(),
        free in 0..ENOUGH,
        text in select(vec!["x", "\"", "\n", "\u{e4}", "\u{1f5a5}"]),
    ) {
        let admitted = admit_full(pod.clone(), free, text, injector);
        if admitted.decision == "skipped: annotations_full" {
            prop_assert!(!admitted.is_patched);
            let with_space = admit_full(pod, ENOUGH, text, injector);
            prop_assert_eq!(with_space.decision, "injected");
        } else {
            prop_assert_eq!(admitted.decision, admit(&pod, injector).decision);
        }
    }
}

/// Each mark and each set of annotations fits into exactly its own size.
#[test]
fn annotations_are_written_up_to_the_last_byte() {
    let status = |value: &str| "vdi-metrics.io/status".len() + value.len();
    let injected = "vdi-metrics.io/config".len() + 16 + status("injected");
    let scraping = "prometheus.io/scrapetrueprometheus.io/port9478prometheus.io/path/metrics".len();
    let container = json!([{"name": "desktop"}]);
    let plain = json!({"metadata": {}, "spec": {"containers": container}});
    let windows = json!({"metadata": {}, "spec": {"os": {"name": "windows"}, "containers": container}});
    let marked = json!({"metadata": {"annotations": {"vdi-metrics.io/status": "injected"}}, "spec": {"containers": container}});
    let [default, .., scraped] = [&super::INJECTORS[0], &super::INJECTORS[3]];
    for (pod, injector, size, decision) in [
        (&plain, default, injected, "injected"),
        (&plain, scraped, injected + scraping, "injected"),
        (&marked, default, injected - status("injected"), "injected"),
        (&windows, default, status("skipped: windows"), "skipped: windows"),
    ] {
        let fits = admit_full(pod.clone(), size, "\u{e4}", injector);
        assert_eq!((&*fits.decision, fits.is_patched), (decision, true));
        assert_eq!(annotation_bytes(&fits.pod), MAX_ANNOTATION_BYTES);
        let full = admit_full(pod.clone(), size - 1, "\u{e4}", injector);
        let expected = if decision == "injected" { "skipped: annotations_full" } else { decision };
        assert_eq!((&*full.decision, full.is_patched), (expected, false));
    }
}

#[test]
fn a_pod_is_patched_up_to_one_mebibyte() {
    let pod = |bytes: usize, os: &str| {
        let pod = |args: &str| json!({"spec": {"os": {"name": os}, "containers": [{"name": "desktop", "args": [args]}]}});
        let rest = kit::answer::review(&pod(""), "desktops").to_string().len();
        pod(&"x".repeat(bytes - rest))
    };
    for (bytes, os, decision, is_patched) in [
        (MAX_PATCHED_BYTES, "linux", "injected", true),
        (MAX_PATCHED_BYTES + 1, "linux", "skipped: too_large", false),
        (MAX_PATCHED_BYTES, "windows", "skipped: windows", true),
        (MAX_PATCHED_BYTES + 1, "windows", "skipped: windows", false),
    ] {
        let review = kit::answer::review(&pod(bytes, os), "desktops").to_string();
        assert_eq!(review.len(), bytes);
        let admission =
            super::INJECTORS[0].admit(review.as_bytes(), &vdi_metrics::admission::Namespaces::default());
        let reply = admission.unwrap().reply;
        let answer = kit::answer::Answer::read(&reply, kit::answer::UID);
        assert_eq!(
            (&*answer.decision, answer.patch.is_some()),
            (decision, is_patched),
            "{os}, {bytes} bytes"
        );
    }
}
