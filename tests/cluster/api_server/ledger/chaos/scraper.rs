//! Reads all replicas each second, as Prometheus does. No counter of the sessions may fall or disappear, and no two replicas may expose
//! the sessions at the same time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use kit::exposition::Exposition;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    replicas::{Replicas, leads},
    truth,
};

/// The counters that the leaders have shown.
#[derive(Debug, Default)]
pub(super) struct Scraper {
    counters: BTreeMap<String, f64>,
}

/// The parts of a counter and of a histogram. The gauges `vdi_sessions*` may fall.
const COUNTERS: [&str; 4] = ["_total", "_bucket", "_count", "_sum"];

// === impl Scraper ===

impl Scraper {
    /// Reads the replicas until the future is dropped.
    ///
    /// # Errors
    /// When a counter falls or two replicas expose the sessions.
    pub(super) async fn run(mut self, replicas: Arc<Replicas>) -> Result<()> {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if self.round(&replicas).await? > 1 {
                // The lead can change between the scrapes of one round. Then the old leader does not show the sessions any more.
                let leaders = self.round(&replicas).await?;
                ensure!(leaders <= 1, "{leaders} replicas expose the sessions");
            }
        }
    }

    /// Reads each replica once and returns the number of leaders.
    async fn round(&mut self, replicas: &Replicas) -> Result<usize> {
        let mut leaders = 0;
        for number in 0..replicas.count() {
            if let Ok(metrics) = replicas.scrape(number).await
                && leads(&metrics)
            {
                leaders += 1;
                self.compare(number, &metrics)?;
            }
        }
        Ok(leaders)
    }

    fn compare(&mut self, number: usize, metrics: &Exposition) -> Result<()> {
        let families = metrics.families.iter().filter(|family| {
            (family.name.starts_with("vdi_session_") && family.kind != "gauge")
                || family.name == "vdi_metrics_ledger_gap_sessions_total"
        });
        let names = families.flat_map(|family| {
            COUNTERS.iter().map(|part| format!("{}{part}", family.name)).chain([family.name.clone()])
        });
        let names: Vec<_> = names.collect();
        let shown: BTreeMap<_, _> = names
            .iter()
            .flat_map(|name| metrics.series(name))
            .map(|series| (truth::name(series), series.value))
            .collect();
        for (series, before) in &self.counters {
            let now = shown.get(series);
            ensure!(
                now.is_some_and(|now| now >= before),
                "replica {number}: {series} was {before} and is {now:?}"
            );
        }
        self.counters = shown;
        Ok(())
    }
}
