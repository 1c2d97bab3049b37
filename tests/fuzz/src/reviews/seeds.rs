//! The inputs from which the mutation starts.

use std::{fs, path::Path};

use kit::random_pods;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::Value;

use super::{LIMITED, Reviews};

/// Number of random pods, in addition to the pods in `tests/pods`.
const RANDOM_PODS: usize = 150;

/// The reviews of all pods, without and with the sidecar.
pub(crate) fn reviews(checks: &Reviews) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let strategy = random_pods::possibly_invalid();
    let random = (0..RANDOM_PODS).map(|_| strategy.new_tree(&mut runner).expect("a pod").current());
    let before: Vec<_> = golden_pods().into_iter().chain(random).map(|pod| review(&pod)).collect();
    let after = before.iter().filter_map(|review| checks.injected(review)).map(|pod| review(&pod)).collect();
    [before, after].concat().iter().map(|review| random_pods::text(review).into_bytes()).collect()
}

fn golden_pods() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.file_stem().unwrap().to_string_lossy().contains('.'));
    files.sort();
    files.iter().map(|file| serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()).collect()
}

/// The review of a pod. A pod without a name is in the namespace with a LimitRange.
fn review(pod: &Value) -> Value {
    let namespace = if pod["metadata"]["name"].is_null() { LIMITED } else { "desktops" };
    kit::answer::review(pod, namespace)
}
