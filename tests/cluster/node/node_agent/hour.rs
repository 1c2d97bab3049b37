//! An hour of changing work, simulated in two minutes: what the sidecars, their termination messages and the agent count.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use kit::cluster::{SHARED_GPU, TestCluster, eventually};
use kube::ResourceExt;
use serde_json::Value;

use super::{
    devices::Expected,
    node_driver::{PHASE, PHASES, Work, play},
    shown::{Seconds, busy_by, seconds},
};
use crate::support::{
    common::TWO_MINUTES,
    processes::{SIDECAR, process},
};

/// Plays the hour, then compares the counters of the sidecars, the termination messages and the agent with its work.
pub(super) async fn check_hour(
    cluster: &TestCluster,
    expected: &[Expected<'_>],
    work: &[Work],
) -> Result<()> {
    let before = all_seconds(cluster, expected).await?;
    let owners_before = busy_by_owner(cluster).await?;
    play(work)?;
    eventually("the end of the hour", 2 * TWO_MINUTES, || async {
        let now = all_seconds(cluster, expected).await?;
        let passed = |(now, before): (&Seconds, &Seconds)| now.allocated - before.allocated;
        ensure!(now.iter().zip(&before).map(passed).all(|seconds| seconds > HOUR_AND_POLLS), "{now:?}");
        Ok(())
    })
    .await?;
    let after = all_seconds(cluster, expected).await?;
    for ((expected, before), after) in expected.iter().zip(before).zip(after) {
        check_busy(expected, before, after)?;
        check_message(expected, after)?;
    }
    check_owners(owners_before, busy_by_owner(cluster).await?, work)
}

async fn all_seconds(cluster: &TestCluster, expected: &[Expected<'_>]) -> Result<Vec<Seconds>> {
    let mut all = vec![];
    for Expected { pod, work, .. } in expected {
        all.push(seconds(cluster, pod, &work.gpu).await?);
    }
    Ok(all)
}

/// The kinds of owners of work on the shared card.
const OWNERS: [&str; 4] = ["session", "other_pod", "no_pod", "unsampled"];

/// The busy seconds of the shared card in the order of [`OWNERS`].
async fn busy_by_owner(cluster: &TestCluster) -> Result<[f64; 4]> {
    let mut busy = [0.0; 4];
    for (busy, owner) in busy.iter_mut().zip(OWNERS) {
        *busy = busy_by(cluster, SHARED_GPU, owner).await?;
    }
    Ok(busy)
}

/// The work of all processes on the shared card adds up to the card's.
fn check_owners(before: [f64; 4], after: [f64; 4], work: &[Work]) -> Result<()> {
    let on_card = |work: &&Work| work.gpu == SHARED_GPU;
    let seconds: Vec<f64> = work.iter().filter(on_card).map(Work::busy_seconds).collect();
    let [alice, bob, trapper, outside] = seconds[..] else { bail!("{} processes", seconds.len()) };
    let expected = [alice + bob, trapper, outside, 0.0];
    let total: f64 = expected.iter().sum();
    for (index, owner) in OWNERS.into_iter().enumerate() {
        let (busy, expected) = (after[index] - before[index], expected[index]);
        ensure!((busy - expected).abs() < PRECISION * total, "{owner}: {busy} s, expected {expected} s");
    }
    Ok(())
}

fn check_busy(expected: &Expected<'_>, before: Seconds, after: Seconds) -> Result<()> {
    let name = expected.pod.name_any();
    let (busy, unsampled) = (after.busy - before.busy, after.unsampled - before.unsampled);
    let expected = expected.work.busy_seconds();
    ensure!((busy - expected).abs() < PRECISION * expected, "{name}: {busy} s busy, expected {expected} s");
    ensure!(unsampled < PRECISION * HOUR_AND_POLLS, "{name}: {unsampled} s are unsampled");
    Ok(())
}

/// The termination message has the work of the metrics. It is rounded to tenths of a second.
fn check_message(expected: &Expected<'_>, scraped: Seconds) -> Result<()> {
    let text = fs::read_to_string(process(expected.pod, SIDECAR)?.file("/dev/termination-log"))?;
    let message: Value = serde_json::from_str(&text)?;
    let gpus = message["gpus"].as_array().context("no gpus")?;
    let gpu = gpus.iter().find(|gpu| gpu["gpu"] == expected.work.gpu).with_context(|| text.clone())?;
    let busy = gpu["busy"].as_f64().unwrap_or_default();
    ensure!((busy - scraped.busy).abs() < 0.1 && gpu["scope"] == "session", "{scraped:?}, and {text}");
    Ok(())
}

/// Seconds of the hour, and of the polls and scrapes after it.
const HOUR_AND_POLLS: f64 = PHASE.as_secs_f64() * PHASES as f64 + 20.0;
/// Maximum error, as a part of the expected seconds.
const PRECISION: f64 = 0.01;
