//! Pods created on a real API server: what an injection adds to each, by the webhooks, by a policy, and without any.

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
    table::{Aim, Table, quantile},
};

/// Interleaved: whatever else runs on the machine meets all alike.
const ROUNDS: usize = 5;

/// So many clients at once create so many pods in each round: 3,000 in all, of each kind.
const CLIENTS: usize = 32;
const CROWD: usize = 600;

/// And so many are created at an even pace.
const PACED: usize = 200;
const PACE: Duration = Duration::from_millis(20);

/// Time for the API server to be done with the pods of the one before, which were deleted all at once.
const SETTLE: Duration = Duration::from_secs(3);

/// Columns of the table beside the servers', and the namespaces where nothing and the policy are at work.
const NOTHING: &str = "nothing";
const POLICY: &str = "policy";

/// What one contender's pods showed.
#[derive(Debug, Default)]
struct Shown {
    paced: Vec<f64>,
    crowd: Vec<f64>,
    /// Seconds that the crowds took.
    seconds: f64,
    bare: usize,
    refused: usize,
}

pub(crate) fn measure() -> Result<Vec<Aim>> {
    servers::build()?;
    let assets = Assets::find()?.map_err(Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(&assets, Parts::ControlPlane).await?;
        let servers = Servers::start(&["env"], &cluster.kubeconfig())?;
        let contenders = register(&cluster, &servers).await?;
        let asked = servers.decisions()?;
        let mut shown: Vec<Shown> = contenders.iter().map(|_| Shown::default()).collect();
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        for _ in 0..ROUNDS {
            for &index in &order {
                let name = &contenders[index];
                round(&cluster, name, &mut shown[index]).await.with_context(|| name.clone())?;
            }
            // What the one before leaves behind is not always the same one's.
            order.reverse();
        }
        let calls = (servers.decisions()? - asked) / (ROUNDS * (CROWD + PACED)) as f64;
        print(&contenders, &mut shown);
        Ok(aims(&contenders, &mut shown, calls))
    })
}

/// Makes a namespace for each, in which it and nobody else is at work; gives the names, ours first.
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
        // The API server learns of its configuration on watches.
        eventually(format!("{name} is at work"), Duration::from_secs(60), || async {
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

/// The namespace, with all that a pod needs, and the objects narrowed to it.
fn install(cluster: &Cluster, name: &str, objects: &[Value]) -> Result<()> {
    let name = &namespace(name);
    let labels = json!({"vdi-metrics.io/inject": "enabled"});
    let account = json!({"name": "default", "namespace": name});
    let of_the_namespace = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}),
    ];
    for mut object in of_the_namespace.into_iter().chain(objects.iter().cloned()) {
        narrow(&mut object, name);
        cluster.kubectl.apply(&object.to_string())?;
    }
    Ok(())
}

/// Adds to every namespace selector that it is this namespace.
fn narrow(object: &mut Value, namespace: &str) {
    if let Some(expressions) = object.get_mut("matchExpressions").and_then(Value::as_array_mut)
        && expressions.iter().any(|expression| expression["key"] == NAME)
    {
        expressions.push(json!({"key": NAME, "operator": "In", "values": [namespace]}));
    }
    match object {
        Value::Object(fields) => fields.values_mut().for_each(|value| narrow(value, namespace)),
        Value::Array(items) => items.iter_mut().for_each(|value| narrow(value, namespace)),
        _ => {}
    }
}

async fn round(cluster: &Cluster, name: &str, shown: &mut Shown) -> Result<()> {
    let namespace = &namespace(name);
    let body = pod(Size::Medium).to_string();
    tokio::time::sleep(SETTLE).await;
    let paced = create_at_rate(&cluster.client, namespace, &body, PACE, PACED).await?;
    let began = std::time::Instant::now();
    let crowd = create_concurrently(&cluster.client, namespace, &body, CLIENTS, CROWD).await?;
    shown.seconds += began.elapsed().as_secs_f64();
    for created in crowd.iter().chain(&paced) {
        shown.refused += usize::from(created.answer.is_err());
        shown.bare += usize::from(created.answer.is_ok() && !is_injected(created));
    }
    let milliseconds = |created: &Created| created.took.as_secs_f64() * 1000.0;
    shown.crowd.extend(crowd.iter().map(milliseconds));
    shown.paced.extend(paced.iter().map(milliseconds));
    let all = format!("/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0");
    cluster.client.request_text(http::Request::delete(all).body(vec![])?).await?;
    Ok(())
}

fn print(contenders: &[String], shown: &mut [Shown]) {
    let mut table = Table::new("on the API server, ms", contenders.iter().map(String::as_str));
    let mut row = |name: &str, of: &mut dyn FnMut(&mut Shown) -> f64| {
        table.row(name, shown.iter_mut().map(|shown| Some(of(shown))).collect::<Vec<_>>());
    };
    row("50 a second: p50", &mut |shown| quantile(&mut shown.paced, 0.5));
    row("50 a second: p99", &mut |shown| quantile(&mut shown.paced, 0.99));
    row("32 clients: p50", &mut |shown| quantile(&mut shown.crowd, 0.5));
    row("32 clients: p99", &mut |shown| quantile(&mut shown.crowd, 0.99));
    row("32 clients: pods a second", &mut |shown| shown.crowd.len() as f64 / shown.seconds);
    row("pods without sidecar", &mut |shown| shown.bare as f64);
    row("pods refused", &mut |shown| shown.refused as f64);
    table.print();
}

fn aims(contenders: &[String], shown: &mut [Shown], calls: f64) -> Vec<Aim> {
    let mut aims = vec![
        Aim { what: "pods without sidecar".to_owned(), at_most: 0.0, found: shown[0].bare as f64 },
        Aim { what: "pods refused".to_owned(), at_most: 0.0, found: shown[0].refused as f64 },
        Aim { what: "calls for each pod".to_owned(), at_most: 1.0, found: calls },
    ];
    let place = |name: &str| contenders.iter().position(|contender| contender == name);
    let (Some(nothing), Some(policy)) = (place(NOTHING), place(POLICY)) else { return aims };
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let mut added = |index: usize| {
            quantile(&mut shown[index].paced, part) - quantile(&mut shown[nothing].paced, part)
        };
        let what = format!("ms added to a creation, 50 a second, {name}, against the policy");
        aims.push(Aim { what, found: added(0), at_most: added(policy) });
    }
    aims
}

fn is_injected(created: &Created) -> bool {
    created.answer.as_ref().is_ok_and(|pod| pod.contains(r#""vdi-metrics.io/injected":"true""#))
}

fn injects(name: &str) -> bool {
    name != NOTHING && name != Kind::Floor.as_str()
}

/// A contender's own; ours is kept out of the one that is named as it is.
fn namespace(name: &str) -> String {
    format!("for-{}", name.to_lowercase().replace(' ', "-"))
}

fn shipped() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../webhook-config/webhook.yaml");
    Ok(serde_saphyr::from_str(&fs::read_to_string(path)?)?)
}

/// The same injection as a policy.
fn policy() -> Result<Vec<Value>> {
    let output = Command::new(servers::ours()).args(["render", "--policy"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let documents = text.split("\n---\n").map(serde_saphyr::from_str);
    Ok(documents.collect::<Result<_, _>>()?)
}

/// The label that every namespace has.
const NAME: &str = "kubernetes.io/metadata.name";
