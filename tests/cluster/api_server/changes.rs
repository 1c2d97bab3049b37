//! Streams of changes from the real API server.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kit::cluster::{TestCluster, eventually};
use kube::{
    Api, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
        WatchParams,
    },
    core::GroupVersionKind,
};
use serde_json::json;
use tokio::time::timeout;
use vdi_metrics::cluster::{Change, Start, changes};

tests![
    a_stream_from_now_shows_changes_and_the_final_state_of_objects,
    a_list_has_all_objects_and_continues_at_its_version,
    missed_changes_are_sent_with_the_final_state_of_objects,
    a_version_without_history_is_expired,
    a_version_of_the_future_is_restored,
];

const SELECTOR: &str = "app=desktop";

const LIMIT: Duration = Duration::from_secs(20);

async fn a_stream_from_now_shows_changes_and_the_final_state_of_objects(cluster: &TestCluster) -> Result<()> {
    let maps = maps(cluster).await?;
    create(&maps, "before").await?;
    let mut stream = changes(maps.clone(), SELECTOR, Start::Now);
    let Change::Begin(version) = next(&mut stream).await? else { bail!("no beginning") };
    for name in ["deleted", "unlabelled"] {
        let created = create(&maps, name).await?;
        ensure!(version_of(&created) > version, "{version} is not before {created:?}");
        ensure!(next(&mut stream).await? == Change::Applied(created), "{name}");
        patch(&maps, name, &json!({"data": {"state": "final"}})).await?;
        let Change::Applied(last) = next(&mut stream).await? else { bail!("no change of {name}") };
        if name == "deleted" {
            maps.delete(name, &DeleteParams::default()).await?;
        } else {
            patch(&maps, name, &json!({"metadata": {"labels": {"app": null}}})).await?;
        }
        let Change::Deleted(gone) = next(&mut stream).await? else { bail!("no end of {name}") };
        ensure!(gone.data == last.data && gone.uid() == last.uid(), "{gone:?}");
        ensure!(version_of(&gone) > version_of(&last), "{gone:?}");
    }
    Ok(())
}

async fn a_list_has_all_objects_and_continues_at_its_version(cluster: &TestCluster) -> Result<()> {
    let maps = maps(cluster).await?;
    let names: BTreeSet<String> = (0..1200).map(|number| format!("map-{number}")).collect();
    let requests = names.iter().cloned().map(|name| {
        let maps = maps.clone();
        async move { create(&maps, &name).await }
    });
    let created: Vec<ConfigMap> = stream::iter(requests).buffer_unordered(16).try_collect().await?;
    let last = created.iter().map(version_of).max();
    let mut stream = changes(maps.clone(), SELECTOR, Start::List);
    ensure!(next(&mut stream).await? == Change::ListBegin, "the list does not begin");
    let mut listed = BTreeSet::new();
    let version = loop {
        match next(&mut stream).await? {
            Change::Listed(map) => ensure!(listed.insert(map.name_any()), "{} twice", map.name_any()),
            Change::ListEnd(version) => break version,
            change => bail!("{change:?} in a list"),
        }
    };
    ensure!(listed == names, "{} objects in the list", listed.len());
    ensure!(Some(version) >= last, "a list of version {version}, after {last:?}");
    let late = create(&maps, "late").await?;
    ensure!(version_of(&late) > version, "a list of version {version}, before {late:?}");
    ensure!(next(&mut stream).await? == Change::Applied(late), "the change after the list");
    Ok(())
}

async fn missed_changes_are_sent_with_the_final_state_of_objects(cluster: &TestCluster) -> Result<()> {
    let maps = maps(cluster).await?;
    let created = create(&maps, "missed").await?;
    let last = patch(&maps, "missed", &json!({"data": {"state": "final"}})).await?;
    maps.delete("missed", &DeleteParams::default()).await?;
    let mut stream = changes(maps, SELECTOR, Start::After(version_of(&created)));
    ensure!(next(&mut stream).await? == Change::Applied(last.clone()), "the change");
    let Change::Deleted(gone) = next(&mut stream).await? else { bail!("no deletion") };
    ensure!(gone.data == last.data && version_of(&gone) > version_of(&last), "{gone:?}");
    Ok(())
}

/// The API server has no history of a kind from before the definition of the kind.
async fn a_version_without_history_is_expired(cluster: &TestCluster) -> Result<()> {
    let (group, plural) = ("changes.test.vdi-metrics.io", "desktops");
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": "Desktop"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                          "schema": {"openAPIV3Schema": {"type": "object"}}}]}}))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let defined = definitions.create(&PostParams::default(), &definition).await?;
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", "Desktop"), plural);
    let desktops: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &kind);
    let list = || async { Ok(desktops.list(&ListParams::default()).await?) };
    eventually("the new kind".to_owned(), LIMIT, list).await?;
    let mut stream = changes(desktops, "", Start::After(1));
    let change = next(&mut stream).await;
    definitions.delete(&defined.name_any(), &DeleteParams::default()).await?;
    ensure!(change? == Change::Expired, "the history from before the definition");
    ensure!(stream.next().await.is_none(), "an item after the last one");
    Ok(())
}

/// A plain watch of such a version gets no error and no changes.
async fn a_version_of_the_future_is_restored(cluster: &TestCluster) -> Result<()> {
    let maps = maps(cluster).await?;
    let future = version_of(&create(&maps, "current").await?) + 1_000_000_000;
    let plain = maps.watch(&WatchParams::default(), &future.to_string()).await?;
    tokio::pin!(plain);
    create(&maps, "later").await?;
    let event = timeout(Duration::from_secs(2), plain.next()).await;
    ensure!(event.is_err(), "{event:?}");
    let mut stream = changes(maps, SELECTOR, Start::After(future));
    ensure!(next(&mut stream).await? == Change::Restored, "a version of the future");
    ensure!(stream.next().await.is_none(), "an item after the last one");
    Ok(())
}

/// The next change. The stream may return bookmarks at any time.
async fn next<K>(stream: &mut (impl Stream<Item = Change<K>> + Unpin)) -> Result<Change<K>> {
    let mut changes = stream.filter(|change| std::future::ready(!matches!(change, Change::Progress(_))));
    timeout(LIMIT, changes.next()).await?.context("the stream has ended")
}

async fn maps(cluster: &TestCluster) -> Result<Api<ConfigMap>> {
    Ok(Api::namespaced(cluster.client.clone(), &cluster.scratch_namespace(&[]).await?))
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> Result<ConfigMap> {
    let labels = [("app".to_owned(), "desktop".to_owned())].into();
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    let map = ConfigMap { metadata, ..ConfigMap::default() };
    Ok(maps.create(&PostParams::default(), &map).await?)
}

async fn patch(maps: &Api<ConfigMap>, name: &str, patch: &serde_json::Value) -> Result<ConfigMap> {
    Ok(maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

fn version_of(map: &ConfigMap) -> u64 {
    map.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}
