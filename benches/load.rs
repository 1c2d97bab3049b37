//! Creation of pods on a real API server: the time with each webhook, with a policy, and without injection.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Error, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::{
    cluster::{
        Assets, Cluster, Parts, eventually,
        load::{Created, create_at_rate, create_concurrently},
    },
    desktop::{Size, pod},
};
use serde_json::{Value, json};

use crate::{
    servers::{self, Kind, Servers},
    table::{Table, Target, quantile},
};

/// The rounds are interleaved, so that other load on the machine affects all contenders alike.
const ROUNDS: usize = 5;

/// Concurrent clients, and the pods that they create per round and contender: 3,000 per contender.
const CLIENTS: usize = 32;
const CONCURRENT_PODS: usize = 600;

/// Pods that are created at a fixed rate, per round and contender.
const PODS_AT_RATE: usize = 200;
const INTERVAL: Duration = Duration::from_millis(20);

/// Time for the API server to clean up the pods of the previous contender, which were all deleted at once.
const CLEANUP_TIME: Duration = Duration::from_secs(3);

/// The contenders that are not servers: no injection, and the policy.
const NOTHING: &str = "nothing";
const POLICY: &str = "policy";

/// The results of one contender; times in milliseconds.
#[derive(Debug, Default)]
struct Results {
    at_rate: Vec<f64>,
    concurrent: Vec<f64>,
    /// Duration of all concurrent creations.
    seconds: f64,
    without_sidecar: usize,
    rejected: usize,
}

pub(crate) fn measure() -> Result<Vec<Target>> {
    servers::build()?;
    let assets = Assets::find()?.map_err(Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(&assets, Parts::ControlPlane).await?;
        let servers = Servers::start(&["env"], &cluster.kubeconfig())?;
        let contenders = register(&cluster, &servers).await?;
        let calls_before = servers.decisions()?;
        let mut results: Vec<Results> = contenders.iter().map(|_| Results::default()).collect();
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        for _ in 0..ROUNDS {
            for &index in &order {
                let name = &contenders[index];
                round(&cluster, name, &mut results[index]).await.with_context(|| name.clone())?;
            }
            // In reverse order, so that a contender does not always follow the same other contender.
            order.reverse();
        }
        let calls =
            (servers.decisions()? - calls_before) / (ROUNDS * (CONCURRENT_PODS + PODS_AT_RATE)) as f64;
        print(&contenders, &mut results);
        Ok(targets(&contenders, &mut results, calls))
    })
}

/// Creates a namespace for each contender, in which only that contender is active. Returns the names, the product's first.
async fn register(cluster: &Cluster, servers: &Servers) -> Result<Vec<String>> {
    let mut names = vec![];
    for server in &servers.all {
        let client = json!({"url": format!("https://{}/mutate", server.address),
            "caBundle": BASE64_STANDARD.encode(fs::read(servers.certificate.cert())?)});
        let name = server.kind.as_str();
        let mut configuration = shipped()?;
        configuration["metadata"]["name"] = json!(namespace(name));
        for entry in configuration["webhooks"].as_array_mut().context("no entries")? {
            entry["clientConfig"] = client.clone();
        }
        install(cluster, name, &[configuration])?;
        names.push(name.to_owned());
    }
    for (name, objects) in [(POLICY, policy()?), (NOTHING, vec![])] {
        install(cluster, name, &objects)?;
        names.insert(1, name.to_owned());
    }
    for name in names.iter().filter(|name| injects(name)) {
        // The API server learns of its configuration through watches.
        eventually(format!("{name} is active"), Duration::from_secs(60), || async {
            let created =
                create_concurrently(&cluster.client, &namespace(name), &pod(Size::Medium).to_string(), 1, 1)
                    .await?;
            ensure!(created.iter().all(is_injected), "{created:?}");
            Ok(())
        })
        .await?;
    }
    Ok(names)
}

/// Creates the namespace with all that a pod needs, and the objects, which are restricted to this namespace.
fn install(cluster: &Cluster, name: &str, objects: &[Value]) -> Result<()> {
    let name = &namespace(name);
    let labels = json!({"vdi-metrics.io/inject": "enabled"});
    let account = json!({"name": "default", "namespace": name});
    let namespace_objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}),
    ];
    for mut object in namespace_objects.into_iter().chain(objects.iter().cloned()) {
        restrict(&mut object, name);
        cluster.kubectl.apply(&object.to_string())?;
    }
    Ok(())
}

/// Restricts every namespace selector to this namespace.
fn restrict(object: &mut Value, namespace: &str) {
    if let Some(expressions) = object.get_mut("matchExpressions").and_then(Value::as_array_mut)
        && expressions.iter().any(|expression| expression["key"] == NAME)
    {
        expressions.push(json!({"key": NAME, "operator": "In", "values": [namespace]}));
    }
    match object {
        Value::Object(fields) => fields.values_mut().for_each(|value| restrict(value, namespace)),
        Value::Array(items) => items.iter_mut().for_each(|value| restrict(value, namespace)),
        _ => {}
    }
}

async fn round(cluster: &Cluster, name: &str, results: &mut Results) -> Result<()> {
    let namespace = &namespace(name);
    let body = pod(Size::Medium).to_string();
    tokio::time::sleep(CLEANUP_TIME).await;
    let at_rate = create_at_rate(&cluster.client, namespace, &body, INTERVAL, PODS_AT_RATE).await?;
    let began = std::time::Instant::now();
    let concurrent = create_concurrently(&cluster.client, namespace, &body, CLIENTS, CONCURRENT_PODS).await?;
    results.seconds += began.elapsed().as_secs_f64();
    for created in concurrent.iter().chain(&at_rate) {
        results.rejected += usize::from(created.answer.is_err());
        results.without_sidecar += usize::from(created.answer.is_ok() && !is_injected(created));
    }
    let milliseconds = |created: &Created| created.took.as_secs_f64() * 1000.0;
    results.concurrent.extend(concurrent.iter().map(milliseconds));
    results.at_rate.extend(at_rate.iter().map(milliseconds));
    let all = format!("/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0");
    cluster.client.request_text(http::Request::delete(all).body(vec![])?).await?;
    Ok(())
}

fn print(contenders: &[String], results: &mut [Results]) {
    let mut table =
        Table::new("creation of a pod on the API server, ms", contenders.iter().map(String::as_str));
    let mut row = |name: &str, figure: &mut dyn FnMut(&mut Results) -> f64| {
        table.row(name, results.iter_mut().map(|results| Some(figure(results))).collect::<Vec<_>>());
    };
    row("50 per second: p50", &mut |results| quantile(&mut results.at_rate, 0.5));
    row("50 per second: p99", &mut |results| quantile(&mut results.at_rate, 0.99));
    row("32 clients: p50", &mut |results| quantile(&mut results.concurrent, 0.5));
    row("32 clients: p99", &mut |results| quantile(&mut results.concurrent, 0.99));
    row("32 clients: pods per second", &mut |results| results.concurrent.len() as f64 / results.seconds);
    row("pods without sidecar", &mut |results| results.without_sidecar as f64);
    row("rejected pods", &mut |results| results.rejected as f64);
    table.print();
}

fn targets(contenders: &[String], results: &mut [Results], calls: f64) -> Vec<Target> {
    let mut targets = vec![
        Target {
            what: "pods without sidecar".to_owned(),
            max: 0.0,
            measured: results[0].without_sidecar as f64,
        },
        Target { what: "rejected pods".to_owned(), max: 0.0, measured: results[0].rejected as f64 },
        Target { what: "webhook calls per pod".to_owned(), max: 1.0, measured: calls },
    ];
    let index_of = |name: &str| contenders.iter().position(|contender| contender == name);
    let (Some(nothing), Some(policy)) = (index_of(NOTHING), index_of(POLICY)) else { return targets };
    for (name, fraction) in [("p50", 0.5), ("p99", 0.99)] {
        let mut added = |index: usize| {
            quantile(&mut results[index].at_rate, fraction)
                - quantile(&mut results[nothing].at_rate, fraction)
        };
        let what = format!("ms added to a creation, 50 per second, {name}, compared with the policy");
        targets.push(Target { what, measured: added(0), max: added(policy) });
    }
    targets
}

fn is_injected(created: &Created) -> bool {
    created.answer.as_ref().is_ok_and(|pod| pod.contains(r#""vdi-metrics.io/injected":"true""#))
}

fn injects(name: &str) -> bool {
    name != NOTHING && name != Kind::Floor.as_str()
}

/// The contender's namespace. The prefix is needed because the product never injects into the namespace `vdi-metrics`.
fn namespace(name: &str) -> String {
    format!("for-{}", name.to_lowercase().replace(' ', "-"))
}

fn shipped() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../webhook-config/webhook.yaml");
    Ok(serde_saphyr::from_str(&fs::read_to_string(path)?)?)
}

/// The same injection as a policy.
fn policy() -> Result<Vec<Value>> {
    let output = Command::new(servers::product()).args(["render", "--policy"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let documents = text.split("\n---\n").map(serde_saphyr::from_str);
    Ok(documents.collect::<Result<_, _>>()?)
}

/// The label with the namespace's name, which the API server sets on every namespace.
const NAME: &str = "kubernetes.io/metadata.name";
