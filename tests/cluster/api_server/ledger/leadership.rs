//! Leadership by a Lease, with several candidates.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kit::cluster::TestCluster;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};
use vdi_metrics::cluster::{Leadership, LeadershipSender, LeaseCandidate};

tests![
    one_of_three_candidates_leads_and_a_killed_one_is_replaced,
    a_leader_that_stops_in_order_is_replaced_at_once,
    a_leader_that_loses_its_lease_stops_leading,
];

const LEASE: &str = "vdi-metrics";

/// The candidates lead after the duration of the lease, an attempt and a request. The machine can be busy.
const FAILOVER: Duration = Duration::from_secs(15);

struct Standing {
    leadership: Leadership,
    task: JoinHandle<()>,
}

async fn one_of_three_candidates_leads_and_a_killed_one_is_replaced(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[]).await?;
    let mut standing: Vec<Standing> =
        ["one", "two", "three"].iter().map(|name| stand(cluster, &namespace, name)).collect();
    for remaining in (1..=3).rev() {
        let began = Instant::now();
        let leader = leader_of(&mut standing).await?;
        ensure!(began.elapsed() < FAILOVER, "{:?} with {remaining} candidates", began.elapsed());
        let leaders = standing.iter().filter(|standing| standing.leadership.is_current()).count();
        ensure!(leaders == 1, "{leaders} of {remaining} candidates lead");
        standing.swap_remove(leader).task.abort();
    }
    let lease = lease(cluster, &namespace).await?;
    let transitions = lease.spec.and_then(|spec| spec.lease_transitions);
    ensure!(transitions == Some(2), "{transitions:?} transitions");
    Ok(())
}

async fn a_leader_that_stops_in_order_is_replaced_at_once(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[]).await?;
    let (mut first, mut leadership) = candidate(cluster, &namespace, "first");
    tokio::select! {
        never = first.run() => match never {},
        led = timeout(FAILOVER, leadership.becomes(true)) => led?,
    }
    let mut second = stand(cluster, &namespace, "second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(!second.leadership.is_current(), "two candidates lead");
    let began = Instant::now();
    first.release().await;
    timeout(FAILOVER, second.leadership.becomes(true)).await?;
    // An attempt every second, and a request.
    ensure!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    second.task.abort();
    Ok(())
}

async fn a_leader_that_loses_its_lease_stops_leading(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[]).await?;
    let mut standing = stand(cluster, &namespace, "first");
    timeout(FAILOVER, standing.leadership.becomes(true)).await?;
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &namespace);
    let stolen = Patch::Merge(json!({"spec": {"holderIdentity": "thief"}}));
    leases.patch(LEASE, &PatchParams::default(), &stolen).await?;
    timeout(FAILOVER, standing.leadership.becomes(false)).await?;
    standing.task.abort();
    Ok(())
}

fn stand(cluster: &TestCluster, namespace: &str, identity: &str) -> Standing {
    let (mut candidate, leadership) = candidate(cluster, namespace, identity);
    let task = tokio::spawn(async move { match candidate.run().await {} });
    Standing { leadership, task }
}

fn candidate(cluster: &TestCluster, namespace: &str, identity: &str) -> (LeaseCandidate, Leadership) {
    let reports = LeadershipSender::default();
    let leadership = reports.leadership();
    let client = cluster.client.clone();
    (LeaseCandidate::new(client, namespace, LEASE, identity.to_owned(), reports), leadership)
}

/// Waits until a candidate leads.
async fn leader_of(standing: &mut [Standing]) -> Result<usize> {
    let end = Instant::now() + 2 * FAILOVER;
    while Instant::now() < end {
        if let Some(leader) = standing.iter().position(|standing| standing.leadership.is_current()) {
            return Ok(leader);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("no candidate leads")
}

async fn lease(cluster: &TestCluster, namespace: &str) -> Result<Lease> {
    Ok(Api::namespaced(cluster.client.clone(), namespace).get(LEASE).await?)
}
