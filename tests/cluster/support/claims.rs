//! Desktops with a resource claim of one GPU.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::TestCluster;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{installation::session_namespace, node_pods::desktop_without_fake_gpu};

/// The DRA driver, which is also the name of its device class.
pub(crate) const DRIVER: &str = "gpu.nvidia.com";
/// The claim's name in the pod. The names of the claim and of its request differ, so that a test fails if the product confuses them.
pub(crate) const CLAIM: &str = "card";
/// The only request of the claim.
pub(crate) const REQUEST: &str = "gpu";

/// A session namespace with a template for claims of one GPU.
pub(crate) async fn claims_namespace(cluster: &TestCluster) -> Result<String> {
    let namespace = session_namespace(cluster).await?;
    let request = json!({"name": REQUEST, "exactly": {"deviceClassName": DRIVER}});
    let template = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "one-gpu", "namespace": namespace},
        "spec": {"spec": {"devices": {"requests": [request]}}},
    });
    cluster.kubectl.apply(&template.to_string())?;
    Ok(namespace)
}

pub(crate) fn desktop_with_claim(name: &str) -> Value {
    let mut pod = desktop_without_fake_gpu(name);
    pod["spec"]["resourceClaims"] = json!([{"name": CLAIM, "resourceClaimTemplateName": "one-gpu"}]);
    pod["spec"]["containers"][0]["resources"] = json!({"claims": [{"name": CLAIM}]});
    pod
}

/// The UUID of the GPU that is allocated to a pod's claim: the claim's status names the device, and the ResourceSlice its UUID.
pub(crate) fn allocated_gpu(cluster: &TestCluster, pod: &Pod) -> Result<String> {
    let namespace = pod.namespace().context("no namespace")?;
    let claims = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref());
    let claim = claims.unwrap_or_default().first().and_then(|claim| claim.resource_claim_name.as_deref());
    let claim = get(cluster, &["resourceclaim", claim.context("no claim")?, "--namespace", &namespace])?;
    let results = claim["status"]["allocation"]["devices"]["results"].as_array().context("no allocation")?;
    let [result] = results.as_slice() else { bail!("{results:?}") };
    let slices = get(cluster, &["resourceslices"])?;
    let slices = slices["items"].as_array().into_iter().flatten();
    let slice = slices.map(|slice| &slice["spec"]).find(|slice| slice["pool"]["name"] == result["pool"]);
    let devices = slice.context("no slice")?["devices"].as_array().into_iter().flatten();
    let device =
        devices.into_iter().find(|device| device["name"] == result["device"]).context("no device")?;
    Ok(device["attributes"]["uuid"]["string"].as_str().context("no UUID")?.to_owned())
}

fn get(cluster: &TestCluster, object: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&cluster.kubectl.run(&[&["get", "--output=json"], object].concat())?)?)
}
