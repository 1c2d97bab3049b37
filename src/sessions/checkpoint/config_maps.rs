//! The objects of a checkpoint as ConfigMaps.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};

use tokio::time::timeout;

use super::{
    store::{Store, StoreError, StoredObject},
    writer::HEAD,
};

/// ConfigMaps in the namespace of the server.
#[derive(Clone, Debug)]
pub struct ConfigMaps {
    api: Api<ConfigMap>,
}

/// The label of the ConfigMaps, for people.
const LABEL: (&str, &str) = ("app.kubernetes.io/component", "ledger");

/// The key of the content in a ConfigMap.
const KEY: &str = "state.json.gz";

/// Timeout of a request. After it the request may still have an effect.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

// === impl ConfigMaps ===

impl ConfigMaps {
    /// The ConfigMaps of this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }
}

impl Store for ConfigMaps {
    /// A list has the state of one resource version. Not by the label: an object that has lost it would look like one that does not exist.
    async fn list(&self) -> Result<Vec<StoredObject>, StoreError> {
        let list = in_time(self.api.list(&ListParams::default())).await?;
        let object = |mut map: ConfigMap| {
            let content = map.binary_data.as_mut().and_then(|data| data.remove(KEY));
            let content = content.map(|ByteString(bytes)| bytes).unwrap_or_default();
            let version = map.resource_version().unwrap_or_default();
            StoredObject { name: map.name_any(), content, version }
        };
        let own = list.items.into_iter().filter(|map| map.name_any().starts_with(HEAD));
        Ok(own.map(object).collect())
    }

    async fn write(&self, name: &str, content: Vec<u8>, version: Option<&str>) -> Result<String, StoreError> {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
                resource_version: version.map(str::to_owned),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(content))])),
            ..ConfigMap::default()
        };
        let parameters = PostParams::default();
        let written = match version {
            Some(_) => in_time(self.api.replace(name, &parameters, &map)).await,
            None => in_time(self.api.create(&parameters, &map)).await,
        };
        Ok(written?.resource_version().unwrap_or_default())
    }
}

async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, StoreError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(failed),
        Err(elapsed) => Err(StoreError::Failed(Box::new(elapsed))),
    }
}

/// 404: a replaced object was deleted meanwhile. 409: it has another version, or a created object exists.
fn failed(error: kube::Error) -> StoreError {
    match error {
        kube::Error::Api(status) if [404, 409].contains(&status.code) => StoreError::Conflict,
        error => StoreError::Failed(Box::new(error)),
    }
}
