//! The real Prometheus next to a control plane, without an operator. It scrapes given addresses as replicas of the server, with the
//! relabelings of the shipped monitor.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result, bail};
use kit::cluster::{Assets, Cluster, ExternalProgram, Prometheus};
use serde_json::{Value, json};

use super::common::root;

/// A running Prometheus with a scrape interval of one second.
pub(crate) struct OwnPrometheus {
    /// A client.
    pub(crate) client: Prometheus,
    _program: ExternalProgram,
}

/// A field of a relabeling in the ServiceMonitor, and in the configuration of Prometheus.
const FIELDS: [(&str, &str); 4] = [
    ("sourceLabels", "source_labels"),
    ("regex", "regex"),
    ("targetLabel", "target_label"),
    ("replacement", "replacement"),
];

// === impl OwnPrometheus ===

impl OwnPrometheus {
    /// Starts Prometheus and waits until it is ready. The targets have the labels of Prometheus Operator that differ from replica to
    /// replica.
    pub(crate) async fn start(cluster: &Cluster, scheme: &str, targets: &[SocketAddr]) -> Result<Self> {
        let assets = Assets::find()?.map_err(anyhow::Error::msg)?;
        let folder = tempfile::tempdir_in(cluster.folder())?.keep();
        let config = folder.join("prometheus.json");
        fs::write(&config, configuration(scheme, targets)?.to_string())?;
        // A port that was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let program =
            cluster.start_program("own-prometheus", Path::new(&assets.binary("prometheus")), |command| {
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                    .arg(format!("--web.listen-address={address}"));
            })?;
        let client = Prometheus::at(&format!("http://{address}"))?;
        program.ready(|| client.readiness()).await?;
        Ok(Self { client, _program: program })
    }
}

/// The configuration as JSON, which is YAML too.
fn configuration(scheme: &str, targets: &[SocketAddr]) -> Result<Value> {
    let replica = |(number, address): (usize, &SocketAddr)| {
        let labels = json!({"namespace": "vdi-metrics", "service": "vdi-metrics-webhook", "endpoint": "metrics",
            "pod": format!("replica-{number}"), "container": "server", "node": format!("node-{number}")});
        json!({"targets": [address.to_string()], "labels": labels})
    };
    let replicas: Vec<_> = targets.iter().enumerate().map(replica).collect();
    Ok(json!({"scrape_configs": [{
        "job_name": "vdi-metrics-webhook", "scheme": scheme, "scrape_interval": "1s", "scrape_timeout": "1s",
        "tls_config": {"insecure_skip_verify": true}, "static_configs": replicas,
        "metric_relabel_configs": relabelings()?,
    }]}))
}

/// The relabelings of the shipped monitor as Prometheus Operator writes them.
fn relabelings() -> Result<Vec<Value>> {
    let manifest = fs::read_to_string(root().join("manifests/monitoring/server.yaml"))?;
    let monitor: Value = serde_saphyr::from_str(&manifest)?;
    let relabelings = monitor["spec"]["endpoints"][0]["metricRelabelings"].as_array();
    relabelings.context("no relabelings")?.iter().map(for_prometheus).collect()
}

fn for_prometheus(relabeling: &Value) -> Result<Value> {
    let fields = relabeling.as_object().context("no relabeling")?.iter().map(|(name, value)| {
        match FIELDS.iter().find(|(of_monitor, _)| of_monitor == name) {
            Some((_, name)) => Ok(((*name).to_owned(), value.clone())),
            None => bail!("unknown field {name}"),
        }
    });
    fields.collect::<Result<serde_json::Map<_, _>>>().map(Value::Object)
}
