//! The same pod with and without the webhook. A pod that is accepted without the webhook must be accepted with it, with the
//! same quality of service (BestEffort may become Burstable) and otherwise unchanged. A pod that is rejected without the
//! webhook must be rejected with it, with the same message.
//!
//! The modules below this one have tables of cases. Each pod is created in a dry run in two namespaces that differ only in the
//! opt-in label.

#![expect(clippy::needless_pass_by_value, reason = "an inline json! is easier to read than a borrow of it")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kit::cluster::{TestCluster, eventually};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::support::audit_log;
use crate::support::out_of_cluster_server::{ApiResponse, dry_run, post, registered};

mod cases;
mod limits;
mod quotas;
mod shapes;
mod sizes;

use cases::{Case, Expected, NamespaceCases};

tests![
    pods_under_pod_security,
    pods_under_limit_ranges,
    pods_with_pod_level_resources,
    pods_under_quotas,
    pods_of_every_shape,
    pods_with_full_annotations,
    pods_that_etcd_can_just_store,
    pods_under_a_policy_against_group_0,
];

async fn pods_under_pod_security(cluster: &TestCluster) -> Result<()> {
    check_all(cluster, cases::pod_security()).await
}

async fn pods_under_limit_ranges(cluster: &TestCluster) -> Result<()> {
    check_all(cluster, limits::limit_ranges()).await
}

async fn pods_with_pod_level_resources(cluster: &TestCluster) -> Result<()> {
    check_all(cluster, limits::pod_level_resources()).await
}

async fn pods_under_quotas(cluster: &TestCluster) -> Result<()> {
    check_all(cluster, quotas::quotas()).await
}

async fn pods_of_every_shape(cluster: &TestCluster) -> Result<()> {
    check_all(cluster, shapes::shapes()).await
}

async fn pods_with_full_annotations(cluster: &TestCluster) -> Result<()> {
    check_all(cluster, sizes::annotations()).await
}

async fn pods_that_etcd_can_just_store(cluster: &TestCluster) -> Result<()> {
    sizes::check_stored(cluster).await
}

async fn pods_under_a_policy_against_group_0(cluster: &TestCluster) -> Result<()> {
    cluster.kubectl.apply(cases::NO_GROUP_0)?;
    let namespace = cluster.scratch_namespace(cases::NO_GROUP_0_LABELS).await?;
    eventually("the policy is active", TIMEOUT, || async {
        let response = dry_run(cluster, &namespace, &cases::minimal(json!({}))).await?;
        ensure!(!response.accepted, "{response}");
        Ok(())
    })
    .await?;
    check_all(cluster, cases::without_group_0()).await
}

/// Checks every pod in every namespace and reports all failures together.
async fn check_all(cluster: &TestCluster, namespaces: Vec<NamespaceCases>) -> Result<()> {
    let _server = registered(cluster).await?;
    let mut failures = vec![];
    for namespace in &namespaces {
        let pair = NamespacePair::create(cluster, namespace).await.with_context(|| namespace.name)?;
        for case in &namespace.cases {
            if let Err(error) = pair.check(cluster, case).await {
                failures
                    .push(format!("in a namespace with {}, a pod {}: {error:#}", namespace.name, case.name));
            }
        }
        if let Err(error) = pair.check_calls(cluster, namespace.cases.len()).await {
            failures.push(format!("in a namespace with {}: {error:#}", namespace.name));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// Creates an object in a namespace and waits until its controller has processed it.
async fn create_in(cluster: &TestCluster, namespace: &str, object: &Value) -> Result<()> {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let path = format!("/api/v1/namespaces/{namespace}/{kind}s");
    let answer = post(cluster, &path, object).await?;
    ensure!(answer.accepted, "{object}: {answer:?}");
    if kind == "resourcequota" {
        eventually("the quota is active", TIMEOUT, || async {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let quota = cluster.kubectl.run(&[
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

/// Two namespaces that differ only in the opt-in label: the webhook is called for the pods of the first.
struct NamespacePair {
    with: String,
    without: String,
}

// === impl NamespacePair ===

impl NamespacePair {
    async fn create(cluster: &TestCluster, namespace: &NamespaceCases) -> Result<Self> {
        let opted_in = [namespace.labels, &[(key::INJECT, key::ENABLED)]].concat();
        let with = cluster.scratch_namespace(&opted_in).await?;
        let without = cluster.scratch_namespace(namespace.labels).await?;
        for object in &namespace.objects {
            create_in(cluster, &with, object).await?;
            create_in(cluster, &without, object).await?;
        }
        Ok(Self { with, without })
    }

    /// Waits until the response with the webhook is the expected one, then compares it with the response without the webhook.
    /// The wait is necessary because the server reads a namespace's limits a moment after the API server.
    async fn check(&self, cluster: &TestCluster, case: &Case) -> Result<()> {
        let without = dry_run(cluster, &self.without, &case.pod).await?;
        let with = eventually(format!("the pod is {:?}", case.expected), TIMEOUT, || async {
            let response = dry_run(cluster, &self.with, &case.pod).await?;
            ensure!(case.expected.is_met(&response), "{response}");
            Ok(response)
        });
        let with = with.await.with_context(|| format!("without the webhook: {without}"))?;
        if with.accepted && without.accepted {
            return check_unchanged(&with, &without, &case.pod);
        }
        ensure!(with.accepted == without.accepted, "with the webhook: {with}; without: {without}");
        ensure!(
            self.message(&with) == self.message(&without),
            "with the webhook: {with}; without: {without}"
        );
        Ok(())
    }

    /// Checks that the webhook was called once per pod. If the API server had to add defaults to the sidecar, that would be a
    /// change by a later plugin, and it would call the webhook again. A pod may be rejected before the webhook is called.
    async fn check_calls(&self, cluster: &TestCluster, requests: usize) -> Result<()> {
        for (namespace, expected) in [(&self.with, 1), (&self.without, 0)] {
            for creation in audit_log::creations(cluster, namespace, requests)
                .await?
                .iter()
                .filter(|creation| creation.dry_run)
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

    /// Why a pod was rejected, without the name of the namespace.
    fn message(&self, response: &ApiResponse) -> String {
        let message = response.object["message"].as_str().unwrap_or_default();
        message.replace(&self.with, "NAMESPACE").replace(&self.without, "NAMESPACE")
    }
}

// === impl Expected ===

impl Expected {
    fn is_met(self, response: &ApiResponse) -> bool {
        let pod = &response.object;
        let status = pod["metadata"]["annotations"][key::STATUS].as_str();
        let containers = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
        let containers = containers.into_iter().flatten().flatten();
        let sidecars = containers.filter(|container| container["name"] == CONTAINER).count();
        match self {
            Self::Injected => response.accepted && status == Some("injected") && sidecars == 1,
            Self::Skipped(reason) => {
                response.accepted && status == Some(&format!("skipped: {reason}")) && sidecars == 0
            }
            Self::Unmarked(part) => {
                let warned = response.warnings.iter().any(|warning| warning.contains(part));
                response.accepted && status.is_none() && sidecars == 0 && warned
            }
            Self::Rejected(part) => {
                !response.accepted && pod["message"].as_str().is_some_and(|message| message.contains(part))
            }
        }
    }
}

/// Checks that two accepted pods differ only in what the webhook adds.
fn check_unchanged(with: &ApiResponse, without: &ApiResponse, pod: &Value) -> Result<()> {
    let other_warnings = with.warnings.iter().filter(|warning| !warning.starts_with("vdi-metrics: "));
    ensure!(
        other_warnings.eq(&without.warnings),
        "warnings {:?}, without the webhook {:?}",
        with.warnings,
        without.warnings
    );
    let [before, after] =
        [without, with].map(|answer| answer.object["status"]["qosClass"].as_str().unwrap_or_default());
    ensure!(before == after || (before, after) == ("BestEffort", "Burstable"), "{before} becomes {after}");
    let [before, after] = [without, with].map(|answer| without_injected(&answer.object, pod));
    ensure!(
        before == after,
        "a field that the webhook does not own has changed:\n{}",
        difference(&before, &after)
    );
    Ok(())
}

fn difference(before: &Value, after: &Value) -> String {
    let [before, after] = [before, after].map(|pod| format!("{pod:#}\n"));
    similar::TextDiff::from_lines(&*before, &*after).unified_diff().to_string()
}

/// The pod without what the webhook adds, and without the fields that differ between any two pods.
fn without_injected(pod: &Value, requested: &Value) -> Value {
    let mut pod = with_fixed_token_name(pod);
    for field in ["uid", "creationTimestamp", "namespace", "managedFields", "name"] {
        pod["metadata"][field].take();
    }
    pod["status"]["qosClass"].take();
    // The API server fills missing pod-level amounts with the sum of the containers, including the sidecar.
    for kind in ["requests", "limits"] {
        let amounts = pod.pointer_mut(&format!("/spec/resources/{kind}"));
        if let Some(amounts) = amounts.and_then(Value::as_object_mut) {
            amounts.retain(|resource, _| !requested["spec"]["resources"][kind][resource].is_null());
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
    without_empty(pod)
}

/// The pod with a fixed name for the volume of the API token, which otherwise has a random name.
fn with_fixed_token_name(pod: &Value) -> Value {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let names = volumes.filter_map(|volume| volume["name"].as_str());
    let token = names.into_iter().find(|name| name.starts_with("kube-api-access-"));
    let text = token.map_or_else(|| pod.to_string(), |name| pod.to_string().replace(name, "kube-api-access"));
    serde_json::from_str(&text).unwrap_or_default()
}

/// The pod without empty lists and maps. They remain if the webhook had added the only item.
fn without_empty(mut pod: Value) -> Value {
    for part in ["metadata", "spec"] {
        if let Some(fields) = pod[part].as_object_mut() {
            fields.retain(|_, value| ![json!(null), json!([]), json!({})].contains(value));
        }
    }
    pod
}

/// How long a watch or a controller may take.
const TIMEOUT: Duration = Duration::from_secs(15);
