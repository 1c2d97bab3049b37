//! The CLI with a real cluster: `explain` predicts what the cluster does, and pods that `inject` has changed run.

use std::{
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Error, Result, ensure};
use kit::cluster::{Assets, TestCluster, eventually};
use kube::api::PostParams;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::{
    common::{MINUTE, RESTRICTED},
    desktops::{deployment, desktop},
    installation::{installed, session_namespace},
    node_pods::{all_ready, check_injected, create, has_only_own_annotations, pods, sidecar},
};

tests![explain_predicts_what_the_cluster_does, a_pod_injected_by_the_kubectl_plugin_runs_without_the_webhook];

const PROGRAM: &str = env!("CARGO_BIN_EXE_vdi-metrics");

async fn explain_predicts_what_the_cluster_does(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let opted_in = session_namespace(cluster).await?;
    let not_opted_in = cluster.scratch_namespace(&[]).await?;
    let too_small = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    cluster.kubectl.apply(&limit_range(&too_small).to_string())?;
    eventually("the server has read the LimitRange", MINUTE, || async {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let pod =
            pods(cluster, &too_small).create(&dry_run, &serde_json::from_value(desktop(&["sleep"]))?).await?;
        ensure!(sidecar(&pod).is_none(), "the pod is still injected");
        Ok(())
    })
    .await?;
    for (namespace, injected, rule) in [
        (&opted_in, true, "label vdi-metrics.io/inject: enabled on the namespace"),
        (&not_opted_in, false, "neither the pod nor its namespace"),
        (&too_small, false, "reason limit_range"),
    ] {
        let explanation = explain(cluster, namespace)?;
        let actual = explanation["rule"].as_str().unwrap_or_default();
        ensure!(explanation["injected"] == injected && actual.contains(rule), "{explanation:#}");
        let pod = create(cluster, namespace, desktop(&["sleep"])).await?;
        ensure!(sidecar(&pod).is_some() == injected, "{namespace}: {:?}", pod.metadata);
    }
    let error =
        explain(cluster, "nowhere").err().context("explain succeeded for a missing namespace")?.to_string();
    ensure!(error.contains("namespace nowhere") && error.contains("not found"), "{error}");
    Ok(())
}

fn limit_range(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "8Mi"}}]},
    })
}

fn explain(cluster: &TestCluster, namespace: &str) -> Result<Value> {
    let mut command = Command::new(PROGRAM);
    command.args(["explain", "-", "--live", "-o", "json", "--namespace", namespace]);
    let output =
        run_with_input(command.env("KUBECONFIG", cluster.kubeconfig()), &desktop(&["sleep"]).to_string())?;
    let explanations: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(explanations[0].clone())
}

fn run_with_input(command: &mut Command, input: &str) -> Result<Output> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

async fn a_pod_injected_by_the_kubectl_plugin_runs_without_the_webhook(cluster: &TestCluster) -> Result<()> {
    // Only the images are needed: the namespace is not opted in, so the webhook is not called.
    let _server = installed(cluster).await?;
    let namespace = cluster.scratch_namespace(&[RESTRICTED]).await?;
    let injected = run_plugin(&["inject", "-", "-o", "yaml"], &deployment(&namespace, 1).to_string())?;
    cluster.kubectl.apply(&injected)?;
    for pod in all_ready(cluster, &namespace, 1).await? {
        check_injected(&pod)?;
    }
    // The live object, with all defaults.
    let live =
        cluster.kubectl.run(&["get", "deployment", "desktops", "--namespace", &namespace, "-o", "yaml"])?;
    let without_sidecar = run_plugin(&["uninject", "-"], &live)?;
    ensure!(!without_sidecar.contains("- name: vdi-metrics"), "{without_sidecar}");
    cluster.kubectl.apply(&without_sidecar)?;
    let pods = eventually("the pods have no sidecar", MINUTE, || async {
        let pods = all_ready(cluster, &namespace, 1).await?;
        ensure!(pods.iter().all(|pod| sidecar(pod).is_none()), "a pod still has the sidecar");
        Ok(pods)
    })
    .await?;
    ensure!(has_only_own_annotations(&pods[0]), "{:?}", pods[0].metadata);
    Ok(())
}

/// Runs `kubectl vdi-metrics`.
fn run_plugin(arguments: &[&str], input: &str) -> Result<String> {
    let kubectl = Assets::find()?.map_err(Error::msg)?.binary("kubectl");
    let folder = tempfile::tempdir()?;
    symlink(PROGRAM, folder.path().join("kubectl-vdi_metrics"))?;
    let path = [folder.path(), Path::new("/usr/bin"), Path::new("/bin")]
        .map(|path| path.display().to_string())
        .join(":");
    let output =
        run_with_input(Command::new(kubectl).env("PATH", path).arg("vdi-metrics").args(arguments), input)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
