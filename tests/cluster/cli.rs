//! The verbs beside a cluster: what they say of it is what it does, and what they write runs in it.

use std::{
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Error, Result, ensure};
use kit::cluster::{Assets, Bed, eventually};
use kube::api::PostParams;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::{
    injected::{all_ready, is_sound, sidecar},
    product::{MINUTE, create, deployment, desktop, installed, pods, session_namespace},
};

tests![explain_and_the_cluster_agree, what_the_plugin_injects_runs_without_the_webhook];

const PROGRAM: &str = env!("CARGO_BIN_EXE_vdi-metrics");

async fn explain_and_the_cluster_agree(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let opted_in = session_namespace(bed).await?;
    let plain = bed.scratch_namespace(&[]).await?;
    let crowded = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    bed.kubectl.apply(&limit_range(&crowded).to_string())?;
    eventually("the server knows of the LimitRange", MINUTE, || async {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let pod = pods(bed, &crowded).create(&dry, &serde_json::from_value(desktop(&["sleep"]))?).await?;
        ensure!(sidecar(&pod).is_none());
        Ok(())
    })
    .await?;
    for (namespace, injected, rule) in [
        (&opted_in, true, "label vdi-metrics.io/inject: enabled on the namespace"),
        (&plain, false, "neither the pod nor its namespace"),
        (&crowded, false, "skipped: limit_range"),
    ] {
        let explanation = explain(bed, namespace)?;
        let found = explanation["rule"].as_str().unwrap_or_default();
        ensure!(explanation["injected"] == injected && found.contains(rule), "{explanation:#}");
        let pod = create(bed, namespace, desktop(&["sleep"])).await?;
        ensure!(sidecar(&pod).is_some() == injected, "{namespace}: {:?}", pod.metadata);
    }
    let error = explain(bed, "nowhere").err().context("there is no such namespace")?.to_string();
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

fn explain(bed: &Bed, namespace: &str) -> Result<Value> {
    let mut command = Command::new(PROGRAM);
    command.args(["explain", "-", "--live", "-o", "json", "--namespace", namespace]);
    let output = fed(command.env("KUBECONFIG", bed.kubeconfig()), &desktop(&["sleep"]).to_string())?;
    let explanations: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(explanations[0].clone())
}

fn fed(command: &mut Command, input: &str) -> Result<Output> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

async fn what_the_plugin_injects_runs_without_the_webhook(bed: &Bed) -> Result<()> {
    // For its images: the namespace never calls the webhook.
    let _alive = installed(bed).await?;
    let namespace = bed.scratch_namespace(&[("pod-security.kubernetes.io/enforce", "restricted")]).await?;
    let injected = by_plugin(&["inject", "-", "-o", "yaml"], &deployment(&namespace, 1).to_string())?;
    bed.kubectl.apply(&injected)?;
    for pod in all_ready(bed, &namespace, 1).await? {
        is_sound(&pod)?;
    }
    // As the cluster has it, defaults and all.
    let live =
        bed.kubectl.run(&["get", "deployment", "desktops", "--namespace", &namespace, "-o", "yaml"])?;
    let taken_out = by_plugin(&["uninject", "-"], &live)?;
    ensure!(!taken_out.contains("- name: vdi-metrics"), "{taken_out}");
    bed.kubectl.apply(&taken_out)?;
    let pods = eventually("the pods are without it", MINUTE, || async {
        let pods = all_ready(bed, &namespace, 1).await?;
        ensure!(pods.iter().all(|pod| sidecar(pod).is_none()));
        Ok(pods)
    })
    .await?;
    ensure!(pods[0].metadata.annotations.is_none(), "{:?}", pods[0].metadata);
    Ok(())
}

/// `kubectl vdi-metrics`.
fn by_plugin(arguments: &[&str], input: &str) -> Result<String> {
    let kubectl = Assets::find()?.map_err(Error::msg)?.binary("kubectl");
    let folder = tempfile::tempdir()?;
    symlink(PROGRAM, folder.path().join("kubectl-vdi_metrics"))?;
    let path = [folder.path(), Path::new("/usr/bin"), Path::new("/bin")]
        .map(|path| path.display().to_string())
        .join(":");
    let output = fed(Command::new(kubectl).env("PATH", path).arg("vdi-metrics").args(arguments), input)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
