//! The warning policy: its warnings about session pods without a valid sidecar, for the client and in the audit log.

use std::fs;

use anyhow::{Context, Result, ensure};
use kit::{
    cluster::{Cluster, Parts, TestCluster, eventually},
    security_contexts::CHANGED_CONTEXTS,
};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    contract::{CONTAINER, key},
};

use crate::support::{
    common::{MINUTE, root},
    own_control_plane::{NOT_OPTED_IN, OPTED_IN, control_plane, dry_run, minimal_pod, wait_until},
};

tests![
    each_defect_has_its_warning,
    a_security_context_is_judged_as_by_the_webhook,
    only_opted_in_pods_are_checked,
    the_expressions_have_no_type_errors
];

/// A name, a change to a correctly injected pod, and a part of each expected warning in the order of the policy's validations.
type Case = (&'static str, fn(&mut Value), &'static [&'static str]);

const CASES: [Case; 8] = [
    ("valid", |_| {}, &[]),
    ("in-a-container", move_to_containers, &[]),
    ("missing", |pod| *pod = minimal_pod("missing"), &["no sidecar; if no other warning says why"]),
    (
        "blocking",
        |pod| remove(&mut pod["spec"]["initContainers"][0], "restartPolicy"),
        &["has no restartPolicy"],
    ),
    (
        "stripped",
        |pod| remove(&mut pod["spec"]["initContainers"][0], "securityContext"),
        &["security context"],
    ),
    ("unlabelled", |pod| remove(&mut pod["metadata"], "labels"), &["cannot find the sidecar"]),
    (
        "of-another-owner",
        |pod| {
            *pod = minimal_pod("of-another-owner");
            pod["spec"]["initContainers"] = json!([{"name": CONTAINER, "image": "another/owner:1"}]);
        },
        &["has no restartPolicy", "security context", "cannot find the sidecar"],
    ),
    (
        "skipped",
        |pod| {
            *pod = minimal_pod("skipped");
            pod["metadata"]["annotations"] = json!({key::STATUS: "skipped: windows"});
        },
        &[],
    ),
];

async fn each_defect_has_its_warning(_: &TestCluster) -> Result<()> {
    let cluster = cluster_with_policy().await?;
    for (name, change, expected) in CASES {
        let mut pod = injected(&minimal_pod(name))?;
        change(&mut pod);
        let (answer, warnings) = dry_run(&cluster, OPTED_IN, &pod).await?;
        ensure!(answer["kind"] == "Pod", "{name} was rejected: {answer:#}");
        let audited = audited_warnings(&cluster, name).await?;
        for (source, lines) in [("warnings", warnings), ("audit log", audited)] {
            let matches = lines.len() == expected.len()
                && lines.iter().zip(expected).all(|(line, part)| line.contains(part));
            ensure!(matches, "{name}, {source}: {lines:?}");
        }
    }
    Ok(())
}

/// The hermetic suite tests the webhook with the same table: the policy warns exactly where the webhook would repair.
async fn a_security_context_is_judged_as_by_the_webhook(_: &TestCluster) -> Result<()> {
    let cluster = cluster_with_policy().await?;
    for changed in &CHANGED_CONTEXTS {
        let mut pod = minimal_pod(changed.name);
        changed.prepare(&mut pod);
        let mut pod = injected(&pod)?;
        changed.change(&mut pod["spec"]["initContainers"][0]["securityContext"]);
        let (answer, warnings) = dry_run(&cluster, OPTED_IN, &pod).await?;
        ensure!(answer["kind"] == "Pod", "{} was rejected: {answer:#}", changed.name);
        let warned = warnings.iter().any(|warning| warning.contains("the sidecar's security context"));
        ensure!(warned != changed.is_safe, "{}: {warnings:?}", changed.name);
    }
    Ok(())
}

async fn only_opted_in_pods_are_checked(_: &TestCluster) -> Result<()> {
    let cluster = cluster_with_policy().await?;
    let labelled = |value: &str| json!({"labels": {key::INJECT: value}});
    for (namespace, metadata, warned) in [
        (OPTED_IN, json!({}), true),
        (OPTED_IN, labelled(key::ENABLED), true),
        (OPTED_IN, labelled("sure"), true),
        (OPTED_IN, labelled(key::DISABLED), false),
        (OPTED_IN, json!({"annotations": {key::INJECT: key::DISABLED}}), false),
        (OPTED_IN, json!({"annotations": {"kubernetes.io/config.mirror": "from a file"}}), false),
        (NOT_OPTED_IN, json!({}), false),
        (NOT_OPTED_IN, labelled(key::ENABLED), true),
        ("kube-system", labelled(key::ENABLED), false),
    ] {
        let mut pod = minimal_pod("desktop");
        for (field, value) in metadata.as_object().into_iter().flatten() {
            pod["metadata"][field] = value.clone();
        }
        let (answer, warnings) = dry_run(&cluster, namespace, &pod).await?;
        ensure!(warnings.len() == usize::from(warned), "{namespace} {metadata}: {warnings:?} {answer}");
    }
    Ok(())
}

/// The API server drops an expression with a runtime error without a message, so this test must detect type errors.
async fn the_expressions_have_no_type_errors(_: &TestCluster) -> Result<()> {
    let cluster = control_plane(Parts::Controllers).await?;
    cluster.kubectl.apply(&policy()?)?;
    let status = eventually("the API server has checked the policy's types", MINUTE, || async {
        let get = ["get", "validatingadmissionpolicy", "vdi-metrics", "--output=json"];
        let status = serde_json::from_str::<Value>(&cluster.kubectl.run(&get)?)?["status"].take();
        ensure!(status["observedGeneration"] == 1, "{status:#}");
        Ok(status)
    })
    .await?;
    ensure!(status["typeChecking"]["expressionWarnings"].is_null(), "{status:#}");
    Ok(())
}

async fn cluster_with_policy() -> Result<Cluster> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    cluster.kubectl.apply(&policy()?)?;
    wait_until(&cluster, "the policy is active", |_, warnings| !warnings.is_empty()).await?;
    Ok(cluster)
}

fn policy() -> Result<String> {
    Ok(fs::read_to_string(root().join("webhook-config/guard.yaml"))?)
}

/// The policy's warnings about a pod's creation, from the audit log.
async fn audited_warnings(cluster: &Cluster, pod: &str) -> Result<Vec<String>> {
    eventually(format!("the creation of {pod} in the audit log"), MINUTE, || async {
        let log = fs::read_to_string(cluster.audit_log())?;
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let event = events.find(|event| event["objectRef"]["name"] == pod).context("no such event")?;
        let failures = event["annotations"]["validation.policy.admission.k8s.io/validation_failure"].as_str();
        let failures: Vec<Value> = failures.map_or(Ok(vec![]), serde_json::from_str)?;
        Ok(failures
            .iter()
            .map(|failure| failure["message"].as_str().unwrap_or_default().to_owned())
            .collect())
    })
    .await
}

/// A pod as the webhook returns it.
fn injected(pod: &Value) -> Result<Value> {
    let mut pod = pod.clone();
    let injector = Injector::new(Settings::default());
    let outcome = injector.consider(pod.to_string().as_bytes(), OPTED_IN, &Namespaces::default());
    json_patch::patch(&mut pod, &outcome.patch.context("not injected")?)?;
    Ok(pod)
}

fn remove(from: &mut Value, field: &str) {
    let removed = from.as_object_mut().and_then(|fields| fields.remove(field));
    assert!(removed.is_some(), "no field {field} to remove");
}

fn move_to_containers(pod: &mut Value) {
    let mut sidecar = pod["spec"]["initContainers"][0].take();
    remove(&mut sidecar, "restartPolicy");
    remove(&mut pod["spec"], "initContainers");
    pod["spec"]["containers"] = json!([pod["spec"]["containers"][0].take(), sidecar]);
}
