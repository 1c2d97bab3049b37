//! Counts and logs evidence that cannot be read.

use crate::sidecar::{attribution::EvidenceSource, pod_files::Unreadable};

/// The evidence that cannot be read, at this poll and since the sidecar started.
#[derive(Debug, Default)]
pub(in crate::sidecar) struct Failures {
    /// Number of polls that could not read the evidence.
    counts: Vec<(EvidenceSource, u64)>,
    /// The evidence that this poll could not read.
    now: Vec<EvidenceSource>,
    /// The evidence that the last poll could not read.
    before: Vec<EvidenceSource>,
}

// === impl Failures ===

impl Failures {
    /// Begins a poll. Logs the evidence that the last poll could read and the poll before it could not.
    pub(in crate::sidecar) fn begin_poll(&mut self) {
        for source in self.before.iter().filter(|source| !self.now.contains(source)) {
            tracing::info!(evidence = source.as_str(), "Evidence can be read again");
        }
        self.before = std::mem::take(&mut self.now);
    }

    /// Returns the value of a reading; none if the reading failed. A failure is counted once for each poll. It is logged if the
    /// last poll could read this evidence.
    pub(in crate::sidecar) fn record<T>(
        &mut self,
        source: EvidenceSource,
        reading: Result<T, Unreadable>,
    ) -> Option<T> {
        let unreadable = match reading {
            Ok(value) => return Some(value),
            Err(unreadable) => unreadable,
        };
        if self.now.contains(&source) {
            return None;
        }
        if !self.before.contains(&source) {
            let evidence = source.as_str();
            tracing::warn!(evidence, error = %unreadable, "Cannot read evidence; the last value that could be read is used");
        }
        self.now.push(source);
        match self.counts.iter_mut().find(|(counted, _)| *counted == source) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((source, 1)),
        }
        None
    }

    /// Whether this poll could read all the evidence that it needed.
    pub(in crate::sidecar) fn are_none(&self) -> bool {
        self.now.is_empty()
    }

    /// Number of polls that could not read the evidence, since the sidecar started.
    pub(in crate::sidecar) fn counts(&self) -> &[(EvidenceSource, u64)] {
        &self.counts
    }
}
