//! Viewers of a real streaming server: TigerVNC's X server, with websockify in front of it, shows a program that draws all the time.
//! The kubelet probes both ports, and Prometheus scrapes websockify.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::{cluster::TestCluster, vnc_desktop};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use vdi_metrics::contract::key;

use super::presence::{
    CONNECTIONS, INTERVAL, Visit, check_visit, client, log_of_only_viewer, monitor, scraped,
};
use crate::support::desktops::desktop;
use crate::support::installation::{installed, session_namespace};
use crate::support::node_pods::{all_ready, create};
use crate::support::processes::{SIDECAR, process};
use crate::support::prometheus::{series, single_sample};

tests![a_vnc_viewer_is_counted_for_its_time, a_browser_behind_websockify_is_one_viewer];

const IMAGE: &str = "desktop.test/vnc:1";
static IMPORTED: OnceCell<()> = OnceCell::const_new();

const VNC_PORT: u16 = 5900;
const WEB_PORT: u16 = 6901;

/// Clients stay this long.
const SECONDS: &str = "40";

/// The viewer's own encoding has 20 kB/s, and a browser reads pixels without compression. Fewer bytes mean that nothing is drawn.
const DRAWN: f64 = 200e3;

/// The confidence depends on the node and on the time: it is `low` while Prometheus has a connection to the desktop, and, on a node without
/// control groups of version 2, while websockify has one to the VNC server.
const METHOD: &str = r#"vdi_session_presence_info{source="sock_diag", transport="tcp"}"#;

async fn a_vnc_viewer_is_counted_for_its_time(cluster: &TestCluster) -> Result<()> {
    check_client(cluster, "viewer", VNC_PORT).await
}

/// websockify has a connection to the client and one to the VNC server, whose port is declared too.
async fn a_browser_behind_websockify_is_one_viewer(cluster: &TestCluster) -> Result<()> {
    check_client(cluster, "browser", WEB_PORT).await
}

async fn check_client(cluster: &TestCluster, command: &str, port: u16) -> Result<()> {
    let _server = installed(cluster).await?;
    let pod = vnc_desktop(cluster).await?;
    scraped(cluster, &pod).await?;
    let namespace = pod.namespace().context("no namespace")?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("no address")?;
    let client = in_image(client(&[command, address, &port.to_string(), SECONDS]));
    create(cluster, &namespace, client).await?;
    let connected = format!("{} == 1", series(&pod, CONNECTIONS));
    single_sample(cluster, &format!("{METHOD} and on (namespace, pod) {connected}"), 1.0).await?;
    let log = log_of_only_viewer(cluster, &pod).await?;
    let visit = visit(&log).with_context(|| log.clone())?;
    ensure!(visit.received > DRAWN, "the client has received {} bytes: {log}", visit.received);
    single_sample(cluster, &format!("max_over_time({}[3m])", series(&pod, CONNECTIONS)), 1.0).await?;
    check_rights(&pod)?;
    check_visit(cluster, &pod, &visit).await
}

/// The sidecar reads the connections with the rights of Pod Security's `restricted` and behind containerd's seccomp filter (2).
fn check_rights(pod: &Pod) -> Result<()> {
    let sidecar = process(pod, SIDECAR)?;
    for (field, expected) in [("Seccomp", "2"), ("NoNewPrivs", "1"), ("CapEff", "0000000000000000")] {
        let value = sidecar.status(field)?;
        ensure!(value == expected, "{field} is {value}");
    }
    let users = sidecar.status("Uid")?;
    ensure!(users.split_whitespace().all(|user| user != "0"), "the users are {users}");
    Ok(())
}

/// The last line of the client's log.
fn visit(log: &str) -> Option<Visit> {
    let (seconds, received) = log.lines().last()?.split_once(' ')?;
    Some(Visit { seconds: seconds.parse().ok()?, received: received.parse().ok()? })
}

/// A Ready desktop with a VNC server, in a namespace of its own.
async fn vnc_desktop(cluster: &TestCluster) -> Result<Pod> {
    IMPORTED.get_or_try_init(|| async { cluster.load_image(&vnc_desktop::image(IMAGE)?) }).await?;
    let namespace = session_namespace(cluster).await?;
    let mut pod = in_image(desktop(&["desktop", &VNC_PORT.to_string(), &WEB_PORT.to_string()]));
    pod["metadata"]["labels"]["app"] = json!("desktop");
    pod["metadata"]["annotations"][key::INTERVAL] = json!(INTERVAL.to_string());
    let container = &mut pod["spec"]["containers"][0];
    container["ports"] =
        json!([{"name": "vnc", "containerPort": VNC_PORT}, {"name": "screen", "containerPort": WEB_PORT}]);
    // On a busy machine the server starts more slowly than the liveness probe allows.
    container["startupProbe"] =
        json!({"tcpSocket": {"port": "vnc"}, "periodSeconds": 1, "failureThreshold": 60});
    container["livenessProbe"] = json!({"tcpSocket": {"port": "vnc"}, "periodSeconds": 1});
    container["readinessProbe"] = json!({"httpGet": {"path": METRICS, "port": "screen"}, "periodSeconds": 1});
    create(cluster, &namespace, pod).await?;
    cluster.kubectl.apply(&monitor(&namespace, METRICS).to_string())?;
    all_ready(cluster, &namespace, 1).await?.pop().context("no pod")
}

/// The pod with this image and a read-only root.
fn in_image(mut pod: Value) -> Value {
    pod["spec"]["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = json!(IMAGE);
    container["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/tmp"}]);
    container["securityContext"]["readOnlyRootFilesystem"] = json!(true);
    pod
}

const METRICS: &str = "/metrics.txt";
