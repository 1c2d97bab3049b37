//! Namespace labels, LimitRanges and ResourceQuotas, read from manifests or from a cluster. The decision about a pod depends
//! on them.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
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
    workload,
};
use crate::{
    admission::{Namespaces, UnreadableField},
    limits,
};

/// Names and values of labels.
pub(super) type Labels = [(String, String)];

/// Namespaces with their labels, and the limits in them.
#[derive(Debug, Default)]
pub(super) struct ClusterState {
    namespaces: Vec<Namespace>,
    pub(super) limits: Namespaces,
}

#[derive(Debug, Default)]
struct ClusterObjects {
    namespaces: Vec<Namespace>,
    ranges: Vec<LimitRange>,
    quotas: Vec<ResourceQuota>,
}

// === impl ClusterState ===

impl ClusterState {
    /// Reads the objects in the manifests. `namespace` is the namespace of objects whose manifest does not name one.
    pub(super) fn from_manifests(manifests: &[Manifest], namespace: &str) -> anyhow::Result<Self> {
        let mut objects = ClusterObjects::default();
        for manifest in manifests {
            for (index, root) in manifest.documents.iter().map(|document| &document.root).enumerate() {
                for object in workload::objects(root) {
                    let Some(node) = root.at(&object.path) else { continue };
                    objects.read(node, namespace).map_err(|field| {
                        let field = field.within(&object.path);
                        anyhow!("{}, {}: {field}", manifest.place(index, field.path()), object.label)
                    })?;
                }
            }
        }
        Ok(objects.state())
    }

    /// Reads the objects of these namespaces from a cluster, with the rights of the kubeconfig's user.
    pub(super) fn from_cluster(context: Option<&str>, names: &BTreeSet<String>) -> anyhow::Result<Self> {
        // An error means that a provider is installed already; any provider will do.
        _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = client(context).await?;
            let mut objects = ClusterObjects::default();
            for name in names {
                objects.fetch(&client, name).await.with_context(|| format!("namespace {name}: {RIGHTS}"))?;
            }
            Ok(objects.state())
        })
    }

    /// The labels of a namespace, with the name label that the API server sets. A namespace that was not read has
    /// `default_labels`.
    pub(super) fn labels(&self, name: &str, default_labels: &Labels) -> Vec<(String, String)> {
        let namespace = self.namespaces.iter().find(|namespace| namespace.name_any() == name);
        let mut labels = match namespace {
            Some(namespace) => namespace.labels().clone().into_iter().collect(),
            None => default_labels.to_vec(),
        };
        const NAME: &str = "kubernetes.io/metadata.name";
        if !name.is_empty() && labels.iter().all(|(key, _)| key != NAME) {
            labels.push((NAME.to_owned(), name.to_owned()));
        }
        labels
    }
}

const RIGHTS: &str = "cannot be read from the cluster; --live needs the rights to get the namespace and to list its limitranges \
     and resourcequotas. Without them use --namespace-labels instead";

async fn client(context: Option<&str>) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::from_env().and_then(|config| config.map_or_else(Kubeconfig::read, Ok));
    let kubeconfig = kubeconfig.context("--live needs a kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Ok(Client::try_from(config.context("cannot use the kubeconfig")?)?)
}

// === impl ClusterObjects ===

impl ClusterObjects {
    fn read(&mut self, node: &Node, namespace: &str) -> Result<(), UnreadableField> {
        match (text(node, "apiVersion"), text(node, "kind")) {
            (Some("v1"), Some("Namespace")) => self.namespaces.push(parse(node)?),
            (Some("v1"), Some("LimitRange")) => self.ranges.push(in_namespace(parse(node)?, namespace)),
            (Some("v1"), Some("ResourceQuota")) => self.quotas.push(in_namespace(parse(node)?, namespace)),
            _ => {}
        }
        Ok(())
    }

    async fn fetch(&mut self, client: &Client, name: &str) -> anyhow::Result<()> {
        self.namespaces.push(Api::all(client.clone()).get(name).await.map_err(api_error)?);
        let list = ListParams::default();
        self.ranges.extend(Api::namespaced(client.clone(), name).list(&list).await.map_err(api_error)?);
        self.quotas.extend(Api::namespaced(client.clone(), name).list(&list).await.map_err(api_error)?);
        Ok(())
    }

    fn state(self) -> ClusterState {
        let limits = limits::combine(&self.ranges, &self.quotas);
        ClusterState { namespaces: self.namespaces, limits }
    }
}

/// The API server's own message, if there is one.
fn api_error(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::Error::msg(status.message),
        other => other.into(),
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.as_str()
}

fn parse<T: DeserializeOwned>(node: &Node) -> Result<T, UnreadableField> {
    let json = node.json();
    serde_json::from_slice(&json).map_err(|_| {
        UnreadableField::of::<T>(&json).unwrap_or_else(|| UnreadableField::not_a_map(&[], &json))
    })
}

/// Sets the namespace of an object whose manifest does not name one.
fn in_namespace<K: Resource<Scope = NamespaceResourceScope>>(mut object: K, namespace: &str) -> K {
    object.meta_mut().namespace.get_or_insert_with(|| namespace.to_owned());
    object
}
