//! The peers that scrape the sidecar.

use std::time::{Duration, Instant};

use crate::presence::address::Address;

/// Peers with the time of their last connection to the sidecar.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    seen: Vec<(Address, Instant)>,
}

/// A peer is remembered for this time. The connection of a scrape ends after 7 s (`IDLE_TIMEOUT` in `runtime/http`), so a read every 15 s
/// misses half of the scrapes. The default scrape interval is 1 min.
const MEMORY: Duration = Duration::from_secs(300);

/// Maximum number of peers. A cluster has a few Prometheus servers. The sidecar has at most 32 connections at a time.
const MAX_MONITORS: usize = 64;

// === impl Monitors ===

impl Monitors {
    /// Adds the peers of this read. Returns all peers that are remembered.
    pub(super) fn observe(&mut self, scrapers: impl Iterator<Item = Address>, at: Instant) -> Vec<Address> {
        self.seen.retain(|(_, seen)| at.saturating_duration_since(*seen) < MEMORY);
        for address in scrapers {
            self.seen.retain(|(other, _)| *other != address);
            self.seen.push((address, at));
        }
        let excess = self.seen.len().saturating_sub(MAX_MONITORS);
        self.seen.drain(..excess);
        self.seen.iter().map(|(address, _)| *address).collect()
    }
}
