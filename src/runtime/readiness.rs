//! Readiness as ownership: whoever is not ready yet holds a latch, and dropping it is the only way to become ready.

use std::sync::{Arc, Mutex, PoisonError};

/// What the process still waits for.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Vec<&'static str>>>);

/// Keeps the process unready while it lives.
#[derive(Debug)]
#[must_use = "dropping the latch means ready"]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

// === impl Readiness ===

impl Readiness {
    /// Makes the process unready until the latch is dropped; `name` is what the probe's answer shows.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.names().push(name);
        Latch { readiness: self.clone(), name }
    }

    /// Names of the latches that are still held; none means ready.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.names().clone()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        // The list is whole after every push and remove, so a panic elsewhere cannot have left it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Latch ===

impl Drop for Latch {
    fn drop(&mut self) {
        let mut names = self.readiness.names();
        if let Some(at) = names.iter().position(|name| *name == self.name) {
            names.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_is_pending_while_it_lives() {
        let readiness = Readiness::default();
        let certificate = readiness.latch("certificate");
        let sessions = readiness.latch("sessions");
        assert_eq!(readiness.pending(), ["certificate", "sessions"]);
        drop(certificate);
        assert_eq!(readiness.pending(), ["sessions"]);
        drop(sessions);
        assert!(readiness.pending().is_empty());
    }
}
