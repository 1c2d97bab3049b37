//! The test cluster itself: pods run and end as expected, labelled monitors are scraped, and clusters do not disturb each other.

use anyhow::{Context, Error, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{Assets, Cluster, Parts, TestCluster, eventually};
use kit::product_images;
use kube::Api;

use crate::support::common::{MINUTE, RESTRICTED, root};

tests![
    a_restricted_pod_ends_with_its_exit_code,
    a_labelled_monitor_is_scraped,
    control_planes_are_independent,
];

async fn a_restricted_pod_ends_with_its_exit_code(cluster: &TestCluster) -> Result<()> {
    cluster.load_image(&product_images::probe("testbed.test/probe:1", "/probe"))?;
    let namespace = cluster.scratch_namespace(&[RESTRICTED]).await?;
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &namespace);
    apply(cluster, &namespace, "restricted.yaml")?;
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
    ensure!(
        sidecars == [Some(0), Some(0)],
        "exit codes of the init containers sidecar and in-cluster: {sidecars:?}"
    );
    Ok(())
}

async fn a_labelled_monitor_is_scraped(cluster: &TestCluster) -> Result<()> {
    cluster.load_image(&product_images::probe("testbed.test/probe:1", "/probe"))?;
    let namespace = cluster.scratch_namespace(&[]).await?;
    apply(cluster, &namespace, "monitored.yaml")?;
    let query = format!("testbed_answer{{namespace=\"{namespace}\"}}");
    let samples = eventually("Prometheus has the sample", MINUTE, || async {
        let samples = cluster.prometheus()?.query(&query).await?;
        ensure!(!samples.is_empty(), "targets: {:?}", cluster.prometheus()?.targets().await?);
        Ok(samples)
    })
    .await?;
    ensure!(samples.len() == 1 && samples[0].1 == 42.0, "{samples:?}");
    ensure!(samples[0].0.get("pod").is_some_and(|pod| pod == "monitored"), "{samples:?}");
    eventually("Prometheus evaluates the rule", MINUTE, || async {
        let query = format!("testbed:answer:half{{namespace=\"{namespace}\"}}");
        let samples = cluster.prometheus()?.query(&query).await?;
        ensure!(samples.iter().any(|(_, value)| *value == 21.0), "{samples:?}");
        Ok(())
    })
    .await
}

async fn control_planes_are_independent(_: &TestCluster) -> Result<()> {
    let assets = Assets::find()?.map_err(Error::msg)?;
    let (one, other) = tokio::try_join!(
        Cluster::start(&assets, Parts::ControlPlane),
        Cluster::start(&assets, Parts::Controllers),
    )?;
    one.kubectl.apply("{apiVersion: v1, kind: Namespace, metadata: {name: only-here}}")?;
    ensure!(one.kubectl.run(&["get", "namespace", "only-here"]).is_ok(), "the first has no namespace");
    ensure!(other.kubectl.run(&["get", "namespace", "only-here"]).is_err(), "the second has the namespace");
    let account = ["get", "serviceaccount", "default"];
    eventually("a controller has created the account", MINUTE, || async { other.kubectl.run(&account) })
        .await?;
    Ok(())
}

fn apply(cluster: &TestCluster, namespace: &str, file: &str) -> Result<()> {
    let path = root().join("tests/cluster/pods").join(file).display().to_string();
    cluster.kubectl.run(&["apply", "--namespace", namespace, "-f", &path]).map(drop)
}
