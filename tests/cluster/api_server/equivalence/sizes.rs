//! Pods at the limits of the API server and of etcd on the size of an object.

use anyhow::{Result, ensure};
use kit::cluster::TestCluster;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use super::cases::{
    Case,
    Expected::{Injected, Rejected, Skipped, Unmarked},
    NamespaceCases, case, minimal,
};
use crate::support::out_of_cluster_server::{create, registered};

/// Bytes of all annotations that the API server accepts.
const MAX_ANNOTATIONS: usize = 262_144;
/// Bytes of a write that etcd accepts (`--max-request-bytes`).
const MAX_STORED: usize = 1_572_864;

/// The annotations with both entries of the sidecar, and with the mark of a pod for Windows, are full to the last byte.
pub(super) fn annotations() -> Vec<NamespaceCases> {
    let injected = "vdi-metrics.io/config0123456789abcdefvdi-metrics.io/statusinjected".len();
    let marked = "vdi-metrics.io/statusskipped: windows".len();
    let pod = |name, free: usize, spec: Value, expected| case(name, annotated(free, spec), expected);
    let windows = || json!({"os": {"name": "windows"}});
    let cases: Vec<Case> = vec![
        pod("with space for all annotations", injected, json!({}), Injected),
        pod("with one byte less", injected - 1, json!({}), Unmarked("256 KiB")),
        pod("with full annotations", 0, json!({}), Unmarked("256 KiB")),
        pod("for Windows with space for the mark", marked, windows(), Skipped("windows")),
        pod("for Windows with one byte less", marked - 1, windows(), Unmarked("Windows")),
        case(
            "with one byte too much",
            one_byte_too_much(),
            Rejected("Too long: may not be more than 262144"),
        ),
    ];
    vec![NamespaceCases { name: "nothing special", labels: &[], objects: vec![], cases }]
}

/// A pod whose annotations leave `free` bytes.
fn annotated(free: usize, spec: Value) -> Value {
    let mut pod = minimal(spec);
    let value = "\u{e4}".repeat((MAX_ANNOTATIONS - free - KEY.len()) / 2);
    let rest = "x".repeat(MAX_ANNOTATIONS - free - KEY.len() - value.len());
    pod["metadata"]["annotations"] = json!({KEY: value + &rest});
    pod
}

fn one_byte_too_much() -> Value {
    let mut pod = annotated(0, json!({}));
    pod["metadata"]["annotations"]["x"] = json!("");
    pod
}

const KEY: &str = "example.com/filler";

/// Creates the largest pod that etcd stores, with an accuracy of 64 bytes: the sidecar has more. Then creates it with the
/// webhook.
pub(super) async fn check_stored(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let without = cluster.scratch_namespace(&[]).await?;
    let with = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let (mut accepted, mut rejected) = (MAX_STORED - 8192, MAX_STORED);
    while rejected - accepted > 64 {
        let bytes = accepted.midpoint(rejected);
        let answer = create(cluster, &without, &sized(bytes)).await?;
        if answer.accepted {
            accepted = bytes;
        } else {
            ensure!(answer.object["message"] == "etcdserver: request is too large", "{bytes}: {answer}");
            rejected = bytes;
        }
    }
    ensure!(create(cluster, &without, &sized(accepted)).await?.accepted, "{accepted} bytes");
    for (bytes, status) in [(accepted, None), (1_100_000, None), (1_000_000, Some("injected"))] {
        let answer = create(cluster, &with, &sized(bytes)).await?;
        ensure!(answer.accepted, "{bytes} bytes: {answer}");
        ensure!(answer.object["metadata"]["annotations"][key::STATUS].as_str() == status, "{bytes} bytes");
        let warned = answer.warnings.iter().any(|warning| warning.contains("larger than 1 MiB"));
        ensure!(warned == status.is_none(), "{bytes} bytes: {:?}", answer.warnings);
    }
    Ok(())
}

/// A pod with an argument of this length.
fn sized(bytes: usize) -> Value {
    let container = json!({"name": "desktop", "image": "x", "args": ["x".repeat(bytes)]});
    let metadata = json!({"generateName": "desktop-"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})
}
