//! The outcome of a review: what the server did with the pod.

mod skip_reason;

use std::fmt;

pub use skip_reason::SkipReason;

/// Result of the admission of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The pod gets the sidecar.
    Injected,
    /// The pod already has the sidecar. The server restored parts of the sidecar that another webhook had removed or changed.
    Repaired,
    /// The pod gets no sidecar.
    Skipped(SkipReason),
}

// === impl Outcome ===

impl Outcome {
    /// Every outcome; the skip reasons in their order.
    pub const ALL: [Self; 2 + SkipReason::ALL.len()] = {
        let mut all = [Self::Injected; _];
        all[1] = Self::Repaired;
        let mut index = 0;
        while index < SkipReason::ALL.len() {
            all[2 + index] = Self::Skipped(SkipReason::ALL[index]);
            index += 1;
        }
        all
    };

    /// The values of the labels `outcome` and `reason`.
    #[must_use]
    pub const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Injected => ["injected", "opted_in"],
            Self::Repaired => ["repaired", "damaged"],
            Self::Skipped(reason) => ["skipped", reason.as_str()],
        }
    }

    /// The warning for the client that creates the pod, if something is wrong.
    pub(super) fn warning(self) -> Option<&'static str> {
        match self {
            Self::Injected | Self::Repaired => None,
            Self::Skipped(reason) => reason.warning(),
        }
    }
}

/// The value of the status annotation: `injected` or `skipped: <reason>`. `repaired` is only in the audit annotation and in
/// the log.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("injected"),
            Self::Repaired => f.write_str("repaired"),
            Self::Skipped(reason) => write!(f, "skipped: {}", reason.as_str()),
        }
    }
}
