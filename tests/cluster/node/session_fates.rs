//! How sessions end on the real node: each is counted once, with its reason, its duration and the time of its GPU.

mod counters;
mod events;
mod fates;
pub(super) mod hostile_messages;
mod lives;
mod recording;
mod truth;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use kit::cluster::{TestCluster, eventually};
use serde_json::{Value, json};

use crate::support::{claims::claims_namespace, common::TWO_MINUTES, installation::installed_alone};

use counters::values;
use events::{EventLog, PodEvent};
use fates::{Action, Fate, LastsUntil, POOL, fates, template};
use lives::{delete_without_kubelet, live};
use truth::Truth;

tests![every_session_ends_once_with_its_reason];

/// The series of the fates' templates.
const TEMPLATES: &str = "template=~\"fate-.+\"";

async fn every_session_ends_once_with_its_reason(cluster: &TestCluster) -> Result<()> {
    // The kubelet is stopped.
    let _server = installed_alone(cluster).await?;
    let namespace = claims_namespace(cluster).await?;
    let log = EventLog::start(cluster, &namespace).await?;
    let fates = fates();
    let requests = live_all(cluster, &namespace, &fates).await?;
    let reasons = wait_for_reasons(cluster, &fates).await?;
    let endings = check_totals(cluster, &fates, &requests, &log.events()).await?;
    ensure!(reasons.len() == fates.len(), "{reasons:?}");
    recording::write(cluster, &log.events(), &endings).await
}

/// Lives all sessions at the same time. The kubelet is stopped when the others on the real node have ended. Returns the times of
/// the requests.
async fn live_all(cluster: &TestCluster, namespace: &str, fates: &[Fate]) -> Result<Vec<f64>> {
    let is_away = |fate: &&Fate| fate.action == Action::DeleteNode;
    let here =
        try_join_all(fates.iter().filter(|fate| !is_away(fate)).map(|fate| live(cluster, namespace, fate)));
    let here = async {
        let requests = here.await?;
        for fate in fates.iter().filter(|fate| fate.action == Action::DeleteWithoutKubelet) {
            delete_without_kubelet(cluster, namespace, fate).await?;
        }
        anyhow::Ok(requests)
    };
    let away = try_join_all(fates.iter().filter(is_away).map(|fate| live(cluster, namespace, fate)));
    let (here, away) = tokio::try_join!(here, away)?;
    let (mut here, mut away) = (here.into_iter(), away.into_iter());
    let requests = fates.iter().map(|fate| if is_away(&fate) { away.next() } else { here.next() });
    requests.collect::<Option<_>>().context("a session without a time")
}

/// Waits until the counter has exactly one end of each template, with the fate's reason.
async fn wait_for_reasons(cluster: &TestCluster, fates: &[Fate]) -> Result<BTreeMap<String, f64>> {
    let expected: BTreeMap<_, _> =
        fates.iter().map(|fate| (format!("{} {}", template(fate.name), fate.reason), 1.0)).collect();
    let query = format!("vdi_session_ended_total{{{TEMPLATES}}}");
    eventually("every session is counted", TWO_MINUTES, || async {
        let shown = values(cluster, &query, &["template", "reason"]).await?;
        let differences: Vec<_> = expected.iter().filter(|(key, _)| !shown.contains_key(*key)).collect();
        ensure!(shown == expected, "missing: {differences:?}; shown: {shown:?}");
        Ok(shown)
    })
    .await
}

/// Checks durations, messages and GPU time of each session. Returns the totals of each.
async fn check_totals(
    cluster: &TestCluster,
    fates: &[Fate],
    requests: &[f64],
    events: &[PodEvent],
) -> Result<Vec<Value>> {
    let of_template =
        async |metric: &str| values(cluster, &format!("{metric}{{{TEMPLATES}}}"), &["template"]).await;
    let counts = of_template("vdi_session_duration_seconds_count").await?;
    let sums = of_template("vdi_session_duration_seconds_sum").await?;
    let missing = of_template("vdi_session_last_words_missing_total").await?;
    let restarts = of_template("vdi_session_restarts_total").await?;
    let allocated = values(
        cluster,
        &format!("vdi_sessions_gpu_allocated_seconds_total{{{TEMPLATES}, pool=\"{POOL}\"}}"),
        &["template"],
    )
    .await?;
    let mut endings = vec![];
    for (fate, requested) in fates.iter().zip(requests) {
        let template = template(fate.name);
        let of = |values: &BTreeMap<String, f64>| values.get(&template).copied().unwrap_or(0.0);
        let truth = Truth::of(fate, *requested, events).with_context(|| fate.name)?;
        let counted = u8::from(fate.lasts_until != LastsUntil::Never);
        ensure!(of(&counts) == f64::from(counted), "{}: {} durations", fate.name, of(&counts));
        truth.check_duration(of(&sums)).with_context(|| fate.name)?;
        truth.check_allocated(of(&allocated)).with_context(|| fate.name)?;
        ensure!(of(&missing) == f64::from(fate.missing), "{}: {} without a message", fate.name, of(&missing));
        endings.push(
            json!({"template": template, "reason": fate.reason, "durations": counted, "duration": of(&sums),
            "allocated": of(&allocated), "missing": fate.missing, "restarts": of(&restarts)}),
        );
    }
    Ok(endings)
}
