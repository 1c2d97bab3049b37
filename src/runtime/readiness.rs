//! Readiness of the process. The process is ready when every latch is released, until the shutdown begins.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Readiness of the process. Clones refer to the same state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

/// The result of the readiness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// Every latch is released.
    Ready,
    /// Names of the latches that are not released.
    WaitingFor(Vec<&'static str>),
    /// The process is shutting down.
    ShuttingDown,
}

/// Keeps the process unready until [`Latch::release`]. A latch that is dropped, for example by a panic, keeps it unready.
#[derive(Debug)]
#[must_use = "a latch that is dropped keeps the process unready"]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<&'static str>,
    is_shutting_down: bool,
}

// === impl Readiness ===

impl Readiness {
    /// Makes the process unready until the latch is released. Until then the probe's response contains `name`.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.state().pending.push(name);
        Latch { readiness: self.clone(), name }
    }

    /// Makes the process unready until it ends.
    pub fn shut_down(&self) {
        self.state().is_shutting_down = true;
    }

    /// Whether the process is ready; if it is not, the result contains the reason.
    #[must_use]
    pub fn probe(&self) -> ProbeResult {
        let state = self.state();
        match &*state.pending {
            _ if state.is_shutting_down => ProbeResult::ShuttingDown,
            [] => ProbeResult::Ready,
            pending => ProbeResult::WaitingFor(pending.to_vec()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is usable: every change is one push, one removal or one assignment, so a panic cannot leave a partial
        // change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Latch ===

impl Latch {
    /// Releases the latch.
    pub fn release(self) {
        let pending = &mut self.readiness.state().pending;
        if let Some(index) = pending.iter().position(|name| *name == self.name) {
            pending.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_once_every_latch_is_released() {
        let readiness = Readiness::default();
        let (certificate, limits) = (readiness.latch("certificate"), readiness.latch("limits"));
        assert_eq!(readiness.probe(), ProbeResult::WaitingFor(vec!["certificate", "limits"]));
        certificate.release();
        assert_eq!(readiness.probe(), ProbeResult::WaitingFor(vec!["limits"]));
        limits.release();
        assert_eq!(readiness.probe(), ProbeResult::Ready);
        readiness.shut_down();
        assert_eq!(readiness.probe(), ProbeResult::ShuttingDown);
    }

    #[test]
    fn a_dropped_latch_keeps_the_process_unready() {
        let readiness = Readiness::default();
        drop(readiness.latch("limits"));
        assert_eq!(readiness.probe(), ProbeResult::WaitingFor(vec!["limits"]));
    }
}
