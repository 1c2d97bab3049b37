//! What mutation starts from.

use std::{fs, path::Path};

use kit::pods;
use proptest::{strategy::Strategy, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};

/// Pods at random beside those of `tests/pods`.
const AT_RANDOM: usize = 150;

/// The reviews of all of them.
pub(crate) fn reviews() -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let strategy = pods::damaged();
    let at_random = (0..AT_RANDOM).map(|_| strategy.new_tree(&mut runner).expect("a pod").current());
    written().into_iter().chain(at_random).map(|pod| review(&pod)).collect()
}

/// The pods with their goldens: what is injected already is a case too.
fn written() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()).collect()
}

fn review(pod: &Value) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "desktops",
            "object": pod,
            "oldObject": null,
            "dryRun": false,
        },
    });
    pods::text(&review).into_bytes()
}
