//! What mutation starts from.

use std::{fs, path::Path};

use kit::random_pods;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::Value;

use crate::checks::{Checks, LIMITED};

/// Pods at random beside those of `tests/pods`.
const AT_RANDOM: usize = 150;

/// The reviews of all of them, before and after the sidecar is there.
pub(crate) fn reviews(law: &Checks) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let strategy = random_pods::possibly_invalid();
    let at_random = (0..AT_RANDOM).map(|_| strategy.new_tree(&mut runner).expect("a pod").current());
    let before: Vec<_> = written().into_iter().chain(at_random).map(|pod| review(&pod)).collect();
    let after = before.iter().filter_map(|review| law.injected(review)).map(|pod| review(&pod)).collect();
    [before, after].concat().iter().map(|review| random_pods::text(review).into_bytes()).collect()
}

fn written() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.file_stem().unwrap().to_string_lossy().contains('.'));
    files.sort();
    files.iter().map(|file| serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()).collect()
}

/// Pods without a name are in the namespace that limits them.
fn review(pod: &Value) -> Value {
    let namespace = if pod["metadata"]["name"].is_null() { LIMITED } else { "desktops" };
    kit::answer::review(pod, namespace)
}
