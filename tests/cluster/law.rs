//! The law: a pod that is accepted without us is accepted with us, in the same quality of service (BestEffort may become
//! Burstable) and otherwise unchanged; one that is refused without us is refused with us, in the same words.
//!
//! The tables are in [`cases`]. Each of their pods is created, for show, in two namespaces that differ in the opt-in alone.

#![expect(clippy::needless_pass_by_value, reason = "json! in place reads better than a borrow of it")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kit::cluster::{Bed, eventually};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::audit;
use crate::beside::{Answer, dry_run, post, registered};

mod cases;
mod limits;
mod quotas;
mod shapes;

use cases::{Case, Expected, Fixture};

tests![
    pods_under_pod_security,
    pods_under_limit_ranges,
    pods_with_resources_of_their_own,
    pods_under_quotas,
    pods_of_every_shape,
];

async fn pods_under_pod_security(bed: &Bed) -> Result<()> {
    hold(bed, cases::pod_security()).await
}

async fn pods_under_limit_ranges(bed: &Bed) -> Result<()> {
    hold(bed, limits::limit_ranges()).await
}

async fn pods_with_resources_of_their_own(bed: &Bed) -> Result<()> {
    hold(bed, limits::pod_resources()).await
}

async fn pods_under_quotas(bed: &Bed) -> Result<()> {
    hold(bed, quotas::quotas()).await
}

async fn pods_of_every_shape(bed: &Bed) -> Result<()> {
    hold(bed, shapes::shapes()).await
}

/// Tries every pod of every namespace, and tells of all that break the law.
async fn hold(bed: &Bed, fixtures: Vec<Fixture>) -> Result<()> {
    let _alive = registered(bed).await?;
    let mut broken = vec![];
    for fixture in &fixtures {
        let pair = Pair::furnished(bed, fixture).await.with_context(|| fixture.name)?;
        for case in &fixture.cases {
            if let Err(error) = pair.hold(bed, case).await {
                broken.push(format!("in a namespace with {}, a pod {}: {error:#}", fixture.name, case.name));
            }
        }
        if let Err(error) = pair.is_asked_once(bed, fixture.cases.len()).await {
            broken.push(format!("in a namespace with {}: {error:#}", fixture.name));
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n\n"));
    Ok(())
}

/// Puts an object into a namespace, and waits until its controller has seen it.
async fn furnish(bed: &Bed, namespace: &str, object: &Value) -> Result<()> {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let path = format!("/api/v1/namespaces/{namespace}/{kind}s");
    let answer = post(bed, &path, object).await?;
    ensure!(answer.accepted, "{object}: {answer:?}");
    if kind == "resourcequota" {
        eventually("the quota is counted", PATIENCE, || async {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let quota = bed.kubectl.run(&[
                "get",
                "resourcequota",
                name,
                "--namespace",
                namespace,
                "--output=json",
            ])?;
            let quota: Value = serde_json::from_str(&quota)?;
            ensure!(quota["status"]["hard"] == quota["spec"]["hard"], "{quota}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Two namespaces that differ in the opt-in alone.
struct Pair {
    with: String,
    without: String,
}

// === impl Pair ===

impl Pair {
    async fn furnished(bed: &Bed, fixture: &Fixture) -> Result<Self> {
        let opted_in = [fixture.labels, &[(key::INJECT, key::ENABLED)]].concat();
        let with = bed.scratch_namespace(&opted_in).await?;
        let without = bed.scratch_namespace(fixture.labels).await?;
        for object in &fixture.objects {
            furnish(bed, &with, object).await?;
            furnish(bed, &without, object).await?;
        }
        Ok(Self { with, without })
    }

    /// Compares the answers with and without us, once the first is what is expected: what a namespace allows reaches the
    /// server a moment after the API server.
    async fn hold(&self, bed: &Bed, case: &Case) -> Result<()> {
        let without = dry_run(bed, &self.without, &case.pod).await?;
        let with = eventually(format!("the pod is {:?}", case.expected), PATIENCE, || async {
            let answer = dry_run(bed, &self.with, &case.pod).await?;
            ensure!(case.expected.is_met(&answer), "{answer}");
            Ok(answer)
        });
        let with = with.await.with_context(|| format!("without us it is {without}"))?;
        if with.accepted && without.accepted {
            return is_unchanged(&with, &without, &case.pod);
        }
        ensure!(with.accepted == without.accepted, "with us {with}, without {without}");
        ensure!(self.words(&with) == self.words(&without), "with us {with}, without {without}");
        Ok(())
    }

    /// A container of ours that the API server completes is a change by a later plugin, and would make it ask again. What
    /// it refuses before it asks us is none of our business.
    async fn is_asked_once(&self, bed: &Bed, requests: usize) -> Result<()> {
        for (namespace, expected) in [(&self.with, 1), (&self.without, 0)] {
            for creation in
                audit::creations(bed, namespace, requests).await?.iter().filter(|creation| creation.dry)
            {
                let calls = creation.calls();
                ensure!(
                    calls == expected || calls == 0 && !creation.accepted,
                    "{calls} calls: {creation:#?}"
                );
            }
        }
        Ok(())
    }

    /// Why a pod was refused, without the name of the namespace.
    fn words(&self, answer: &Answer) -> String {
        let message = answer.object["message"].as_str().unwrap_or_default();
        message.replace(&self.with, "NAMESPACE").replace(&self.without, "NAMESPACE")
    }
}

// === impl Expected ===

impl Expected {
    fn is_met(self, answer: &Answer) -> bool {
        let pod = &answer.object;
        let status = pod["metadata"]["annotations"][key::STATUS].as_str();
        let containers = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
        let containers = containers.into_iter().flatten().flatten();
        let ours = containers.filter(|container| container["name"] == CONTAINER).count();
        match self {
            Self::Injected => answer.accepted && status == Some("injected") && ours == 1,
            Self::Without(reason) => {
                answer.accepted && status == Some(&format!("skipped: {reason}")) && ours == 0
            }
            Self::Refused(words) => {
                !answer.accepted && pod["message"].as_str().is_some_and(|message| message.contains(words))
            }
        }
    }
}

/// Two accepted pods that differ in what is ours alone.
fn is_unchanged(with: &Answer, without: &Answer, pod: &Value) -> Result<()> {
    let strangers = with.warnings.iter().filter(|warning| !warning.starts_with("vdi-metrics: "));
    ensure!(
        strangers.eq(&without.warnings),
        "warned of {:?}, without us of {:?}",
        with.warnings,
        without.warnings
    );
    let [before, after] =
        [without, with].map(|answer| answer.object["status"]["qosClass"].as_str().unwrap_or_default());
    ensure!(before == after || (before, after) == ("BestEffort", "Burstable"), "{before} becomes {after}");
    let [before, after] = [without, with].map(|answer| without_us(&answer.object, pod));
    ensure!(before == after, "what is not ours is changed:\n{}", difference(&before, &after));
    Ok(())
}

fn difference(before: &Value, after: &Value) -> String {
    let [before, after] = [before, after].map(|pod| format!("{pod:#}\n"));
    similar::TextDiff::from_lines(&*before, &*after).unified_diff().to_string()
}

/// The pod without what is ours and what differs between any two pods.
fn without_us(pod: &Value, asked: &Value) -> Value {
    let mut pod = unnamed(pod);
    for field in ["uid", "creationTimestamp", "namespace", "managedFields", "name"] {
        pod["metadata"][field].take();
    }
    pod["status"]["qosClass"].take();
    // What a pod does not say of itself as a whole becomes the sum of its containers.
    for kind in ["requests", "limits"] {
        let amounts = pod.pointer_mut(&format!("/spec/resources/{kind}"));
        if let Some(amounts) = amounts.and_then(Value::as_object_mut) {
            amounts.retain(|resource, _| !asked["spec"]["resources"][kind][resource].is_null());
        }
    }
    for list in ["initContainers", "containers", "volumes"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.retain(|item| item["name"] != CONTAINER);
        }
    }
    for (map, keys) in [("labels", &[key::INJECTED][..]), ("annotations", &[key::STATUS, key::CONFIG])] {
        if let Some(map) = pod["metadata"][map].as_object_mut() {
            keys.iter().for_each(|key| drop(map.remove(*key)));
        }
    }
    without_the_empty(pod)
}

/// The volume of the API token has a random name.
fn unnamed(pod: &Value) -> Value {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let names = volumes.filter_map(|volume| volume["name"].as_str());
    let token = names.into_iter().find(|name| name.starts_with("kube-api-access-"));
    let text = token.map_or_else(|| pod.to_string(), |name| pod.to_string().replace(name, "kube-api-access"));
    serde_json::from_str(&text).unwrap_or_default()
}

/// Removing the last of ours leaves an empty list where there had been none.
fn without_the_empty(mut pod: Value) -> Value {
    for part in ["metadata", "spec"] {
        if let Some(fields) = pod[part].as_object_mut() {
            fields.retain(|_, value| ![json!(null), json!([]), json!({})].contains(value));
        }
    }
    pod
}

/// For what a watch or a controller brings.
const PATIENCE: Duration = Duration::from_secs(15);
