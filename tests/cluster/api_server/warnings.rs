//! The messages to users: warnings for the client, and the decision in the audit log.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kit::cluster::TestCluster;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::audit_log;
use crate::support::desktops::desktop;
use crate::support::out_of_cluster_server::{dry_run, registered};

tests![each_problem_has_exactly_its_warning_and_audit_entry, kubectl_shows_the_warning];

/// A change to a desktop, the decision in the audit log if the webhook is called, and the warnings.
type Case = (Value, Option<&'static str>, &'static [&'static str]);

fn cases() -> Vec<Case> {
    let annotated = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    vec![
        (json!({}), Some("injected"), &[]),
        (annotated(key::PORT, "9500"), Some("injected"), &[]),
        (annotated(key::INJECT, key::DISABLED), None, &[]),
        (json!({"metadata": {"labels": {(key::INJECT): key::DISABLED}}}), None, &[]),
        (
            json!({"spec": {"hostNetwork": true}}),
            Some("skipped: host_network"),
            &["vdi-metrics: not injected: the pod uses the host's network"],
        ),
        (
            json!({"spec": {"os": {"name": "windows"}, "securityContext": null,
                "containers": [{"name": "desktop", "image": "x"}]}}),
            Some("skipped: windows"),
            &["vdi-metrics: not injected: there is no sidecar for Windows"],
        ),
        (
            json!({"spec": {"volumes": [{"name": "vdi-metrics", "emptyDir": {}}]}}),
            Some("skipped: name_taken"),
            &["vdi-metrics: not injected: another container, volume or port has the name vdi-metrics"],
        ),
        (
            annotated(key::PORT, "80"),
            Some("injected"),
            &["vdi-metrics: vdi-metrics.io/port is \"80\": use 1024 to 65535; the default is used"],
        ),
        (
            annotated("vdi-metrics.io/prot", "9500"),
            Some("injected"),
            &["vdi-metrics: unknown annotation vdi-metrics.io/prot; is it a typo?"],
        ),
        (
            json!({"metadata": {"labels": {(key::INJECT): "yes"}}}),
            Some("injected"),
            &["vdi-metrics: vdi-metrics.io/inject is \"yes\": use enabled or disabled; the default is used"],
        ),
    ]
}

async fn each_problem_has_exactly_its_warning_and_audit_entry(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    for (change, decision, warnings) in cases() {
        // Each case has its own namespace, so that the audit log has one creation there.
        let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
        let mut pod = desktop(&["sleep"]);
        json_patch::merge(&mut pod, &change);
        let answer = dry_run(cluster, &namespace, &pod).await?;
        ensure!(answer.accepted, "{change}: {answer}");
        ensure!(answer.warnings == warnings, "{change}: {:?}", answer.warnings);
        ensure!(warnings.iter().all(|warning| warning.chars().count() <= 120), "{warnings:?}");
        let creations = audit_log::creations(cluster, &namespace, 1).await?;
        let decisions: Vec<_> = creations.iter().flat_map(audit_log::Creation::decisions).collect();
        ensure!(decisions == decision.into_iter().collect::<Vec<_>>(), "{change}: {decisions:?}");
    }
    Ok(())
}

async fn kubectl_shows_the_warning(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["hostNetwork"] = json!(true);
    let command = format!("{} create --namespace {namespace} -f -", cluster.kubectl.command_line());
    let mut kubectl = Command::new("sh");
    kubectl.args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut kubectl = kubectl.spawn()?;
    kubectl.stdin.take().context("kubectl has no input")?.write_all(pod.to_string().as_bytes())?;
    let stderr = String::from_utf8(kubectl.wait_with_output()?.stderr)?;
    ensure!(stderr == "Warning: vdi-metrics: not injected: the pod uses the host's network\n", "{stderr}");
    Ok(())
}
