//! What people are told: warnings as a client gets them, and the decision as the audit log has it.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kit::cluster::Bed;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::audit;
use crate::beside::{dry_run, registered};
use crate::product::desktop;

tests![warnings_and_the_audit_log_say_what_is_wrong_and_nothing_else, kubectl_shows_it];

/// A change to a desktop; the decision in the audit log, if we are asked; the warnings.
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
            &["vdi-metrics: not injected: the name vdi-metrics belongs to another container, volume or port"],
        ),
        (
            annotated(key::PORT, "80"),
            Some("injected"),
            &["vdi-metrics: vdi-metrics.io/port is \"80\": use 1024 to 65535; the default is used"],
        ),
        (
            annotated("vdi-metrics.io/prot", "9500"),
            Some("injected"),
            &["vdi-metrics: nobody reads vdi-metrics.io/prot: is it a typing error?"],
        ),
        (
            json!({"metadata": {"labels": {(key::INJECT): "yes"}}}),
            Some("injected"),
            &["vdi-metrics: vdi-metrics.io/inject is \"yes\": use enabled or disabled; the default is used"],
        ),
    ]
}

async fn warnings_and_the_audit_log_say_what_is_wrong_and_nothing_else(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    for (change, decision, warnings) in cases() {
        // One each, so that the log knows of one creation.
        let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
        let mut pod = desktop(&["sleep"]);
        json_patch::merge(&mut pod, &change);
        let answer = dry_run(bed, &namespace, &pod).await?;
        ensure!(answer.accepted, "{change}: {answer}");
        ensure!(answer.warnings == warnings, "{change}: {:?}", answer.warnings);
        ensure!(warnings.iter().all(|warning| warning.chars().count() <= 120), "{warnings:?}");
        let creations = audit::creations(bed, &namespace, 1).await?;
        let decisions: Vec<_> = creations.iter().flat_map(audit::Creation::decisions).collect();
        ensure!(decisions == decision.into_iter().collect::<Vec<_>>(), "{change}: {decisions:?}");
    }
    Ok(())
}

async fn kubectl_shows_it(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["hostNetwork"] = json!(true);
    let command = format!("{} create --namespace {namespace} -f -", bed.kubectl.command_line());
    let mut kubectl = Command::new("sh");
    kubectl.args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut kubectl = kubectl.spawn()?;
    kubectl.stdin.take().context("kubectl has no input")?.write_all(pod.to_string().as_bytes())?;
    let said = String::from_utf8(kubectl.wait_with_output()?.stderr)?;
    ensure!(said == "Warning: vdi-metrics: not injected: the pod uses the host's network\n", "{said}");
    Ok(())
}
