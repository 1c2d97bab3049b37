//! That the bed itself is what it claims: pods run and end as told, and what is labelled is scraped.

use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{Assets, Bed, Cluster, Parts, eventually};
use kit::shipped;
use kube::Api;

tests![a_restricted_pod_ends_as_it_says, a_labelled_monitor_is_scraped, control_planes_stand_side_by_side];

async fn a_restricted_pod_ends_as_it_says(bed: &Bed) -> Result<()> {
    bed.load_image(&shipped::probe("bed.test/probe:1", "/probe"))?;
    let namespace = bed.scratch_namespace(&[("pod-security.kubernetes.io/enforce", "restricted")]).await?;
    let pods = Api::<Pod>::namespaced(bed.client.clone(), &namespace);
    apply(bed, &namespace, "restricted.yaml")?;
    let pod = eventually("the pod ends", MINUTE, || async {
        let pod = pods.get("restricted").await?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        ensure!(phase == "Failed" || phase == "Succeeded", "phase {phase}");
        Ok(pod)
    })
    .await?;
    let status = pod.status.context("status")?;
    ensure!(status.phase.as_deref() == Some("Failed"), "phase {:?}", status.phase);
    let ended = |container: &k8s_openapi::api::core::v1::ContainerStatus| {
        container.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|end| end.exit_code)
    };
    let codes: Vec<_> = status.container_statuses.iter().flatten().map(ended).collect();
    ensure!(codes == [Some(3)], "exit codes {codes:?}");
    let sidecars: Vec<_> = status.init_container_statuses.iter().flatten().map(ended).collect();
    ensure!(sidecars == [Some(0), Some(0)], "exit codes of sidecar and connect {sidecars:?}");
    Ok(())
}

async fn a_labelled_monitor_is_scraped(bed: &Bed) -> Result<()> {
    bed.load_image(&shipped::probe("bed.test/probe:1", "/probe"))?;
    let namespace = bed.scratch_namespace(&[]).await?;
    apply(bed, &namespace, "monitored.yaml")?;
    let query = format!("bed_answer{{namespace=\"{namespace}\"}}");
    let samples = eventually("Prometheus has the sample", MINUTE, || async {
        let samples = bed.prometheus()?.query(&query).await?;
        ensure!(!samples.is_empty(), "targets: {:?}", bed.prometheus()?.targets().await?);
        Ok(samples)
    })
    .await?;
    ensure!(samples.len() == 1 && samples[0].1 == 42.0, "{samples:?}");
    ensure!(samples[0].0.get("pod").is_some_and(|pod| pod == "monitored"), "{samples:?}");
    eventually("Prometheus evaluates the rule", MINUTE, || async {
        let query = format!("bed:answer:half{{namespace=\"{namespace}\"}}");
        let samples = bed.prometheus()?.query(&query).await?;
        ensure!(samples.iter().any(|(_, value)| *value == 21.0), "{samples:?}");
        Ok(())
    })
    .await
}

async fn control_planes_stand_side_by_side(_: &Bed) -> Result<()> {
    let assets = Assets::find()?.map_err(Error::msg)?;
    let (one, other) = tokio::try_join!(
        Cluster::start(&assets, Parts::ControlPlane),
        Cluster::start(&assets, Parts::Controllers),
    )?;
    one.kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: only-here}}")?;
    ensure!(one.kubectl.run(&["get", "namespace", "only-here"]).is_ok());
    ensure!(other.kubectl.run(&["get", "namespace", "only-here"]).is_err());
    let account = ["get", "serviceaccount", "default"];
    eventually("a controller has worked", MINUTE, || async { other.kubectl.run(&account) }).await?;
    Ok(())
}

fn apply(bed: &Bed, namespace: &str, file: &str) -> Result<()> {
    let path = format!("{}/tests/cluster/pods/{file}", env!("CARGO_MANIFEST_DIR"));
    bed.kubectl.run(&["apply", "--namespace", namespace, "-f", &path]).map(drop)
}

const MINUTE: Duration = Duration::from_secs(60);
