//! The time that the sidecar adds to a desktop's start on a real node: from the request that creates the pod to the start of the
//! desktop's program, which writes that time as its termination message.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Error, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kit::{
    cluster::{self, Assets, Cluster, Parts, eventually},
    product_images,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    servers,
    sidecar::scenario,
    table::{Table, Target, print_targets, quantile},
};

/// Starts per kind of pod. The kinds are interleaved.
const ROUNDS: usize = 20;

const NAME: &str = "desktop";
const DESKTOP: &str = "bench.test/desktop:1";

/// The sidecars of the pods, the product's first.
const COLUMNS: [&str; 3] = ["vdi-metrics", "a minimal program", "nothing"];

/// Starts this program again, in namespaces in which a node can run.
pub(crate) fn measure() -> Result<Vec<Target>> {
    if let Some(missing) = cluster::missing_requirement() {
        anyhow::bail!("not run: {missing}");
    }
    fake_nvml::library()?;
    let code = cluster::isolated(|| ExitCode::FAILURE)?;
    ensure!(code == ExitCode::SUCCESS, "measuring the start failed; see its messages above");
    Ok(vec![])
}

/// The measurement, which runs in the namespaces.
pub(crate) fn inside() -> Result<()> {
    let assets = Assets::find()?.map_err(Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(&assets, Parts::Node).await?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        cluster.load_image(&product_images::probe(DESKTOP, "/desktop"))?;
        cluster.load_image(&product_images::with_gpus(
            product_images::sidecar(folder)?,
            &scenario(1)?,
            folder,
        )?)?;
        let pods: Api<Pod> = Api::default_namespaced(cluster.client.clone());
        let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client.clone());
        // The API server rejects pods without this account.
        eventually("the default ServiceAccount", LIMIT, || async { Ok(accounts.get("default").await?) })
            .await?;
        let contenders = contenders()?;
        let mut times = [const { vec![] }; COLUMNS.len()];
        // The first start of each kind is not counted, because no file is cached then.
        for round in 0..=ROUNDS {
            for (pod, times) in contenders.iter().zip(&mut times) {
                let took = start(&pods, pod).await?;
                times.extend((round > 0).then_some(took));
            }
        }
        print(&mut times);
        Ok(())
    })
}

fn contenders() -> Result<Vec<Pod>> {
    let nothing = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "desktop", "image": DESKTOP, "args": ["now"]}]},
    });
    let mut minimal = nothing.clone();
    minimal["spec"]["initContainers"] =
        json!([{"name": "minimal", "image": DESKTOP, "args": ["sleep"], "restartPolicy": "Always"}]);
    [injected(&nothing)?, minimal, nothing].into_iter().map(|pod| Ok(serde_json::from_value(pod)?)).collect()
}

/// The pod with the product's changes.
fn injected(pod: &Value) -> Result<Value> {
    let file = kit::tempfile::NamedTempFile::with_suffix(".json")?;
    std::fs::write(file.path(), pod.to_string())?;
    let output = Command::new(servers::product()).arg("inject").arg(file.path()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Milliseconds from the request to the start of the desktop's program.
async fn start(pods: &Api<Pod>, pod: &Pod) -> Result<f64> {
    let began = SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64();
    pods.create(&PostParams::default(), pod).await?;
    let started =
        eventually("the desktop has run", LIMIT, || async { start_time(&pods.get(NAME).await?) }).await?;
    pods.delete(NAME, &DeleteParams::default().grace_period(0)).await?;
    eventually("the pod is gone", LIMIT, || async {
        ensure!(pods.get_opt(NAME).await?.is_none(), "the pod still exists");
        Ok(())
    })
    .await?;
    Ok((started - began) * 1e3)
}

/// The time in the desktop's termination message.
fn start_time(pod: &Pod) -> Result<f64> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let status = statuses.unwrap_or_default().iter().find(|status| status.name == "desktop");
    let end = status.and_then(|status| status.state.as_ref()?.terminated.as_ref());
    Ok(end.and_then(|end| end.message.as_deref()).context("the desktop has not ended")?.trim().parse()?)
}

fn print(times: &mut [Vec<f64>]) {
    let mut table = Table::new("from a pod's creation to its desktop, ms", COLUMNS);
    for (name, fraction) in [("minimum", 0.0), ("median", 0.5), ("p90", 0.9)] {
        table.row(name, times.iter_mut().map(|times| Some(quantile(times, fraction))));
    }
    table.print();
    let mut median = |column: usize| quantile(&mut times[column], 0.5);
    let measured = median(0) - median(2);
    print_targets(&[Target {
        what: "ms added to a desktop's start on a node, median".to_owned(),
        max: 150.0,
        measured,
    }]);
    println!();
}

const LIMIT: Duration = Duration::from_secs(60);
