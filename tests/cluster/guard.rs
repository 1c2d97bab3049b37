//! The guard: what it says of session pods without a sound sidecar, to whoever creates them and to the audit log.

use std::fs;

use anyhow::{Context, Result, ensure};
use kit::cluster::{Bed, Cluster, Parts, eventually};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    contract::{CONTAINER, key},
};

use crate::{
    dry_run::{ELSEWHERE, OPTED_IN, bare, control_plane, create, in_force},
    product::{MINUTE, root},
};

tests![says_what_is_missing, speaks_of_opted_in_pods_only, has_no_type_errors];

/// What is said of a sound session pod after something has happened to it, in the order of the guard's validations.
type Case = (&'static str, fn(&mut Value), &'static [&'static str]);

const CASES: [Case; 12] = [
    ("sound", |_| {}, &[]),
    ("in-a-container", to_containers, &[]),
    ("missing", |pod| *pod = bare("missing"), &["a session pod without sidecar"]),
    (
        "holding-back",
        |pod| take(&mut pod["spec"]["initContainers"][0], "restartPolicy"),
        &["lacks restartPolicy"],
    ),
    ("stripped", |pod| take(&mut pod["spec"]["initContainers"][0], "securityContext"), &["security context"]),
    ("as-root", |pod| security(pod)["runAsUser"] = json!(0), &["security context"]),
    ("writable", |pod| take(security(pod), "readOnlyRootFilesystem"), &["security context"]),
    ("capable", |pod| security(pod)["capabilities"]["add"] = json!(["NET_ADMIN"]), &["security context"]),
    (
        "unconfined",
        |pod| security(pod)["seccompProfile"]["type"] = json!("Unconfined"),
        &["security context"],
    ),
    ("unlabelled", |pod| take(&mut pod["metadata"], "labels"), &["nothing scrapes"]),
    (
        "somebody-elses",
        |pod| {
            *pod = bare("somebody-elses");
            pod["spec"]["initContainers"] = json!([{"name": CONTAINER, "image": "somebody/elses:1"}]);
        },
        &["lacks restartPolicy", "security context", "nothing scrapes"],
    ),
    (
        "skipped",
        |pod| {
            *pod = bare("skipped");
            pod["metadata"]["annotations"] = json!({key::STATUS: "skipped: windows"});
        },
        &[],
    ),
];

async fn says_what_is_missing(_: &Bed) -> Result<()> {
    let cluster = guarded().await?;
    for (name, happens, said) in CASES {
        let mut pod = sound(name)?;
        happens(&mut pod);
        let (answer, warnings) = create(&cluster, OPTED_IN, &pod).await?;
        ensure!(answer["kind"] == "Pod", "{name} was refused: {answer:#}");
        let audited = audited(&cluster, name).await?;
        for (place, found) in [("warnings", warnings), ("audit log", audited)] {
            let all =
                found.len() == said.len() && found.iter().zip(said).all(|(line, words)| line.contains(words));
            ensure!(all, "{name}, {place}: {found:?}");
        }
    }
    Ok(())
}

async fn speaks_of_opted_in_pods_only(_: &Bed) -> Result<()> {
    let cluster = guarded().await?;
    let labelled = |value: &str| json!({"labels": {key::INJECT: value}});
    for (namespace, metadata, spoken) in [
        (OPTED_IN, json!({}), true),
        (OPTED_IN, labelled(key::ENABLED), true),
        (OPTED_IN, labelled("sure"), true),
        (OPTED_IN, labelled(key::DISABLED), false),
        (OPTED_IN, json!({"annotations": {key::INJECT: key::DISABLED}}), false),
        (OPTED_IN, json!({"annotations": {"kubernetes.io/config.mirror": "from a file"}}), false),
        (ELSEWHERE, json!({}), false),
        (ELSEWHERE, labelled(key::ENABLED), true),
        ("kube-system", labelled(key::ENABLED), false),
    ] {
        let mut pod = bare("desktop");
        for (field, value) in metadata.as_object().into_iter().flatten() {
            pod["metadata"][field] = value.clone();
        }
        let (answer, warnings) = create(&cluster, namespace, &pod).await?;
        ensure!(warnings.len() == usize::from(spoken), "{namespace} {metadata}: {warnings:?} {answer}");
    }
    Ok(())
}

/// An expression that fails says nothing, to nobody.
async fn has_no_type_errors(_: &Bed) -> Result<()> {
    let cluster = control_plane(Parts::Controllers).await?;
    cluster.kubectl.apply(&guard()?)?;
    let status = eventually("the guard's types are checked", MINUTE, || async {
        let question = ["get", "validatingadmissionpolicy", "vdi-metrics", "--output=json"];
        let status = serde_json::from_str::<Value>(&cluster.kubectl.run(&question)?)?["status"].take();
        ensure!(status["observedGeneration"] == 1, "{status:#}");
        Ok(status)
    })
    .await?;
    ensure!(status["typeChecking"]["expressionWarnings"].is_null(), "{status:#}");
    Ok(())
}

async fn guarded() -> Result<Cluster> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    cluster.kubectl.apply(&guard()?)?;
    in_force(&cluster, "the guard is heard", |_, warnings| !warnings.is_empty()).await?;
    Ok(cluster)
}

fn guard() -> Result<String> {
    Ok(fs::read_to_string(root().join("webhook-config/guard.yaml"))?)
}

/// What the guard says of a pod's creation in the audit log.
async fn audited(cluster: &Cluster, pod: &str) -> Result<Vec<String>> {
    eventually(format!("the creation of {pod} in the audit log"), MINUTE, || async {
        let log = fs::read_to_string(cluster.audit_log())?;
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let event = events.find(|event| event["objectRef"]["name"] == pod).context("not there")?;
        let failures = event["annotations"]["validation.policy.admission.k8s.io/validation_failure"].as_str();
        let failures: Vec<Value> = failures.map_or(Ok(vec![]), serde_json::from_str)?;
        Ok(failures
            .iter()
            .map(|failure| failure["message"].as_str().unwrap_or_default().to_owned())
            .collect())
    })
    .await
}

/// A pod as the server sends it back.
fn sound(name: &str) -> Result<Value> {
    let mut pod = bare(name);
    let injector = Injector::new(Settings::default());
    let verdict = injector.consider(pod.to_string().as_bytes(), OPTED_IN, &Namespaces::default());
    json_patch::patch(&mut pod, &verdict.patch.context("not injected")?)?;
    Ok(pod)
}

fn security(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["initContainers"][0]["securityContext"]
}

fn take(from: &mut Value, field: &str) {
    let taken = from.as_object_mut().and_then(|fields| fields.remove(field));
    assert!(taken.is_some(), "there is no {field} to take");
}

fn to_containers(pod: &mut Value) {
    let mut sidecar = pod["spec"]["initContainers"][0].take();
    take(&mut sidecar, "restartPolicy");
    take(&mut pod["spec"], "initContainers");
    pod["spec"]["containers"] = json!([pod["spec"]["containers"][0].take(), sidecar]);
}
