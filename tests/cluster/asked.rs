//! When we are asked, and what an answer depends on: the labels of the moment, not who creates the pod, what becomes of it
//! later or what the server knows of the cluster.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use axum::http::Request;
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{Bed, eventually};
use kube::Api;
use kube::api::ListParams;
use kube::client::Body;
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::audit;
use crate::beside::{Answer, Webhook, create, dry_run, kubeconfig, post, registered};
use crate::product::{MINUTE, desktop};

tests![
    the_pods_of_controllers_are_asked_about_once,
    a_pod_that_is_there_is_never_touched_again,
    the_label_of_the_moment_decides,
    a_resource_claim_is_shared_as_it_is_referred_to,
    what_a_namespace_limits_is_known_soon,
    a_server_that_knows_nothing_admits_pods,
    what_a_namespace_limits_is_known_to_a_server_that_is_ready,
    a_dry_run_shows_what_would_be_created,
];

const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

async fn the_pods_of_controllers_are_asked_about_once(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED), RESTRICTED]).await?;
    let mut template = desktop(&["sleep"]);
    template["metadata"]["labels"]["app"] = json!("desktops");
    let selector = json!({"matchLabels": {"app": "desktops"}});
    let of = |policy: &str| {
        let mut template =
            json!({"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]});
        template["spec"]["restartPolicy"] = json!(policy);
        template
    };
    for (version, kind, spec) in [
        ("apps/v1", "Deployment", json!({"replicas": 2, "selector": selector, "template": of("Always")})),
        (
            "apps/v1",
            "StatefulSet",
            json!({"serviceName": "x", "selector": selector, "template": of("Always")}),
        ),
        ("batch/v1", "Job", json!({"template": of("Never")})),
    ] {
        let metadata = json!({"name": kind.to_lowercase(), "namespace": namespace});
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        bed.kubectl.apply(&object.to_string())?;
    }
    let pods = Api::<Pod>::namespaced(bed.client.clone(), &namespace);
    let pods = eventually("four pods", MINUTE, || async {
        let pods = pods.list(&ListParams::default()).await?.items;
        ensure!(pods.len() == 4, "{} pods", pods.len());
        Ok(pods)
    })
    .await?;
    for pod in pods {
        let pod = serde_json::to_value(pod)?;
        ensure!(sidecar(&pod).is_some_and(|sidecar| sidecar["restartPolicy"] == "Always"), "{pod:#}");
    }
    for creation in audit::creations(bed, &namespace, 4).await? {
        ensure!(creation.calls() == 1, "{creation:#?}");
    }
    Ok(())
}

async fn a_pod_that_is_there_is_never_touched_again(bed: &Bed) -> Result<()> {
    let webhook = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED), RESTRICTED]).await?;
    let created = create(bed, &namespace, &desktop(&["sleep"])).await?;
    ensure!(sidecar(&created.object).is_some(), "{created}");
    let path = format!("/api/v1/namespaces/{namespace}/pods/desktop");
    let security = &desktop(&[])["spec"]["containers"][0]["securityContext"];
    let debugger = json!({"name": "debugger", "image": "x", "securityContext": security});
    for (path, change) in [
        (path.clone(), json!({"metadata": {"labels": {"new": "label"}}})),
        (path.clone(), json!({"metadata": {"labels": {(key::INJECTED): null}}})),
        (path.clone(), json!({"spec": {"activeDeadlineSeconds": 600}})),
        (format!("{path}/ephemeralcontainers"), json!({"spec": {"ephemeralContainers": [debugger]}})),
        (format!("{path}/status"), json!({"status": {"message": "changed"}})),
        (format!("{path}/resize"), json!({"spec": {"containers": [{"name": "desktop", "resources": {}}]}})),
    ] {
        let request = Request::patch(&path).header("content-type", "application/strategic-merge-patch+json");
        let answer = Answer::to(bed, request.body(Body::from(serde_json::to_vec(&change)?))?).await?;
        ensure!(
            answer.accepted && answer.warnings.is_empty(),
            "{path} {change}: {answer} {:?}",
            answer.warnings
        );
        ensure!(sidecar(&answer.object) == sidecar(&created.object), "{path} {change}: {answer}");
    }
    bed.kubectl.run(&[
        "delete",
        "pod",
        "desktop",
        "--namespace",
        &namespace,
        "--grace-period=0",
        "--force",
    ])?;
    let not_a_pod = [("outcome", "skipped"), ("reason", "not_a_pod")];
    let asked = webhook.value("vdi_metrics_admission_decisions_total", &not_a_pod)?;
    ensure!(asked == 0.0, "asked {asked} times about something else than a creation");
    Ok(())
}

/// The API server learns of a namespace's labels on a watch of its own: right after a change it may be either, but never
/// something in between, and never an error.
async fn the_label_of_the_moment_decides(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[RESTRICTED]).await?;
    for round in 0..10 {
        for (label, injected) in [(json!(key::ENABLED), true), (json!(null), false)] {
            let change = json!({"metadata": {"labels": {(key::INJECT): label}}});
            let request = Request::patch(format!("/api/v1/namespaces/{namespace}"))
                .header("content-type", "application/merge-patch+json");
            Answer::to(bed, request.body(Body::from(serde_json::to_vec(&change)?))?).await?;
            eventually("the label counts", MINUTE, || async {
                let answer = dry_run(bed, &namespace, &desktop(&["sleep"])).await?;
                let status = &answer.object["metadata"]["annotations"][key::STATUS];
                let found = (sidecar(&answer.object).is_some(), *status == "injected");
                // A panic, because an error would be tried again.
                assert!(answer.accepted && found.0 == found.1, "round {round}: {answer}");
                ensure!(found.0 == injected, "injected: {}", found.0);
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn a_resource_claim_is_shared_as_it_is_referred_to(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let references = json!([{"name": "gpu", "request": "one"}, {"name": "shared"}]);
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["resourceClaims"] = json!([
        {"name": "gpu", "resourceClaimTemplateName": "one-gpu"},
        {"name": "shared", "resourceClaimName": "everybodys"},
        {"name": "nic", "resourceClaimName": "fast"},
    ]);
    pod["spec"]["containers"][0]["resources"] = json!({"claims": references});
    pod["spec"]["containers"] = json!([
        pod["spec"]["containers"][0],
        {"name": "helper", "image": "x", "resources": {"claims": [{"name": "nic"}]}},
    ]);
    let answer = create(bed, &namespace, &pod).await?;
    let shared = sidecar(&answer.object).map(|sidecar| &sidecar["resources"]["claims"]);
    ensure!(shared == Some(&references), "{answer}");
    Ok(())
}

async fn what_a_namespace_limits_is_known_soon(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let becomes = async |status: &str| {
        eventually(format!("pods are {status}"), MINUTE, || async {
            let answer = dry_run(bed, &namespace, &desktop(&["sleep"])).await?;
            ensure!(answer.object["metadata"]["annotations"][key::STATUS] == status, "{answer}");
            Ok(())
        })
        .await
    };
    becomes("injected").await?;
    let limits = json!({"limits": [{"type": "Container", "max": {"memory": "8Mi"}}]});
    let range = json!({"metadata": {"name": "small"}, "spec": limits});
    post(bed, &format!("/api/v1/namespaces/{namespace}/limitranges"), &range).await?;
    becomes("skipped: limit_range").await?;
    bed.kubectl.run(&["delete", "limitrange", "small", "--namespace", &namespace])?;
    becomes("injected").await
}

async fn a_server_that_knows_nothing_admits_pods(bed: &Bed) -> Result<()> {
    let namespace = bed.scratch_namespace(&[("served", "by-a-server-that-knows-nothing")]).await?;
    let token = bed.kubectl.run(&["create", "token", "default", "--namespace", &namespace])?;
    let powerless = kubeconfig(bed, "powerless", token.trim())?;
    for (name, kubeconfig) in
        [("vdi-metrics-alone", Path::new("/nonexistent")), ("vdi-metrics-powerless", &powerless)]
    {
        let webhook = Webhook::start(bed, name, kubeconfig).await?;
        webhook.register(bed, |configuration| {
            configuration["metadata"]["name"] = json!(name);
            let entry = &mut configuration["webhooks"][0];
            entry["namespaceSelector"] = json!({"matchLabels": {"served": "by-a-server-that-knows-nothing"}});
            configuration["webhooks"] = json!([entry]);
        })?;
        eventually(format!("{name} is asked"), MINUTE, || async {
            let answer = dry_run(bed, &namespace, &desktop(&["sleep"])).await?;
            ensure!(answer.accepted && sidecar(&answer.object).is_some(), "{answer}");
            Ok(())
        })
        .await?;
        bed.kubectl.run(&["delete", "mutatingwebhookconfiguration", name])?;
    }
    Ok(())
}

/// A server that has just started and does not know the namespace's least amount yet would have the pod refused.
async fn what_a_namespace_limits_is_known_to_a_server_that_is_ready(bed: &Bed) -> Result<()> {
    let shared = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[]).await?;
    let least = json!({"limits": [{"type": "Container", "min": {"cpu": "50m"}}]});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "least", "namespace": namespace}, "spec": least});
    bed.kubectl.apply(&range.to_string())?;
    for _ in 0..3 {
        let fresh = Webhook::start(bed, "vdi-metrics-fresh", &shared.kubeconfig).await?;
        fresh.is_ready().await?;
        let answer = fresh.admit(&namespace, &desktop(&["sleep"]))?;
        let cpu = &sidecar(&answer).context("not injected")?["resources"]["requests"]["cpu"];
        ensure!(cpu == "50m", "{answer:#}");
    }
    Ok(())
}

async fn a_dry_run_shows_what_would_be_created(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let pod = desktop(&["sleep"]);
    let shown = dry_run(bed, &namespace, &pod).await?;
    let created = create(bed, &namespace, &pod).await?;
    // The rest holds names that the API server makes up each time.
    let ours = |pod: &Value| {
        let marks = ["labels", "annotations"].map(|map| pod["metadata"][map].clone());
        sidecar(pod).map(|sidecar| (sidecar.clone(), marks))
    };
    let (shown, created) = (ours(&shown.object), ours(&created.object));
    ensure!(shown.is_some() && shown == created, "{created:#?}, and the dry run {shown:#?}");
    Ok(())
}

/// Our container.
pub(crate) fn sidecar(pod: &Value) -> Option<&Value> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    lists.into_iter().flatten().flatten().find(|container| container["name"] == CONTAINER)
}
