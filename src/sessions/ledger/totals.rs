//! Totals of the sessions that have ended, by template.

use std::collections::BTreeMap;

use super::{ending::Failure, session::UnixTime};

/// Upper bounds of the duration histogram, in seconds: 1, 5, 15, 30 minutes; 1, 4, 8, 12, 24 hours.
pub const BUCKETS: [f64; 9] = [60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 43200.0, 86400.0];

/// Label value for sessions without a template.
pub(super) const NO_TEMPLATE: &str = "none";

/// Label value for all further templates once [`MAX_TEMPLATES`] templates exist. The creator of a pod chooses its template,
/// so without a bound the exposition could become too large.
pub(super) const OTHER_TEMPLATE: &str = "other";
pub(super) const MAX_TEMPLATES: usize = 200;

/// Totals by template.
#[derive(Debug, Default)]
pub(super) struct TemplateTotals(BTreeMap<String, SessionTotals>);

/// Totals of one template.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct SessionTotals {
    /// Durations of the sessions.
    pub durations: Durations,
    /// Number of failed sessions by reason.
    pub failures: BTreeMap<Failure, u64>,
}

/// A histogram over [`BUCKETS`].
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Durations {
    /// Observations of each bucket, not cumulative. Observations above the last bound are in no bucket.
    pub buckets: [u64; BUCKETS.len()],
    /// Number of all observations.
    pub count: u64,
    /// Sum of all observations, in seconds.
    pub sum: f64,
}

// === impl TemplateTotals ===

impl TemplateTotals {
    pub(super) fn all(&self) -> &BTreeMap<String, SessionTotals> {
        &self.0
    }

    /// The totals of a template. Creates them with the value 0 if they do not exist.
    pub(super) fn of(&mut self, template: Option<&str>) -> &mut SessionTotals {
        let template = template.filter(|template| !template.is_empty()).unwrap_or(NO_TEMPLATE);
        let fits = self.0.contains_key(template) || self.0.len() < MAX_TEMPLATES;
        self.0.entry(if fits { template } else { OTHER_TEMPLATE }.to_owned()).or_default()
    }
}

// === impl Durations ===

impl Durations {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a session are far below 2^52")]
    pub(super) fn observe(&mut self, started: UnixTime, ended: UnixTime) {
        // The node's clock wrote the start; the server's clock may have written the end.
        let seconds = (ended.0 - started.0).max(0) as f64;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}
