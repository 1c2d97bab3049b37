//! Calls of the webhook by the API server, and the webhook's answer. The answer depends on the current labels, but not
//! on the pod's creator, on later changes of the pod, or on the server's access to the cluster.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use axum::http::Request;
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually};
use kube::Api;
use kube::api::ListParams;
use kube::client::Body;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::audit_log;
use crate::support::common::{MINUTE, RESTRICTED};
use crate::support::desktops::{desktop, sidecar_in_json};
use crate::support::out_of_cluster_server::{
    ApiResponse, WebhookServer, create, dry_run, kubeconfig, post, registered,
};

tests![
    each_pod_of_a_controller_is_one_webhook_call,
    changes_of_an_existing_pod_never_reach_the_webhook,
    a_label_change_never_gives_a_half_injected_pod,
    the_sidecar_gets_the_claims_of_every_container,
    the_server_soon_follows_a_changed_limit_range,
    a_server_without_cluster_access_admits_pods,
    a_ready_server_has_read_the_limit_ranges,
    a_dry_run_shows_the_pod_that_a_creation_stores,
];

async fn each_pod_of_a_controller_is_one_webhook_call(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED), RESTRICTED]).await?;
    let mut template = desktop(&["sleep"]);
    template["metadata"]["labels"]["app"] = json!("desktops");
    let selector = json!({"matchLabels": {"app": "desktops"}});
    let with_restart_policy = |policy: &str| {
        let mut template =
            json!({"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]});
        template["spec"]["restartPolicy"] = json!(policy);
        template
    };
    for (version, kind, spec) in [
        (
            "apps/v1",
            "Deployment",
            json!({"replicas": 2, "selector": selector, "template": with_restart_policy("Always")}),
        ),
        (
            "apps/v1",
            "StatefulSet",
            json!({"serviceName": "x", "selector": selector, "template": with_restart_policy("Always")}),
        ),
        ("batch/v1", "Job", json!({"template": with_restart_policy("Never")})),
    ] {
        let metadata = json!({"name": kind.to_lowercase(), "namespace": namespace});
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        cluster.kubectl.apply(&object.to_string())?;
    }
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &namespace);
    let pods = eventually("four pods", MINUTE, || async {
        let pods = pods.list(&ListParams::default()).await?.items;
        ensure!(pods.len() == 4, "{} pods", pods.len());
        Ok(pods)
    })
    .await?;
    for pod in pods {
        let pod = serde_json::to_value(pod)?;
        ensure!(sidecar_in_json(&pod).is_some_and(|sidecar| sidecar["restartPolicy"] == "Always"), "{pod:#}");
    }
    for creation in audit_log::creations(cluster, &namespace, 4).await? {
        ensure!(creation.calls() == 1, "{creation:#?}");
    }
    Ok(())
}

async fn changes_of_an_existing_pod_never_reach_the_webhook(cluster: &TestCluster) -> Result<()> {
    let server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED), RESTRICTED]).await?;
    let created = create(cluster, &namespace, &desktop(&["sleep"])).await?;
    ensure!(sidecar_in_json(&created.object).is_some(), "{created}");
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
        let answer =
            ApiResponse::to(cluster, request.body(Body::from(serde_json::to_vec(&change)?))?).await?;
        ensure!(
            answer.accepted && answer.warnings.is_empty(),
            "{path} {change}: {answer} {:?}",
            answer.warnings
        );
        ensure!(
            sidecar_in_json(&answer.object) == sidecar_in_json(&created.object),
            "{path} {change}: {answer}"
        );
    }
    cluster.kubectl.run(&[
        "delete",
        "pod",
        "desktop",
        "--namespace",
        &namespace,
        "--grace-period=0",
        "--force",
    ])?;
    let not_a_pod = [("outcome", "skipped"), ("reason", "not_a_pod")];
    let calls = server.value("vdi_metrics_admission_decisions_total", &not_a_pod)?;
    ensure!(calls == 0.0, "{calls} calls that are not about the creation of a pod");
    Ok(())
}

/// The API server learns of a namespace's labels through a watch. Right after a change a pod may be injected or not, but it is
/// never injected in part, and its creation never fails.
async fn a_label_change_never_gives_a_half_injected_pod(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[RESTRICTED]).await?;
    for round in 0..10 {
        for (label, injected) in [(json!(key::ENABLED), true), (json!(null), false)] {
            let change = json!({"metadata": {"labels": {(key::INJECT): label}}});
            let request = Request::patch(format!("/api/v1/namespaces/{namespace}"))
                .header("content-type", "application/merge-patch+json");
            ApiResponse::to(cluster, request.body(Body::from(serde_json::to_vec(&change)?))?).await?;
            eventually("the label is active", MINUTE, || async {
                let answer = dry_run(cluster, &namespace, &desktop(&["sleep"])).await?;
                let status = &answer.object["metadata"]["annotations"][key::STATUS];
                let has_sidecar = sidecar_in_json(&answer.object).is_some();
                // A panic and not an error, because `eventually` would try again after an error.
                assert!(answer.accepted && has_sidecar == (*status == "injected"), "round {round}: {answer}");
                ensure!(has_sidecar == injected, "injected: {has_sidecar}");
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn the_sidecar_gets_the_claims_of_every_container(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["resourceClaims"] = json!([
        {"name": "gpu", "resourceClaimTemplateName": "one-gpu"},
        {"name": "shared", "resourceClaimName": "of-several-pods"},
        {"name": "nic", "resourceClaimName": "fast"},
    ]);
    pod["spec"]["containers"][0]["resources"] =
        json!({"claims": [{"name": "gpu", "request": "one"}, {"name": "shared"}]});
    pod["spec"]["containers"] = json!([
        pod["spec"]["containers"][0],
        {"name": "helper", "image": "x", "resources": {"claims": [{"name": "nic"}]}},
    ]);
    let answer = create(cluster, &namespace, &pod).await?;
    let claims = sidecar_in_json(&answer.object).map(|sidecar| &sidecar["resources"]["claims"]);
    let all = json!([{"name": "gpu", "request": "one"}, {"name": "shared"}, {"name": "nic"}]);
    ensure!(claims == Some(&all), "{answer}");
    Ok(())
}

async fn the_server_soon_follows_a_changed_limit_range(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let wait_for_status = async |status: &str| {
        eventually(format!("pods are {status}"), MINUTE, || async {
            let answer = dry_run(cluster, &namespace, &desktop(&["sleep"])).await?;
            ensure!(answer.object["metadata"]["annotations"][key::STATUS] == status, "{answer}");
            Ok(())
        })
        .await
    };
    wait_for_status("injected").await?;
    let limits = json!({"limits": [{"type": "Container", "max": {"memory": "8Mi"}}]});
    let range = json!({"metadata": {"name": "small"}, "spec": limits});
    post(cluster, &format!("/api/v1/namespaces/{namespace}/limitranges"), &range).await?;
    wait_for_status("skipped: limit_range").await?;
    cluster.kubectl.run(&["delete", "limitrange", "small", "--namespace", &namespace])?;
    wait_for_status("injected").await
}

async fn a_server_without_cluster_access_admits_pods(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[("served-by", "a-server-without-cluster-access")]).await?;
    let token = cluster.kubectl.run(&["create", "token", "default", "--namespace", &namespace])?;
    let no_rights = kubeconfig(cluster, "no-rights", token.trim())?;
    for (name, kubeconfig) in
        [("vdi-metrics-no-cluster", Path::new("/nonexistent")), ("vdi-metrics-no-rights", &no_rights)]
    {
        let server = WebhookServer::start(cluster, name, kubeconfig).await?;
        server.register(cluster, |configuration| {
            configuration["metadata"]["name"] = json!(name);
            let entry = &mut configuration["webhooks"][0];
            entry["namespaceSelector"] =
                json!({"matchLabels": {"served-by": "a-server-without-cluster-access"}});
            configuration["webhooks"] = json!([entry]);
        })?;
        eventually(format!("the API server calls {name}"), MINUTE, || async {
            let answer = dry_run(cluster, &namespace, &desktop(&["sleep"])).await?;
            ensure!(answer.accepted && sidecar_in_json(&answer.object).is_some(), "{answer}");
            Ok(())
        })
        .await?;
        cluster.kubectl.run(&["delete", "mutatingwebhookconfiguration", name])?;
    }
    Ok(())
}

/// A server that has just started and has not read the namespace's minimum would inject a sidecar below it, and the API server
/// would reject the pod.
async fn a_ready_server_has_read_the_limit_ranges(cluster: &TestCluster) -> Result<()> {
    let server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[]).await?;
    let limits = json!({"limits": [{"type": "Container", "min": {"cpu": "50m"}}]});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "minimum", "namespace": namespace}, "spec": limits});
    cluster.kubectl.apply(&range.to_string())?;
    for _ in 0..3 {
        let new = server.start_replica(cluster, "vdi-metrics-new").await?;
        new.wait_until_ready().await?;
        let answer = new.admit(&namespace, &desktop(&["sleep"]))?;
        let cpu = &sidecar_in_json(&answer).context("not injected")?["resources"]["requests"]["cpu"];
        ensure!(cpu == "50m", "{answer:#}");
    }
    Ok(())
}

async fn a_dry_run_shows_the_pod_that_a_creation_stores(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let pod = desktop(&["sleep"]);
    let shown = dry_run(cluster, &namespace, &pod).await?;
    let created = create(cluster, &namespace, &pod).await?;
    // Other fields have names that the API server generates for each pod.
    let injected_part = |pod: &Value| {
        let metadata = ["labels", "annotations"].map(|map| pod["metadata"][map].clone());
        sidecar_in_json(pod).map(|sidecar| (sidecar.clone(), metadata))
    };
    let (shown, created) = (injected_part(&shown.object), injected_part(&created.object));
    ensure!(shown.is_some() && shown == created, "creation: {created:#?}, dry run: {shown:#?}");
    Ok(())
}
