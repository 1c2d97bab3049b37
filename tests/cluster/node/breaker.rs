//! The breaker on a real node: sidecars that keep desktops from starting, until they start again.
//!
//! Each test has a server and a webhook configuration of its own, whose image is broken. The installed server does not count
//! these pods, because another configuration has injected them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kit::{
    cluster::{Image, TestCluster, eventually},
    product_images,
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::common::{MINUTE, TWO_MINUTES};
use crate::support::desktops::{DESKTOP_IMAGE, desktop};
use crate::support::node_pods::{all_ready_within, create, is_ready, pods};
use crate::support::out_of_cluster_server::WebhookServer;

tests![
    a_sidecar_whose_image_is_missing_stops_three_desktops_and_no_more,
    a_sidecar_that_exits_at_once_keeps_three_desktops_from_being_ready_and_no_more,
    a_regular_container_that_exits_at_once_keeps_three_desktops_from_being_ready_and_no_more,
];

/// A desktop without a sidecar is ready within this time.
const START: Duration = Duration::from_secs(15);

/// A server whose sidecars have this image, and the namespace that it injects.
struct Injection {
    server: WebhookServer,
    namespace: String,
}

async fn a_sidecar_whose_image_is_missing_stops_three_desktops_and_no_more(
    cluster: &TestCluster,
) -> Result<()> {
    let image = "breaker.test/missing:1";
    let injection = Injection::start(cluster, "breaker-missing", image, "").await?;
    for name in ["a", "b", "c"] {
        injection.create(cluster, name, "cad").await?;
    }
    injection.paused([0.0, 1.0]).await?;
    injection.starts_without_sidecar(cluster, "d", "cad").await?;
    injection.has_event(cluster, "SidecarBlocksPod", "sidecar.image").await?;

    // Desktops of other templates get a sidecar until three templates fail.
    for template in ["office", "video"] {
        injection.create(cluster, template, template).await?;
    }
    injection.paused([1.0, 1.0]).await?;
    injection.starts_without_sidecar(cluster, "e", "a-fourth-template").await?;

    cluster.load_image(&sidecar(image, &["sleep"]))?;
    injection.paused([0.0, 0.0]).await?;
    let pod = injection.create(cluster, "f", "cad").await?;
    ensure!(pod.annotations()[key::STATUS] == "injected", "{:?}", pod.annotations());
    all_ready_within(TWO_MINUTES, cluster, &injection.namespace, 8).await.map(drop)
}

/// The kubelet starts the desktop beside such a sidecar, but the pod is not ready.
async fn a_sidecar_that_exits_at_once_keeps_three_desktops_from_being_ready_and_no_more(
    cluster: &TestCluster,
) -> Result<()> {
    exits_at_once(cluster, "breaker-exits", "").await
}

async fn a_regular_container_that_exits_at_once_keeps_three_desktops_from_being_ready_and_no_more(
    cluster: &TestCluster,
) -> Result<()> {
    exits_at_once(cluster, "breaker-exits-beside", ", mode: container").await
}

async fn exits_at_once(cluster: &TestCluster, name: &'static str, mode: &str) -> Result<()> {
    let image = format!("breaker.test/{name}:1");
    cluster.load_image(&sidecar(&image, &["exit", "1", "0"]))?;
    let injection = Injection::start(cluster, name, &image, mode).await?;
    for name in ["a", "b", "c"] {
        injection.create(cluster, name, "cad").await?;
    }
    injection.paused([0.0, 1.0]).await?;
    injection.starts_without_sidecar(cluster, "d", "cad").await?;
    injection.has_event(cluster, "SidecarBlocksPod", "kubectl logs").await?;

    cluster.load_image(&sidecar(&image, &["sleep"]))?;
    injection.paused([0.0, 0.0]).await?;
    let pod = injection.create(cluster, "e", "cad").await?;
    ensure!(pod.annotations()[key::STATUS] == "injected", "{:?}", pod.annotations());
    all_ready_within(TWO_MINUTES, cluster, &injection.namespace, 5).await.map(drop)
}

/// An image whose program does what the arguments say.
fn sidecar(name: &str, arguments: &[&str]) -> Image {
    let mut image = product_images::probe(name, "/sidecar");
    image.entrypoint.extend(arguments.iter().map(ToString::to_string));
    image
}

// === impl Injection ===

impl Injection {
    async fn start(cluster: &TestCluster, name: &'static str, image: &str, mode: &str) -> Result<Self> {
        cluster.load_image(&product_images::probe(DESKTOP_IMAGE, "/desktop"))?;
        let namespace = cluster.scratch_namespace(&[("breaker-test", name)]).await?;
        let configuration = cluster.folder().join(format!("{name}.yaml"));
        fs::write(&configuration, format!("sidecar: {{image: '{image}'{mode}}}"))?;
        // With a namespace of its own the server has its own Lease.
        let mut kubeconfig: Value = serde_json::from_slice(&fs::read(cluster.kubeconfig())?)?;
        kubeconfig["contexts"][0]["context"]["namespace"] = json!(namespace);
        let path = cluster.folder().join(format!("{name}.kubeconfig"));
        fs::write(&path, kubeconfig.to_string())?;
        let configuration = configuration.display().to_string();
        let arguments = ["--metrics-authentication", "none", "--config", &configuration];
        let server = WebhookServer::start_with(cluster, name, &path, &arguments).await?;
        server.register(cluster, |configuration| {
            configuration["metadata"]["name"] = json!(name);
            let entries = configuration["webhooks"].as_array_mut();
            entries.into_iter().for_each(|entries| entries.truncate(1));
            configuration["webhooks"][0]["namespaceSelector"] =
                json!({"matchLabels": {"breaker-test": name}});
        })?;
        let injection = Self { server, namespace };
        eventually("the API server calls the webhook", MINUTE, || async {
            let pods = pods(cluster, &injection.namespace);
            let dry_run = kube::api::PostParams { dry_run: true, ..Default::default() };
            let pod = pods.create(&dry_run, &serde_json::from_value(desktop(&["sleep"]))?).await?;
            ensure!(pod.annotations().contains_key(key::STATUS), "the webhook was not called");
            Ok(())
        })
        .await?;
        Ok(injection)
    }

    async fn create(&self, cluster: &TestCluster, name: &str, template: &str) -> Result<Pod> {
        let mut pod = desktop(&["sleep"]);
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["labels"][key::TEMPLATE] = json!(template);
        pod["spec"]["restartPolicy"] = json!("Always");
        create(cluster, &self.namespace, pod).await
    }

    async fn starts_without_sidecar(&self, cluster: &TestCluster, name: &str, template: &str) -> Result<()> {
        let (began, pod) = (Instant::now(), self.create(cluster, name, template).await?);
        let status = pod.annotations().get(key::STATUS);
        ensure!(
            status.is_some_and(|status| status == "skipped: breaker_open"),
            "status annotation {status:?}"
        );
        eventually(format!("{name} is ready"), MINUTE, || async {
            let pod = pods(cluster, &self.namespace).get(name).await?;
            ensure!(is_ready(&pod), "{:?}", pod.status);
            Ok(())
        })
        .await?;
        ensure!(began.elapsed() <= START, "{name} is ready after {:?}", began.elapsed());
        Ok(())
    }

    /// Waits until injection is paused for all pods, and for this number of templates.
    async fn paused(&self, expected: [f64; 2]) -> Result<()> {
        eventually(format!("pauses {expected:?}"), TWO_MINUTES, || async {
            let count = |scope| self.server.value("vdi_metrics_injection_paused", &[("scope", scope)]);
            let paused = [count("all")?, count("template")?];
            ensure!(paused == expected, "{paused:?}");
            Ok(())
        })
        .await
    }

    async fn has_event(&self, cluster: &TestCluster, reason: &str, note: &str) -> Result<()> {
        let events = Api::<Event>::namespaced(cluster.client.clone(), &self.namespace);
        eventually(format!("an Event {reason}"), MINUTE, || async {
            let events = events.list(&ListParams::default()).await?.items;
            let mut own = events.iter().filter(|event| event.reason.as_deref() == Some(reason));
            let event = own.next().context("no Event")?;
            ensure!(event.note.as_ref().is_some_and(|text| text.contains(note)), "{:?}", event.note);
            Ok(())
        })
        .await
    }
}
