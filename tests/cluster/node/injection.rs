//! Injected pods on a node. Pods of every kind of creator are injected and run, a desktop ends as it would without the sidecar,
//! and pods are created in any state of the webhook.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kit::cluster::{TestCluster, eventually};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use vdi_metrics::contract::key;

use crate::support::audit_log::{self, Creation};
use crate::support::common::MINUTE;
use crate::support::desktops::{deployment, desktop};
use crate::support::installation::{REPLICAS, installed, installed_alone, scale, session_namespace};
use crate::support::node_pods::{
    all_ready, check_injected, create, has_only_own_annotations, in_phase, pods, sidecar,
};
use crate::support::processes::pause_the_servers;

tests![
    a_bare_pod_is_injected_and_ready,
    a_deployments_pods_are_injected_and_ready,
    a_jobs_pods_are_injected_and_complete,
    a_desktop_ends_as_it_would_without_the_sidecar,
    a_pod_in_an_unlabelled_namespace_never_calls_the_webhook,
    the_pods_label_has_precedence_over_its_namespaces,
    an_opt_out_by_annotation_never_calls_the_webhook,
    a_pod_on_the_host_network_is_skipped_with_the_reason,
    one_pod_is_one_call,
    pods_are_created_in_time_while_the_webhook_hangs_or_is_stopped,
];

async fn a_bare_pod_is_injected_and_ready(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop(&["sleep"])).await?;
    let pod = ready(cluster, &namespace).await?;
    check_injected(&pod)
}

async fn a_deployments_pods_are_injected_and_ready(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    cluster.kubectl.apply(&deployment(&namespace, 2).to_string())?;
    for pod in all_ready(cluster, &namespace, 2).await? {
        check_injected(&pod)?;
    }
    Ok(())
}

async fn a_jobs_pods_are_injected_and_complete(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    let template = desktop(&["exit", "0", "6"]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]}},
    });
    cluster.kubectl.apply(&job.to_string())?;
    check_injected(&ready(cluster, &namespace).await?)?;
    let jobs = Api::<k8s_openapi::api::batch::v1::Job>::namespaced(cluster.client.clone(), &namespace);
    eventually("the Job is complete", MINUTE, || async {
        let status = jobs.get("nightly").await?.status.unwrap_or_default();
        ensure!(status.succeeded == Some(1), "{status:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn a_desktop_ends_as_it_would_without_the_sidecar(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let (with, without) = (session_namespace(cluster).await?, cluster.scratch_namespace(&[]).await?);
    for (code, phase) in [("0", "Succeeded"), ("3", "Failed")] {
        for namespace in [&with, &without] {
            let mut pod = desktop(&["exit", code, "1"]);
            pod["metadata"]["name"] = json!(format!("exits-{code}"));
            // The pod is Guaranteed, and the sidecar must not change that.
            let resources = json!({"cpu": "200m", "memory": "32Mi"});
            pod["spec"]["containers"][0]["resources"] = json!({"requests": resources, "limits": resources});
            create(cluster, namespace, pod).await?;
        }
        let name = format!("exits-{code}");
        for (namespace, injected) in [(&with, true), (&without, false)] {
            let pod = in_phase(cluster, namespace, &name, phase).await?;
            ensure!(sidecar(&pod).is_some() == injected, "{namespace}/{name}");
            ensure!(exit_code(&pod) == Some(code.parse()?), "{namespace}/{name}: {:?}", exit_code(&pod));
            let qos = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
            ensure!(qos == Some("Guaranteed"), "{namespace}/{name}: {qos:?}");
        }
    }
    Ok(())
}

async fn a_pod_in_an_unlabelled_namespace_never_calls_the_webhook(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = cluster.scratch_namespace(&[]).await?;
    create(cluster, &namespace, desktop(&["sleep"])).await?;
    let pod = ready(cluster, &namespace).await?;
    ensure!(sidecar(&pod).is_none() && has_only_own_annotations(&pod), "{:?}", pod.metadata);
    ensure!(calls(cluster, &namespace).await? == 0, "the audit log has a call of the webhook");
    Ok(())
}

async fn the_pods_label_has_precedence_over_its_namespaces(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let (opted_in, other) = (session_namespace(cluster).await?, cluster.scratch_namespace(&[]).await?);
    let labelled = |value: &str| {
        let mut pod = desktop(&["sleep"]);
        pod["metadata"]["labels"][key::INJECT] = json!(value);
        pod
    };
    ensure!(sidecar(&create(cluster, &opted_in, labelled(key::DISABLED)).await?).is_none(), "injected");
    ensure!(calls(cluster, &opted_in).await? == 0, "the webhook was called for a pod that has opted out");
    ensure!(sidecar(&create(cluster, &other, labelled(key::ENABLED)).await?).is_some(), "not injected");
    Ok(())
}

async fn an_opt_out_by_annotation_never_calls_the_webhook(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    let mut pod = desktop(&["sleep"]);
    pod["metadata"]["annotations"] = json!({key::INJECT: key::DISABLED});
    ensure!(sidecar(&create(cluster, &namespace, pod).await?).is_none(), "injected");
    ensure!(calls(cluster, &namespace).await? == 0, "the webhook was called for a pod that has opted out");
    Ok(())
}

async fn a_pod_on_the_host_network_is_skipped_with_the_reason(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    // Pod Security's baseline forbids the host network, so this namespace enforces no level.
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["hostNetwork"] = json!(true);
    let pod = create(cluster, &namespace, pod).await?;
    ensure!(sidecar(&pod).is_none(), "injected");
    let status = pod.annotations().get(key::STATUS).map(String::as_str);
    ensure!(status == Some("skipped: host_network"), "{status:?}");
    let created = creations(cluster, &namespace).await?;
    let decisions: Vec<_> = created.iter().flat_map(Creation::decisions).collect();
    ensure!(decisions == ["skipped: host_network"], "{decisions:?}");
    Ok(())
}

/// An API server that had to add defaults to the sidecar would count this as a change by a later plugin, and call the webhook
/// again.
async fn one_pod_is_one_call(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop(&["sleep"])).await?;
    ensure!(calls(cluster, &namespace).await? == 1, "{} calls", calls(cluster, &namespace).await?);
    Ok(())
}

async fn pods_are_created_in_time_while_the_webhook_hangs_or_is_stopped(cluster: &TestCluster) -> Result<()> {
    let alone = installed_alone(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    let named = |name: &str| {
        let mut pod = desktop(&["sleep"]);
        pod["metadata"]["name"] = json!(name);
        pod
    };
    let paused = pause_the_servers()?;
    let began = Instant::now();
    let created = create(cluster, &namespace, named("while-paused")).await;
    let took = began.elapsed();
    drop(paused);
    ensure!(sidecar(&created?).is_none(), "a paused server has injected the pod");
    // The configured timeout is 2 s, and a busy machine needs some more time. The API server's own limit is 10 s.
    ensure!(took.as_secs_f64() < 5.0, "took {took:?}");

    scale(cluster, 0).await?;
    let began = Instant::now();
    let created = create(cluster, &namespace, named("while-stopped")).await;
    let took = began.elapsed();
    scale(cluster, REPLICAS).await?;
    ensure!(sidecar(&created?).is_none(), "a stopped server has injected the pod");
    ensure!(took.as_secs_f64() < 5.0, "took {took:?}");

    let again = create(cluster, &namespace, named("afterwards")).await?;
    ensure!(sidecar(&again).is_some(), "not injected after the server has started again");
    drop(alone);
    Ok(())
}

async fn ready(cluster: &TestCluster, namespace: &str) -> Result<Pod> {
    all_ready(cluster, namespace, 1).await?.pop().context("no pod")
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = |status: &ContainerStatus| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code);
    statuses.iter().find_map(state)
}

/// How often the API server called the webhook for pods of a namespace, from its audit log.
async fn calls(cluster: &TestCluster, namespace: &str) -> Result<usize> {
    Ok(creations(cluster, namespace).await?.iter().map(Creation::calls).sum())
}

async fn creations(cluster: &TestCluster, namespace: &str) -> Result<Vec<Creation>> {
    let created = pods(cluster, namespace).list(&ListParams::default()).await?.items.len();
    audit_log::creations(cluster, namespace, created).await
}
