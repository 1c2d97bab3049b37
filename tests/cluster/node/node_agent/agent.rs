//! The agent on the node: its installation with a fake driver, its removal, and its process.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use kit::{cluster::TestCluster, product_images};

use super::node_driver::{SCENARIO, show};
use crate::support::{
    common::root,
    processes::{NodeProcess, processes},
};

/// The shortest interval that is allowed, so that the tests need not wait for minutes.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// The agent's program, DaemonSet and namespace.
pub(super) const AGENT: &str = "vdi-metrics-node";

/// Answers questions about an installed agent, and removes it. With an error come the agent's log and the state of its pods.
pub(super) async fn with_agent(
    cluster: &TestCluster,
    questions: impl Future<Output = Result<()>>,
) -> Result<()> {
    let answers = async {
        install(cluster)?;
        questions.await
    };
    let result = answers.await;
    let run = |arguments: &[&str]| cluster.kubectl.run(&[arguments, &["--namespace", AGENT]].concat());
    let logs = run(&["logs", "daemonset/vdi-metrics-node", "--tail=50"]);
    let pods = run(&["describe", "pods"]);
    cluster.kubectl.run(&["label", "nodes", "--all", "nvidia.com/gpu.present-"])?;
    cluster.kubectl.run(&["delete", "--kustomize", &manifests()])?;
    result.with_context(|| format!("{logs:?} {pods:?}"))
}

/// The process of the running agent.
pub(super) fn agent() -> Result<NodeProcess> {
    processes(AGENT)?.pop().context("no agent runs")
}

/// Sets [`INTERVAL`].
pub(super) fn set_interval(cluster: &TestCluster) -> Result<()> {
    set_variables(cluster, &[&format!("VDI_METRICS_NODE_INTERVAL={}", INTERVAL.as_secs())])
}

/// Sets environment variables of the agent, and waits until the kubelet has replaced its pod.
pub(super) fn set_variables(cluster: &TestCluster, variables: &[&str]) -> Result<()> {
    let set = ["set", "env", "daemonset/vdi-metrics-node", "--namespace", AGENT];
    cluster.kubectl.run(&[&set[..], variables].concat())?;
    wait_for_rollout(cluster)
}

/// Installs the shipped manifests. The node gets the label that NVIDIA's feature discovery sets.
fn install(cluster: &TestCluster) -> Result<()> {
    let image = product_images::node(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    cluster.load_image(&product_images::with_driver(image, SCENARIO)?)?;
    cluster.kubectl.run(&["apply", "--kustomize", &manifests()])?;
    show(&[])?;
    // The node has no label yet, so this starts no pod that the next line would replace.
    set_interval(cluster)?;
    cluster.kubectl.run(&["label", "nodes", "--all", "nvidia.com/gpu.present=true"])?;
    wait_for_rollout(cluster)
}

fn wait_for_rollout(cluster: &TestCluster) -> Result<()> {
    let rollout = ["rollout", "status", "daemonset/vdi-metrics-node", "--timeout=60s", "--namespace", AGENT];
    cluster.kubectl.run(&rollout).map(drop)
}

fn manifests() -> String {
    root().join("manifests/node-agent").display().to_string()
}
