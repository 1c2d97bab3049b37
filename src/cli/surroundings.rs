//! What a decision depends on beside the pod: its namespace's labels, LimitRanges and ResourceQuotas, from manifests or
//! from a cluster.

use std::collections::BTreeSet;

use anyhow::Context;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{LimitRange, Namespace, ResourceQuota},
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use super::{
    manifest::{Manifest, Node},
    selectors::Labels,
    workload,
};
use crate::{admission::Namespaces, limits};

/// Namespaces, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    namespaces: Vec<Namespace>,
    pub(super) limits: Namespaces,
}

#[derive(Debug, Default)]
struct Objects {
    namespaces: Vec<Namespace>,
    ranges: Vec<LimitRange>,
    quotas: Vec<ResourceQuota>,
}

// === impl Surroundings ===

impl Surroundings {
    /// What the manifests hold; `namespace` is that of objects which name none.
    pub(super) fn of(manifests: &[Manifest], namespace: &str) -> anyhow::Result<Self> {
        let mut objects = Objects::default();
        for manifest in manifests {
            for root in manifest.documents.iter().map(|document| &document.root) {
                for object in workload::objects(root) {
                    let Some(node) = root.at(&object.path) else { continue };
                    let place = || format!("{}: {}", manifest.name(), object.label);
                    objects.read(node, namespace).with_context(place)?;
                }
            }
        }
        Ok(objects.surroundings())
    }

    /// What a cluster knows of these namespaces, asked with the rights of the kubeconfig's user.
    pub(super) fn live(context: Option<&str>, names: &BTreeSet<String>) -> anyhow::Result<Self> {
        // Fails where there is one already, which will do.
        _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = client(context).await?;
            let mut objects = Objects::default();
            for name in names {
                objects.ask(&client, name).await.with_context(|| format!("namespace {name}: {RIGHTS}"))?;
            }
            Ok(objects.surroundings())
        })
    }

    /// The labels of a namespace, with the one that the API server sets; `else_labels` where it is not known.
    pub(super) fn labels(&self, name: &str, else_labels: &Labels) -> Vec<(String, String)> {
        let known = self.namespaces.iter().find(|namespace| namespace.name_any() == name);
        let mut labels = match known {
            Some(namespace) => namespace.labels().clone().into_iter().collect(),
            None => else_labels.to_vec(),
        };
        const NAME: &str = "kubernetes.io/metadata.name";
        if !name.is_empty() && labels.iter().all(|(key, _)| key != NAME) {
            labels.push((NAME.to_owned(), name.to_owned()));
        }
        labels
    }
}

const RIGHTS: &str = "cannot be asked for; --live takes the rights to get the namespace and to list its limitranges and \
     resourcequotas, without it --namespace-labels will do";

async fn client(context: Option<&str>) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::from_env().and_then(|found| found.map_or_else(Kubeconfig::read, Ok));
    let config =
        Config::from_custom_kubeconfig(kubeconfig.context("--live takes a kubeconfig")?, &options).await;
    Ok(Client::try_from(config.context("the kubeconfig cannot be used")?)?)
}

// === impl Objects ===

impl Objects {
    fn read(&mut self, node: &Node, namespace: &str) -> anyhow::Result<()> {
        match (text(node, "apiVersion"), text(node, "kind")) {
            (Some("v1"), Some("Namespace")) => self.namespaces.push(parse(node)?),
            (Some("v1"), Some("LimitRange")) => self.ranges.push(placed(parse(node)?, namespace)),
            (Some("v1"), Some("ResourceQuota")) => self.quotas.push(placed(parse(node)?, namespace)),
            _ => {}
        }
        Ok(())
    }

    async fn ask(&mut self, client: &Client, name: &str) -> anyhow::Result<()> {
        self.namespaces.push(Api::all(client.clone()).get(name).await.map_err(said)?);
        let list = ListParams::default();
        self.ranges.extend(Api::namespaced(client.clone(), name).list(&list).await.map_err(said)?);
        self.quotas.extend(Api::namespaced(client.clone(), name).list(&list).await.map_err(said)?);
        Ok(())
    }

    fn surroundings(self) -> Surroundings {
        let limits = limits::of(&self.ranges, &self.quotas);
        Surroundings { namespaces: self.namespaces, limits }
    }
}

/// In the API server's own words, where it has any.
fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::Error::msg(status.message),
        other => other.into(),
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.as_str()
}

fn parse<T: DeserializeOwned>(node: &Node) -> anyhow::Result<T> {
    serde_json::from_slice(&node.json()).context("not what Kubernetes has under this kind")
}

fn placed<K: Resource<Scope = NamespaceResourceScope>>(mut object: K, namespace: &str) -> K {
    object.meta_mut().namespace.get_or_insert_with(|| namespace.to_owned());
    object
}
