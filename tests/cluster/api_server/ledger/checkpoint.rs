//! The durable state of the ledger in ConfigMaps.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kit::cluster::TestCluster;
use kube::{Api, api::ListParams};
use vdi_metrics::sessions::checkpoint::{
    Checkpoint, CheckpointWriter, ConfigMaps, LiveSessions, LoadError, SaveError,
};

tests![the_state_survives_leaders_and_only_the_last_leader_writes_it];

/// The totals, and a session that has not ended.
type State = Checkpoint<Vec<u64>, String>;

async fn the_state_survives_leaders_and_only_the_last_leader_writes_it(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[]).await?;
    let leader = |name: &str| {
        let store = ConfigMaps::new(cluster.client.clone(), &namespace);
        let empty: State = Checkpoint { resource_version: 0, totals: vec![], live: LiveSessions::default() };
        CheckpointWriter::take_over(store, name.to_owned(), empty)
    };
    let (mut first, mut state) = leader("first").await?;
    for session in 0..500_u64 {
        state.live.insert(format!("uid-{session}"), format!("session {session}"));
        state.totals.push(session);
        if session % 100 == 99 {
            state.resource_version = session;
            first.save(&state.take_unsaved()?).await?;
        }
    }
    let (mut second, mut loaded) = leader("second").await?;
    ensure!(loaded == state, "{loaded:?}");
    state.live.insert("uid-late".to_owned(), String::new());
    let refused = first.save(&state.take_unsaved()?).await;
    ensure!(matches!(refused, Err(SaveError::Lost)), "{refused:?}");
    loaded.live.remove("uid-7");
    second.save(&loaded.take_unsaved()?).await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &namespace);
    let labelled = ListParams::default().labels("app.kubernetes.io/component=ledger");
    let count = maps.list(&labelled).await?.items.len();
    ensure!(count <= 1 + 2 * 16, "{count} ConfigMaps");
    let (_, third) = leader("third").await?;
    ensure!(third == loaded, "{third:?}");
    maps.delete("vdi-metrics-ledger-00-0", &Default::default()).await?;
    maps.delete("vdi-metrics-ledger-00-1", &Default::default()).await?;
    let refused = leader("fourth").await.map(drop);
    ensure!(matches!(&refused, Err(LoadError::Missing(_))), "{refused:?}");
    Ok(())
}
