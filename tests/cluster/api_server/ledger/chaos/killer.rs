//! Kills, pauses and stops replicas and the API server, and measures how long no replica exposes the sessions.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use k8s_openapi::jiff::Timestamp;
use kit::cluster::eventually;
use tokio::time::sleep;

use super::{
    random::SeededRandom,
    replicas::{Replicas, leads},
    report,
    truth::Outage,
};
use crate::support::common::TWO_MINUTES;

/// A disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// SIGKILL to the leader.
    KillLeader,
    /// SIGKILL to every replica: no replica has the events in memory.
    KillAll,
    /// SIGTERM to the leader.
    StopLeader,
    /// SIGSTOP to the leader, until another replica leads; then SIGCONT.
    PauseLeader,
    /// SIGKILL to the API server, and a start after some seconds.
    RestartApiServer,
}

/// What the disturbances have shown.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Times from the disturbance to the first metrics of the next leader.
    pub(super) failovers: Vec<(Disturbance, Duration)>,
    pub(super) outages: Vec<Outage>,
}

/// Time after the start of the API server in which each replica watches again: the longest pause between two attempts is 10 s.
const WATCHES_AGAIN: Duration = Duration::from_secs(20);

/// Disturbances in random order: this number of kills of leaders, of which every eighth kills all replicas, some stops and pauses, and
/// one restart of the API server.
pub(super) fn plan(kills: usize, random: &mut SeededRandom) -> Vec<Disturbance> {
    use Disturbance::*;
    let kill = |number: usize| if number % 8 == 4 { KillAll } else { KillLeader };
    let mut plan: Vec<_> = (0..kills).map(kill).collect();
    plan.extend(vec![StopLeader; kills.div_ceil(16)]);
    plan.extend(vec![PauseLeader; kills / 16]);
    plan.push(RestartApiServer);
    for index in (1..plan.len()).rev() {
        plan.swap(index, usize::try_from(random.below(index as u64 + 1)).unwrap_or(index));
    }
    plan
}

/// Carries out the plan.
pub(super) async fn disturb(
    replicas: &Arc<Replicas>,
    plan: &[Disturbance],
    mut random: SeededRandom,
) -> Result<Findings> {
    let mut findings = Findings::default();
    for disturbance in plan {
        let (leader, _) = eventually("a replica leads", TWO_MINUTES, || replicas.leader()).await?;
        sleep(Duration::from_millis(random.below(2000))).await;
        let began = Instant::now();
        report(&format!("{} {disturbance:?}, replica {leader}", Timestamp::now()));
        match disturbance {
            Disturbance::KillLeader => {
                replicas.kill(leader);
                // The killed replica is a candidate again at once or after some time.
                if random.below(2) == 0 {
                    replicas.start_one(leader)?;
                    exposes(replicas).await?;
                } else {
                    exposes(replicas).await?;
                    replicas.start_one(leader)?;
                }
            }
            Disturbance::KillAll => {
                (0..replicas.count()).for_each(|number| replicas.kill(number));
                sleep(Duration::from_millis(random.below(3000))).await;
                (0..replicas.count()).try_for_each(|number| replicas.start_one(number))?;
                exposes(replicas).await?;
            }
            Disturbance::StopLeader => {
                let stopped = replicas.terminate(leader)?;
                exposes_other(replicas, leader).await?;
                findings.failovers.push((*disturbance, began.elapsed()));
                let status = stopped.end().await;
                ensure!(status.success(), "after SIGTERM: {status}");
                replicas.start_one(leader)?;
                continue;
            }
            Disturbance::PauseLeader => {
                let paused = replicas.process(leader)?.pause()?;
                exposes_other(replicas, leader).await?;
                drop(paused);
            }
            Disturbance::RestartApiServer => {
                replicas.cluster.kill_api_server();
                // Longer than a leader may lead without the API server, or shorter.
                sleep(Duration::from_millis(1000 + random.below(8000))).await;
                replicas.cluster.start_api_server().await?;
                let margin = Duration::from_secs(2);
                findings
                    .outages
                    .push(began.checked_sub(margin).unwrap_or(began)..=Instant::now() + WATCHES_AGAIN);
                exposes(replicas).await?;
                continue;
            }
        }
        findings.failovers.push((*disturbance, began.elapsed()));
    }
    Ok(findings)
}

/// Waits until a replica exposes the sessions.
async fn exposes(replicas: &Replicas) -> Result<()> {
    eventually("a replica exposes the sessions", TWO_MINUTES, || replicas.leader()).await.map(drop)
}

/// Waits until a replica other than this one exposes the sessions.
async fn exposes_other(replicas: &Replicas, old: usize) -> Result<()> {
    eventually("another replica exposes the sessions", TWO_MINUTES, || async {
        for number in (0..replicas.count()).filter(|number| *number != old) {
            if replicas.scrape(number).await.is_ok_and(|metrics| leads(&metrics)) {
                return Ok(());
            }
        }
        Err(anyhow::Error::msg("no other replica leads"))
    })
    .await
}

// === impl Findings ===

impl Findings {
    /// The longest failover after this disturbance.
    pub(super) fn longest(&self, disturbance: Disturbance) -> Duration {
        self.of(disturbance).last().copied().unwrap_or_default()
    }

    fn of(&self, disturbance: Disturbance) -> Vec<Duration> {
        let of_kind = self.failovers.iter().filter(|(kind, _)| *kind == disturbance);
        let mut times: Vec<_> = of_kind.map(|(_, time)| *time).collect();
        times.sort();
        times
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Disturbance::*;
        for disturbance in [KillLeader, KillAll, StopLeader, PauseLeader] {
            let times = self.of(disturbance);
            if let (Some(first), Some(last)) = (times.first(), times.last()) {
                let median = times[times.len() / 2];
                writeln!(
                    f,
                    "{disturbance:?}: {} times, {first:.1?} to {last:.1?}, median {median:.1?}",
                    times.len()
                )?;
            }
        }
        Ok(())
    }
}
