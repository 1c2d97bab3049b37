//! Viewers of a desktop on the node: a server that streams over a WebSocket, clients in another pod and behind `kubectl port-forward`,
//! and, at the same time, the kubelet's probes and the scrapes of Prometheus.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{ExternalProgram, PROBE, TestCluster, eventually};
use kube::{
    ResourceExt,
    api::{DeleteParams, LogParams},
};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::common::TWO_MINUTES;
use crate::support::desktops::desktop;
use crate::support::installation::{installed, session_namespace};
use crate::support::node_pods::{all_ready, create, in_phase, pods};
use crate::support::prometheus::{series, single_sample};
use crate::support::termination::message_after;

tests![
    probes_and_scrapes_of_a_desktop_are_no_viewers,
    a_client_in_another_pod_is_counted_for_its_time,
    a_port_forward_is_counted,
];

pub(super) const CONNECTIONS: &str = "vdi_session_connections";
const CONNECTED: &str = "vdi_session_connected_seconds_total";
const TRANSMITTED: &str = "vdi_session_stream_transmit_bytes_total";

/// The port of the stream, of the probes and of the scrapes.
const PORT: u16 = 6901;

/// Seconds between two polls. The shortest that a pod may choose, so that most polls see a probe or a scrape if they can.
pub(super) const INTERVAL: f64 = 5.0;

/// Prometheus scrapes every second, so this is a minute at least.
const SCRAPES: f64 = 60.0;

async fn probes_and_scrapes_of_a_desktop_are_no_viewers(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let pod = streaming_desktop(cluster).await?;
    let scraped = scraped(cluster, &pod).await?;
    let (connections, connected) = (series(&pod, CONNECTIONS), series(&pod, CONNECTED));
    for metric in [&scraped, &connections] {
        let count = format!("count_over_time({metric}[3m]) >= bool {SCRAPES}");
        eventually(format!("a minute of {metric}"), TWO_MINUTES, || async {
            let samples = cluster.prometheus()?.query(&count).await?;
            ensure!(samples.iter().any(|(_, is_enough)| *is_enough == 1.0), "{samples:?}");
            Ok(())
        })
        .await?;
    }
    single_sample(cluster, &format!("max_over_time({connections}[3m])"), 0.0).await?;
    single_sample(cluster, &connected, 0.0).await?;
    single_sample(cluster, &series(&pod, TRANSMITTED), 0.0).await?;
    Ok(())
}

async fn a_client_in_another_pod_is_counted_for_its_time(cluster: &TestCluster) -> Result<()> {
    const SECONDS: f64 = 40.0;
    let _server = installed(cluster).await?;
    let pod = streaming_desktop(cluster).await?;
    let namespace = pod.namespace().context("no namespace")?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("no address")?;
    create(cluster, &namespace, client(&["watch", address, &PORT.to_string(), &SECONDS.to_string()])).await?;
    let log = log_of_only_viewer(cluster, &pod).await?;
    let received = log.trim().parse().with_context(|| log.clone())?;
    check_visit(cluster, &pod, &Visit { seconds: SECONDS, received }).await
}

async fn a_port_forward_is_counted(cluster: &TestCluster) -> Result<()> {
    const SECONDS: &str = "30";
    let _server = installed(cluster).await?;
    let pod = streaming_desktop(cluster).await?;
    let (_forward, port) = port_forward(cluster, &pod).await?;
    single_sample(cluster, &series(&pod, CONNECTIONS), 0.0).await?;
    let client = cluster.start_program("watch", Path::new(PROBE), |command| {
        command.args(["watch", "127.0.0.1", &port, SECONDS]);
    })?;
    single_sample(cluster, &series(&pod, CONNECTIONS), 1.0).await?;
    drop(client);
    single_sample(cluster, &series(&pod, CONNECTIONS), 0.0).await?;
    let connected = value(cluster, &series(&pod, CONNECTED)).await?;
    ensure!(connected > 0.0, "{connected} s are counted");
    Ok(())
}

/// A client's time with the desktop, by the client's own measurement.
pub(super) struct Visit {
    pub(super) seconds: f64,
    /// In bytes.
    pub(super) received: f64,
}

/// Waits until the pod `client` is the only viewer and until it has ended, and returns its log.
pub(super) async fn log_of_only_viewer(cluster: &TestCluster, desktop: &Pod) -> Result<String> {
    let namespace = desktop.namespace().context("no namespace")?;
    single_sample(cluster, &series(desktop, CONNECTIONS), 1.0).await?;
    let rtt = series(desktop, "vdi_session_stream_rtt_seconds");
    single_sample(cluster, &format!("{rtt} > bool 0"), 1.0).await?;
    in_phase(cluster, &namespace, "client", "Succeeded").await?;
    single_sample(cluster, &series(desktop, CONNECTIONS), 0.0).await?;
    Ok(pods(cluster, &namespace).logs("client", &LogParams::default()).await?)
}

/// Compares what the sidecar has counted with the only visit, deletes the desktop, and compares the termination message.
pub(super) async fn check_visit(cluster: &TestCluster, desktop: &Pod, visit: &Visit) -> Result<()> {
    let Visit { seconds, received } = *visit;
    let connected = value(cluster, &series(desktop, CONNECTED)).await?;
    // The second is for a poll that is late on a busy machine.
    ensure!((connected - seconds).abs() <= INTERVAL + 1.0, "{connected} s of {seconds} s are counted");
    let transmitted = value(cluster, &series(desktop, TRANSMITTED)).await?;
    // The bytes after the last poll with the client are not counted. The client leaves at most one buffer unread.
    let counted = received * (1.0 - (INTERVAL + 1.0) / seconds)..=received + 64e3;
    ensure!(
        counted.contains(&transmitted),
        "{transmitted} bytes are counted, the client has read {received}"
    );
    let namespace = desktop.namespace().context("no namespace")?;
    let message = message_after(cluster, &namespace, async {
        pods(cluster, &namespace).delete("desktop", &DeleteParams::default()).await.map(drop)
    })
    .await?;
    let presence = &message["presence"];
    let [in_message, first, last] = ["connected", "first", "last"].map(|field| presence[field].as_f64());
    // Seconds are rounded.
    ensure!(in_message == Some(connected.round()), "{connected} s are counted: {message}");
    ensure!(presence["transmitted"].as_f64() == Some(transmitted), "{transmitted} bytes: {message}");
    let in_message = last.zip(first).map(|(last, first)| last - first);
    ensure!(in_message.is_some_and(|visit| (visit - seconds).abs() <= 2.0 * INTERVAL), "{message}");
    Ok(())
}

/// A Ready desktop in a namespace of its own. The kubelet probes its port every second, and Prometheus scrapes it as often.
async fn streaming_desktop(cluster: &TestCluster) -> Result<Pod> {
    let namespace = session_namespace(cluster).await?;
    let port = PORT.to_string();
    let mut pod = desktop(&["stream", &port, "# TYPE desktop_up gauge\ndesktop_up 1\n"]);
    pod["metadata"]["labels"]["app"] = json!("desktop");
    pod["metadata"]["annotations"][key::INTERVAL] = json!(INTERVAL.to_string());
    let container = &mut pod["spec"]["containers"][0];
    container["ports"] = json!([{"name": "screen", "containerPort": PORT}]);
    container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1});
    create(cluster, &namespace, pod).await?;
    cluster.kubectl.apply(&monitor(&namespace, "/").to_string())?;
    all_ready(cluster, &namespace, 1).await?.pop().context("no pod")
}

/// Scrapes this path of the port `screen` every second.
pub(super) fn monitor(namespace: &str, path: &str) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"name": "desktop", "namespace": namespace, "labels": {"release": "prometheus"}},
        "spec": {
            "selector": {"matchLabels": {"app": "desktop"}},
            "podMetricsEndpoints": [{"port": "screen", "path": path, "interval": "1s"}],
        },
    })
}

/// Waits until Prometheus has scraped the desktop, and returns the series of the desktop.
pub(super) async fn scraped(cluster: &TestCluster, desktop: &Pod) -> Result<String> {
    let series = format!("desktop_up{{namespace=\"{}\"}}", desktop.namespace().unwrap_or_default());
    single_sample(cluster, &series, 1.0).await?;
    Ok(series)
}

/// A pod that is no session.
pub(super) fn client(arguments: &[&str]) -> Value {
    let mut pod = desktop(arguments);
    pod["metadata"] = json!({"name": "client", "labels": {key::INJECT: key::DISABLED}});
    pod
}

/// Runs `kubectl port-forward`. Returns it with the local port.
async fn port_forward(cluster: &TestCluster, pod: &Pod) -> Result<(ExternalProgram, String)> {
    let line = cluster.kubectl.command_line();
    let (program, arguments) = line.split_once(' ').context("no arguments")?;
    let forward = cluster.start_program("port-forward", Path::new(program), |command| {
        command.args(arguments.split(' ')).args(["port-forward", "--namespace"]);
        command.arg(pod.namespace().unwrap_or_default());
        command.args([format!("pod/{}", pod.name_any()), format!(":{PORT}")]);
    })?;
    let local_port = |log: &str| {
        let rest = log.split("Forwarding from 127.0.0.1:").nth(1)?;
        Some(rest.split_once(" ->")?.0.to_owned())
    };
    let port = forward.logged(local_port).await?;
    Ok((forward, port))
}

async fn value(cluster: &TestCluster, query: &str) -> Result<f64> {
    let (_, value) =
        cluster.prometheus()?.query(query).await?.pop().with_context(|| format!("no {query}"))?;
    Ok(value)
}
