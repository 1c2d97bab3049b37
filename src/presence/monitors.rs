//! The peers that scrape the sidecar. Prometheus keeps its connections open between two scrapes, also those to a metrics port of the
//! desktop. Such a connection looks like that of a viewer.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::address::Address;

/// Peers with the time of their last scrape. The HTTP server adds them, the poller reads them.
#[derive(Clone, Debug, Default)]
pub struct Monitors {
    seen: Arc<Mutex<Vec<(Address, Instant)>>>,
}

/// A peer is remembered for this time. Prometheus shows a sample for at most 5 minutes, so scrape intervals are shorter.
const MEMORY: Duration = Duration::from_secs(300);

/// Maximum number of peers. A cluster has a few Prometheus servers.
const MAX_MONITORS: usize = 64;

// === impl Monitors ===

impl Monitors {
    /// Adds the client of a scrape at the time `at`. `None` means an internal request, which is not added.
    pub fn add(&self, client: Option<IpAddr>, at: Instant) {
        let Some(client) = client.map(address) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|(other, _)| *other != client);
        seen.push((client, at));
        let excess = seen.len().saturating_sub(MAX_MONITORS);
        seen.drain(..excess);
    }

    /// The peers that are remembered at the time `at`.
    pub(super) fn addresses(&self, at: Instant) -> Vec<Address> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|(_, scraped)| at.saturating_duration_since(*scraped) < MEMORY);
        seen.iter().map(|(address, _)| *address).collect()
    }
}

fn address(client: IpAddr) -> Address {
    match client {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address::v6(v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_peer_is_remembered_for_5_minutes_after_its_last_scrape() {
        let (monitors, at) = (Monitors::default(), Instant::now());
        let seconds = |seconds| at + Duration::from_secs(seconds);
        monitors.add(client(1), at);
        monitors.add(client(2), at);
        monitors.add(client(1), seconds(60));
        monitors.add(None, at);
        assert_eq!(monitors.addresses(seconds(299)), [2, 1].map(|last| Address::v4([10, 0, 0, last])));
        assert_eq!(monitors.addresses(seconds(300)), [Address::v4([10, 0, 0, 1])]);
        assert_eq!(monitors.addresses(seconds(360)), []);
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let (monitors, at) = (Monitors::default(), Instant::now());
        (0..200).for_each(|last| monitors.add(client(last), at));
        let addresses = monitors.addresses(at);
        assert_eq!((addresses.len(), addresses.last()), (MAX_MONITORS, Some(&Address::v4([10, 0, 0, 199]))));
    }
}
