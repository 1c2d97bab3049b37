//! The numbers that the ledger must show for sessions with known fates.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Instant};

use anyhow::{Result, ensure};
use kit::exposition::Exposition;
use vdi_metrics::sessions::ledger::{EndReason, Stage};

use super::driver::Played;

/// An outage of the API server: from its end to the time at which every replica watches again. A session that ends and is removed
/// in it can be `unknown`.
pub(super) type Outage = RangeInclusive<Instant>;

/// Numbers by series.
type Numbers = BTreeMap<String, f64>;

/// The expected numbers.
#[derive(Debug, Default)]
pub(super) struct Truth {
    certain: Numbers,
    /// Numbers of sessions that ended in an outage. They can be added to the others.
    possible: Numbers,
    /// Number of sessions that ended in an outage.
    pub(super) in_outages: usize,
}

/// The families that are compared. A series that is not expected is 0.
const FAMILIES: [&str; 16] = [
    "vdi_session_ended_total",
    "vdi_session_failures_total",
    "vdi_session_duration_seconds_count",
    "vdi_session_duration_seconds_sum",
    "vdi_session_restarts_total",
    "vdi_session_startup_seconds_count",
    "vdi_sessions",
    "vdi_session_last_words_missing_total",
    "vdi_sessions_gpu_allocated_seconds_total",
    "vdi_sessions_gpu_busy_seconds_total",
    "vdi_sessions_gpu_unsampled_seconds_total",
    "vdi_sessions_gpu_idle_allocated_seconds_total",
    "vdi_sessions_gpu_energy_joules_total",
    "vdi_sessions_connected_seconds_total",
    "vdi_sessions_stream_transmit_bytes_total",
    "vdi_sessions_stream_receive_bytes_total",
];

/// The sums of tenths of seconds are no exact floating-point numbers.
const PRECISION: f64 = 1e-3;

/// The counter of sessions that ended without an event.
const GAPS: &str = "vdi_metrics_ledger_gap_sessions_total";

// === impl Truth ===

impl Truth {
    pub(super) fn of(played: &[Played], outages: &[Outage]) -> Self {
        let mut truth = Self::default();
        for session in played {
            truth.add(session, outages);
        }
        truth
    }

    /// The expected number of a series that no outage changes; `None` if it is not certain.
    pub(super) fn certain(&self) -> impl Iterator<Item = (&str, f64)> {
        let certain = self.certain.iter().filter(|(series, _)| !self.possible.contains_key(*series));
        certain.map(|(series, number)| (series.as_str(), *number))
    }

    fn add(&mut self, session: &Played, outages: &[Outage]) {
        let is_in = |at: &Instant| outages.iter().any(|outage| outage.contains(at));
        let is_end_in = session.ended.is_some_and(|at| is_in(&at));
        // The last state does not show whether an image failed before.
        let is_lost =
            is_end_in && (session.removed.is_some_and(|at| is_in(&at)) || session.fate.name == "image-error");
        let template = session.template;
        // Later states do not show that the desktop was ready.
        let is_ready_lost = is_lost || session.ready.is_some_and(|at| is_in(&at));
        if session.has_run {
            let numbers = if is_ready_lost { &mut self.possible } else { &mut self.certain };
            let labels = [("template", template), ("stage", Stage::Ready.as_str())];
            *numbers.entry(series("vdi_session_startup_seconds_count", &labels)).or_default() += 1.0;
        }
        let numbers = if is_lost { &mut self.possible } else { &mut self.certain };
        let mut add = |name: &str, labels: &[(&str, &str)], number: f64| {
            *numbers.entry(series(name, labels)).or_default() += number;
        };
        for stage in stages(session) {
            add(
                "vdi_session_startup_seconds_count",
                &[("template", template), ("stage", stage.as_str())],
                1.0,
            );
        }
        if let Some(reason) = session.fate.reason {
            let labels = [("template", template), ("reason", reason)];
            add("vdi_session_ended_total", &labels, 1.0);
            if EndReason::ALL.iter().any(|known| known.as_str() == reason && known.is_failure()) {
                add("vdi_session_failures_total", &labels, 1.0);
            }
        }
        if let Some(duration) = session.duration {
            add("vdi_session_duration_seconds_count", &[("template", template)], 1.0);
            add("vdi_session_duration_seconds_sum", &[("template", template)], duration as f64);
        }
        if let Some(phase) = session.phase {
            let labels = [("template", template), ("pool", session.pool), ("phase", phase)];
            add("vdi_sessions", &labels, 1.0);
        }
        if is_lost {
            self.in_outages += 1;
            self.possible_unknown(session);
        }
        self.add_usage(session, is_lost);
        self.add_restarts(session, is_lost || session.restarted.iter().any(is_in));
    }

    /// What the termination message says. If a session ends without an event, its message is not known.
    fn add_usage(&mut self, session: &Played, is_lost: bool) {
        let Some(used) = session.used else { return };
        let numbers = if is_lost { &mut self.possible } else { &mut self.certain };
        let (template, pool) = (("template", session.template), ("pool", session.pool));
        for (name, reason, number) in used.numbers() {
            let of_reason = reason.map(|reason| ("reason", reason));
            let labels: Vec<_> = [template, pool].into_iter().chain(of_reason).collect();
            *numbers.entry(series(name, &labels)).or_default() += number;
        }
        for reason in used.missing.into_iter().chain(is_lost.then_some("absent")) {
            let labels = [template, ("reason", reason)];
            *numbers.entry(series("vdi_session_last_words_missing_total", &labels)).or_default() += 1.0;
        }
        if is_lost {
            for name in
                ["vdi_sessions_gpu_allocated_seconds_total", "vdi_sessions_gpu_unsampled_seconds_total"]
            {
                *numbers.entry(series(name, &[template, pool])).or_default() += session.device_seconds as f64;
            }
        }
    }

    /// A session whose end was missed lasts until it was seen last.
    fn possible_unknown(&mut self, session: &Played) {
        let template = ("template", session.template);
        let labels = [template, ("reason", "unknown")];
        *self.possible.entry(series("vdi_session_ended_total", &labels)).or_default() += 1.0;
        if session.duration.is_some() {
            let longer =
                self.possible.entry(series("vdi_session_duration_seconds_sum", &[template])).or_default();
            *longer += session.fate.seconds_until_seen() as f64;
        }
    }

    fn add_restarts(&mut self, session: &Played, is_uncertain: bool) {
        let numbers = if is_uncertain { &mut self.possible } else { &mut self.certain };
        let unknown = is_uncertain.then_some("unknown");
        for reason in session.fate.restarts.iter().copied().chain(unknown) {
            let labels = [("template", session.template), ("reason", reason)];
            *numbers.entry(series("vdi_session_restarts_total", &labels)).or_default() += 1.0;
        }
    }

    /// Compares the numbers with those of the leader. Returns the number of sessions that ended in a gap.
    pub(super) fn check(&self, shown: &Exposition) -> Result<f64> {
        let shown_series = FAMILIES.iter().flat_map(|family| shown.series(family));
        let shown_numbers: Numbers = shown_series.map(|it| (name(it), it.value)).collect();
        let all = [&self.certain, &self.possible, &shown_numbers]
            .map(|numbers| numbers.keys())
            .into_iter()
            .flatten();
        let mut wrong = vec![];
        for series in all.collect::<std::collections::BTreeSet<_>>() {
            let number = |numbers: &Numbers| numbers.get(series).copied().unwrap_or(0.0);
            let (least, most) = (number(&self.certain), number(&self.certain) + number(&self.possible));
            let value = number(&shown_numbers);
            if !(least - PRECISION..=most + PRECISION).contains(&value) {
                wrong.push(format!("{series} is {value} and not {least} to {most}"));
            }
        }
        ensure!(wrong.is_empty(), "{} series are wrong:\n{}", wrong.len(), wrong.join("\n"));
        self.check_sums(shown, &shown_numbers)
    }

    /// Every session is counted once, and a session with an unknown end is one that was missed.
    fn check_sums(&self, shown: &Exposition, numbers: &Numbers) -> Result<f64> {
        let sum = |numbers: &Numbers, part: &str| -> f64 {
            let of_ended = numbers.iter().filter(|(series, _)| series.starts_with("vdi_session_ended_total"));
            of_ended.filter(|(series, _)| series.contains(part)).map(|(_, number)| number).sum()
        };
        let (ended, certain) = (sum(numbers, ""), sum(&self.certain, ""));
        ensure!((certain..=certain + self.in_outages as f64).contains(&ended), "{ended} sessions ended");
        let gaps: f64 = shown.series(GAPS).map(|series| series.value).sum();
        let unknown = sum(numbers, "reason=\"unknown\"");
        ensure!(gaps == unknown, "{gaps} sessions ended in gaps, and {unknown} are unknown");
        Ok(gaps)
    }
}

/// The name and the labels of a series in PromQL.
pub(super) fn name(shown: &kit::exposition::Series) -> String {
    let labels: Vec<_> = shown.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    series(&shown.name, &labels)
}

fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// The stages that later states show too.
fn stages(session: &Played) -> Vec<Stage> {
    let reached = |stage: &Stage| match stage {
        Stage::Scheduled => true,
        Stage::Sidecar => session.has_run || session.fate.name == "image-error",
        Stage::Image | Stage::Containers => session.has_run,
        Stage::Ready => false,
    };
    Stage::ALL.into_iter().filter(reached).collect()
}
