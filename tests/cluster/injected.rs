//! What a desktop gets, and that it notices nothing: pods of every maker are injected and run, end as they would without
//! us, and are created whatever the state of the webhook.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kit::cluster::{Bed, eventually};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use vdi_metrics::contract::{CONTAINER, key};

use crate::audit;
use crate::product::{
    self, MINUTE, create, deployment, desktop, installed, installed_alone, pods, session_namespace,
};

tests![
    a_bare_pod_is_injected_and_ready,
    a_deployments_pods_are_injected_and_ready,
    a_jobs_pods_are_injected_and_complete,
    the_desktops_end_is_what_it_would_be_without_us,
    an_unlabelled_namespace_never_calls_us,
    the_pods_label_wins_over_its_namespace,
    an_opt_out_by_annotation_never_calls_us,
    the_host_network_goes_without_us_and_says_so,
    one_pod_is_one_call,
    with_the_webhook_dead_or_hung_pods_are_created_in_time,
];

async fn a_bare_pod_is_injected_and_ready(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, desktop(&["sleep"])).await?;
    let pod = ready(bed, &namespace).await?;
    is_sound(&pod)
}

async fn a_deployments_pods_are_injected_and_ready(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    bed.kubectl.apply(&deployment(&namespace, 2).to_string())?;
    for pod in all_ready(bed, &namespace, 2).await? {
        is_sound(&pod)?;
    }
    Ok(())
}

async fn a_jobs_pods_are_injected_and_complete(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    let template = desktop(&["exit", "0", "6"]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]}},
    });
    bed.kubectl.apply(&job.to_string())?;
    is_sound(&ready(bed, &namespace).await?)?;
    let jobs = Api::<k8s_openapi::api::batch::v1::Job>::namespaced(bed.client.clone(), &namespace);
    eventually("the Job is complete", MINUTE, || async {
        let status = jobs.get("nightly").await?.status.unwrap_or_default();
        ensure!(status.succeeded == Some(1), "{status:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn the_desktops_end_is_what_it_would_be_without_us(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let (with_us, without_us) = (session_namespace(bed).await?, bed.scratch_namespace(&[]).await?);
    for (code, phase) in [("0", "Succeeded"), ("3", "Failed")] {
        for namespace in [&with_us, &without_us] {
            let mut pod = desktop(&["exit", code, "1"]);
            pod["metadata"]["name"] = json!(format!("exits-{code}"));
            // Guaranteed, and it has to stay so.
            let resources = json!({"cpu": "200m", "memory": "32Mi"});
            pod["spec"]["containers"][0]["resources"] = json!({"requests": resources, "limits": resources});
            create(bed, namespace, pod).await?;
        }
        let name = format!("exits-{code}");
        for (namespace, injected) in [(&with_us, true), (&without_us, false)] {
            let pod = in_phase(bed, namespace, &name, phase).await?;
            ensure!(sidecar(&pod).is_some() == injected, "{namespace}/{name}");
            ensure!(exit_code(&pod) == Some(code.parse()?), "{namespace}/{name}: {:?}", exit_code(&pod));
            let qos = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
            ensure!(qos == Some("Guaranteed"), "{namespace}/{name}: {qos:?}");
        }
    }
    Ok(())
}

async fn an_unlabelled_namespace_never_calls_us(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = bed.scratch_namespace(&[]).await?;
    create(bed, &namespace, desktop(&["sleep"])).await?;
    let pod = ready(bed, &namespace).await?;
    ensure!(sidecar(&pod).is_none() && pod.annotations().is_empty(), "{:?}", pod.metadata);
    ensure!(calls(bed, &namespace).await? == 0, "the audit log knows of a call");
    Ok(())
}

async fn the_pods_label_wins_over_its_namespace(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let (opted_in, other) = (session_namespace(bed).await?, bed.scratch_namespace(&[]).await?);
    let labelled = |value: &str| {
        let mut pod = desktop(&["sleep"]);
        pod["metadata"]["labels"][key::INJECT] = json!(value);
        pod
    };
    ensure!(sidecar(&create(bed, &opted_in, labelled(key::DISABLED)).await?).is_none());
    ensure!(calls(bed, &opted_in).await? == 0, "asked about a pod that had opted out");
    ensure!(sidecar(&create(bed, &other, labelled(key::ENABLED)).await?).is_some());
    Ok(())
}

async fn an_opt_out_by_annotation_never_calls_us(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    let mut pod = desktop(&["sleep"]);
    pod["metadata"]["annotations"] = json!({key::INJECT: key::DISABLED});
    ensure!(sidecar(&create(bed, &namespace, pod).await?).is_none());
    ensure!(calls(bed, &namespace).await? == 0, "asked about a pod that had opted out");
    Ok(())
}

async fn the_host_network_goes_without_us_and_says_so(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    // Baseline forbids the host's network, so this namespace enforces nothing.
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["hostNetwork"] = json!(true);
    let pod = create(bed, &namespace, pod).await?;
    ensure!(sidecar(&pod).is_none());
    let status = pod.annotations().get(key::STATUS).map(String::as_str);
    ensure!(status == Some("skipped: host_network"), "{status:?}");
    let created = creations(bed, &namespace).await?;
    let decisions: Vec<_> = created.iter().flat_map(audit::Creation::decisions).collect();
    ensure!(decisions == ["skipped: host_network"], "{decisions:?}");
    Ok(())
}

/// A container of ours that the API server completes is a change by a later plugin, and would make it ask again.
async fn one_pod_is_one_call(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, desktop(&["sleep"])).await?;
    ensure!(calls(bed, &namespace).await? == 1, "{} calls", calls(bed, &namespace).await?);
    Ok(())
}

async fn with_the_webhook_dead_or_hung_pods_are_created_in_time(bed: &Bed) -> Result<()> {
    let alone = installed_alone(bed).await?;
    let namespace = session_namespace(bed).await?;
    let named = |name: &str| {
        let mut pod = desktop(&["sleep"]);
        pod["metadata"]["name"] = json!(name);
        pod
    };
    let paused = product::pause_the_server()?;
    let began = Instant::now();
    let created = create(bed, &namespace, named("while-hung")).await;
    let took = began.elapsed();
    drop(paused);
    ensure!(sidecar(&created?).is_none(), "a paused server has answered");
    // The configuration's timeout of 2 s, and room for a busy machine; the API server's own limit is 10 s.
    ensure!(took.as_secs_f64() < 5.0, "took {took:?}");

    product::scale(bed, 0).await?;
    let began = Instant::now();
    let created = create(bed, &namespace, named("while-dead")).await;
    let took = began.elapsed();
    product::scale(bed, 1).await?;
    ensure!(sidecar(&created?).is_none(), "a dead server has answered");
    ensure!(took.as_secs_f64() < 5.0, "took {took:?}");

    let again = create(bed, &namespace, named("afterwards")).await?;
    ensure!(sidecar(&again).is_some(), "not injected once the server is back");
    drop(alone);
    Ok(())
}

async fn ready(bed: &Bed, namespace: &str) -> Result<Pod> {
    all_ready(bed, namespace, 1).await?.pop().context("no pod")
}

pub(crate) async fn all_ready(bed: &Bed, namespace: &str, count: usize) -> Result<Vec<Pod>> {
    eventually(format!("{count} Ready pods in {namespace}"), MINUTE, || async {
        let pods = pods(bed, namespace).list(&ListParams::default()).await?.items;
        ensure!(
            pods.len() == count && pods.iter().all(is_ready),
            "{} pods, ready: {:?}",
            pods.len(),
            pods.iter().map(is_ready).collect::<Vec<_>>()
        );
        Ok(pods)
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(crate) async fn in_phase(bed: &Bed, namespace: &str, name: &str, phase: &str) -> Result<Pod> {
    eventually(format!("{namespace}/{name} is {phase}"), MINUTE, || async {
        let pod = pods(bed, namespace).get(name).await?;
        let now = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        ensure!(now == Some(phase), "{now:?}");
        Ok(pod)
    })
    .await
}

pub(crate) fn sidecar(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::Container> {
    pod.spec.as_ref()?.init_containers.iter().flatten().find(|container| container.name == CONTAINER)
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let state = |status: &ContainerStatus| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code);
    statuses.iter().find_map(state)
}

/// Injected, running, and without any credential of the session.
pub(crate) fn is_sound(pod: &Pod) -> Result<()> {
    let sidecar = sidecar(pod).context("no sidecar")?;
    ensure!(sidecar.restart_policy.as_deref() == Some("Always"));
    let mounts: Vec<_> = sidecar.volume_mounts.iter().flatten().map(|mount| mount.name.as_str()).collect();
    ensure!(mounts == [CONTAINER], "mounted into the sidecar: {mounts:?}");
    ensure!(pod.annotations().get(key::STATUS).is_some_and(|status| status == "injected"));
    let statuses = pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    let restarts: Vec<_> = statuses.map(|status| (status.started, status.restart_count)).collect();
    ensure!(restarts == [(Some(true), 0)], "{restarts:?}");
    Ok(())
}

/// How often a webhook of ours was asked about pods of a namespace, by the API server's audit log.
async fn calls(bed: &Bed, namespace: &str) -> Result<usize> {
    Ok(creations(bed, namespace).await?.iter().map(audit::Creation::calls).sum())
}

async fn creations(bed: &Bed, namespace: &str) -> Result<Vec<audit::Creation>> {
    let created = pods(bed, namespace).list(&ListParams::default()).await?.items.len();
    audit::creations(bed, namespace, created).await
}
