//! Limits of the reviews: how many start per second, in all and for each client, and how many run at the same time.

use std::{collections::BTreeMap, time::Instant};

/// How many reviews may start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    /// Maximum number after a pause.
    pub(super) burst: f64,
}

/// The reviews that may start now.
#[derive(Clone, Debug)]
struct Allowance {
    left: f64,
    updated: Option<Instant>,
}

/// A limit for the rate and for the number of concurrent reviews.
#[derive(Debug)]
pub(super) struct Lane {
    rate: Rate,
    allowance: Allowance,
    max_concurrent: usize,
    concurrent: usize,
}

/// An allowance for each client, so that one client cannot use the allowance of the others.
#[derive(Debug)]
pub(super) struct ClientLimits<C> {
    rate: Rate,
    max_clients: usize,
    clients: BTreeMap<C, Allowance>,
}

// === impl Allowance ===

impl Allowance {
    const fn full(rate: Rate) -> Self {
        Self { left: rate.burst, updated: None }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let since = self.updated.map_or(0.0, |updated| now.saturating_duration_since(updated).as_secs_f64());
        self.left = (since.mul_add(rate.per_second, self.left)).min(rate.burst);
        self.updated = Some(now);
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        let is_allowed = self.left >= 1.0;
        if is_allowed {
            self.left -= 1.0;
        }
        is_allowed
    }
}

// === impl Lane ===

impl Lane {
    pub(super) const fn new(rate: Rate, max_concurrent: usize) -> Self {
        Self { rate, allowance: Allowance::full(rate), max_concurrent, concurrent: 0 }
    }

    /// Whether a review may start. If so, [`Self::end`] must follow.
    pub(super) fn start(&mut self, now: Instant) -> bool {
        let is_allowed = self.concurrent < self.max_concurrent && self.allowance.take(self.rate, now);
        self.concurrent += usize::from(is_allowed);
        is_allowed
    }

    pub(super) const fn end(&mut self) {
        self.concurrent = self.concurrent.saturating_sub(1);
    }
}

// === impl ClientLimits ===

impl<C: Ord + Copy> ClientLimits<C> {
    pub(super) const fn new(rate: Rate, max_clients: usize) -> Self {
        Self { rate, max_clients, clients: BTreeMap::new() }
    }

    /// Whether a review for this client may start.
    pub(super) fn take(&mut self, client: C, now: Instant) -> bool {
        if !self.clients.contains_key(&client) {
            self.make_space(now);
        }
        let rate = self.rate;
        self.clients.entry(client).or_insert_with(|| Allowance::full(rate)).take(rate, now)
    }

    /// Removes the clients that have their complete allowance. If there are none, removes the client that has the most left.
    fn make_space(&mut self, now: Instant) {
        if self.clients.len() < self.max_clients {
            return;
        }
        let rate = self.rate;
        self.clients.retain(|_, allowance| {
            allowance.refill(rate, now);
            allowance.left < rate.burst
        });
        if self.clients.len() >= self.max_clients {
            let most = self.clients.iter().max_by(|(_, one), (_, other)| one.left.total_cmp(&other.left));
            let most = most.map(|(client, _)| *client);
            most.and_then(|client| self.clients.remove(&client));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_lane_limits_rate_and_concurrency() {
        let start = Instant::now();
        let mut lane = Lane::new(RATE, 2);
        // Milliseconds, whether a review ends before it, and whether a review may start.
        for (milliseconds, ends, expected) in [
            (0, false, true),
            (0, false, true),
            (0, false, false),
            (0, true, true),
            (0, true, false),
            (499, false, false),
            (500, false, true),
            (9_000, true, true),
            (9_000, true, true),
            (9_000, true, true),
            (9_000, true, false),
        ] {
            if ends {
                lane.end();
            }
            let now = start + Duration::from_millis(milliseconds);
            assert_eq!(lane.start(now), expected, "{milliseconds} ms, after an end: {ends}");
        }
    }

    #[test]
    fn a_client_has_its_own_allowance_and_the_number_of_clients_is_limited() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clients = ClientLimits::new(RATE, 2);
        let taken = |clients: &mut ClientLimits<char>, client, now| {
            (0..9).filter(|_| clients.take(client, now)).count()
        };
        assert_eq!([taken(&mut clients, 'a', start), taken(&mut clients, 'b', start)], [3, 3]);
        assert_eq!([taken(&mut clients, 'a', start), taken(&mut clients, 'b', at(1))], [0, 2]);
        assert_eq!(taken(&mut clients, 'c', at(1)), 3, "a third client replaces the one with the most left");
        assert_eq!((clients.clients.len(), taken(&mut clients, 'b', at(1))), (2, 0));
        assert_eq!(taken(&mut clients, 'd', at(9)), 3);
        assert_eq!(clients.clients.len(), 1, "a client with its complete allowance is forgotten");
    }
}
