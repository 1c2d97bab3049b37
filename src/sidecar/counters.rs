//! What only grows while the sidecar lives: busy seconds by device and failed calls. Pure: time is an argument.

use std::time::{Duration, Instant};

use super::attribution::Scope;
use crate::gpu::Fault;

/// Seconds that a device worked for this session, integrated from its ratio at each read.
#[derive(Clone, Debug, PartialEq)]
pub struct Busy {
    /// UUID of the device.
    pub gpu: String,
    /// Whose work it is.
    pub scope: Scope,
    /// Sum of ratio x measured time.
    pub seconds: f64,
}

/// The totals since the sidecar started. They outlive the device and the driver.
#[derive(Debug)]
pub(super) struct Counters {
    longest_gap: Duration,
    busy: Vec<(Busy, Instant)>,
    faults: Vec<(Fault, u64)>,
}

// === impl Counters ===

impl Counters {
    /// Two reads further apart than two `interval`s say nothing about the time between them.
    pub(super) fn new(interval: Duration) -> Self {
        Self { longest_gap: interval * 2, busy: Vec::new(), faults: Vec::new() }
    }

    /// Adds `ratio` for the time since this device's last one.
    pub(super) fn worked(&mut self, gpu: &str, scope: Scope, ratio: f64, now: Instant) {
        let Some((busy, last)) =
            self.busy.iter_mut().find(|(busy, _)| busy.gpu == gpu && busy.scope == scope)
        else {
            return self.busy.push((Busy { gpu: gpu.to_owned(), scope, seconds: 0.0 }, now));
        };
        let gap = now.saturating_duration_since(*last);
        if gap <= self.longest_gap {
            busy.seconds += ratio.clamp(0.0, 1.0) * gap.as_secs_f64();
        }
        *last = now;
    }

    pub(super) fn failed(&mut self, fault: Fault) {
        match self.faults.iter_mut().find(|(known, _)| *known == fault) {
            Some((_, count)) => *count += 1,
            None => self.faults.push((fault, 1)),
        }
    }

    pub(super) fn busy(&self) -> Vec<Busy> {
        self.busy.iter().map(|(busy, _)| busy.clone()).collect()
    }

    /// Failed calls by kind; as many kinds at most as the two vocabularies have pairs.
    pub(super) fn faults(&self) -> Vec<(Fault, u64)> {
        self.faults.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Call, Code};

    const INTERVAL: Duration = Duration::from_secs(15);

    /// Feeds (seconds since the start, ratio) of one device.
    fn seconds(reads: &[(u64, f64)]) -> f64 {
        let mut counters = Counters::new(INTERVAL);
        let start = Instant::now();
        for (at, ratio) in reads {
            counters.worked("GPU-1", Scope::Session, *ratio, start + Duration::from_secs(*at));
        }
        counters.busy()[0].seconds
    }

    #[test]
    fn busy_seconds_are_ratio_times_measured_time() {
        assert_eq!(seconds(&[(0, 1.0)]), 0.0);
        assert_eq!(seconds(&[(0, 1.0), (15, 0.5), (31, 0.25)]), 7.5 + 4.0);
        assert_eq!(seconds(&[(0, 1.0), (15, 0.0)]), 0.0);
    }

    #[test]
    fn a_long_gap_counts_nothing_and_the_next_read_counts_again() {
        assert_eq!(seconds(&[(0, 1.0), (30, 1.0)]), 30.0);
        assert_eq!(seconds(&[(0, 1.0), (31, 1.0)]), 0.0);
        assert_eq!(seconds(&[(0, 1.0), (15, 1.0), (3600, 1.0), (3615, 1.0)]), 30.0);
    }

    #[test]
    fn it_never_falls() {
        assert_eq!(seconds(&[(0, 1.0), (15, 1.0), (14, 1.0), (29, -3.0), (44, 7.0)]), 15.0 + 15.0);
    }

    #[test]
    fn devices_are_told_apart() {
        let mut counters = Counters::new(INTERVAL);
        let start = Instant::now();
        for gpu in ["GPU-1", "GPU-2"] {
            counters.worked(gpu, Scope::Session, 1.0, start);
        }
        counters.worked("GPU-2", Scope::Session, 1.0, start + INTERVAL);
        let seconds: Vec<f64> = counters.busy().iter().map(|busy| busy.seconds).collect();
        assert_eq!(seconds, [0.0, 15.0]);
    }

    #[test]
    fn faults_are_counted_by_call_and_code() {
        let mut counters = Counters::new(INTERVAL);
        let lost = Fault { call: Call::Memory, code: Code::GpuLost };
        let missing = Fault { call: Call::Init, code: Code::LibraryMissing };
        for fault in [lost, missing, lost] {
            counters.failed(fault);
        }
        assert_eq!(counters.faults(), [(lost, 2), (missing, 1)]);
    }
}
