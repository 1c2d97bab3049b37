//! The decision whether a request is answered from the cache, needs a review, or must wait. Time is an argument.

use std::time::{Duration, Instant};

use super::{
    cache::{Cache, Key},
    limits::{ClientLimits, Lane, Rate},
};

/// How long an allowed token needs no review. A revoked token or right works for this time at most.
const ALLOWED_TTL: Duration = Duration::from_secs(60);

/// How long a rejected token gets the same answer without a review. A new right becomes active after this time.
const DENIED_TTL: Duration = Duration::from_secs(5);

/// How long a token stays known after [`ALLOWED_TTL`] has passed. The time is longer than any scrape interval: Prometheus drops a
/// series after 5 minutes.
const KNOWN_TTL: Duration = Duration::from_secs(600);

/// Maximum number of known tokens. A cluster has a few scrapers.
const MAX_KNOWN: usize = 64;

/// Maximum number of rejected tokens. At [`UNKNOWN_RATE`] at most 35 new tokens are rejected in [`DENIED_TTL`].
const MAX_DENIED: usize = 64;

/// Reviews of unknown tokens, in all. Each review is two calls of the API server.
const UNKNOWN_RATE: Rate = Rate { per_second: 5.0, burst: 10.0 };
const MAX_CONCURRENT_UNKNOWN: usize = 4;

/// Reviews of unknown tokens of one client. A scraper has a new token about once an hour.
const CLIENT_RATE: Rate = Rate { per_second: 1.0, burst: 5.0 };
const MAX_CLIENTS: usize = 256;

/// Reviews of known tokens: each of [`MAX_KNOWN`] tokens once a minute is about one per second. Unknown tokens cannot use
/// them, so a flood of bad tokens does not delay a scraper.
const KNOWN_RATE: Rate = Rate { per_second: 5.0, burst: 10.0 };
const MAX_CONCURRENT_KNOWN: usize = 4;

/// The API server's answer about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user may read the metrics.
    Allowed,
    /// The token is not valid.
    Invalid,
    /// The user may not read the metrics.
    Forbidden {
        /// The name of the user.
        user: String,
    },
}

/// The limit that a review counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneName {
    Known,
    Unknown,
}

/// How a request continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The cache has the answer.
    Answer(Verdict),
    /// The token needs a review. [`Gate::end`] must follow.
    Review(LaneName),
    /// There are too many reviews.
    TooMany,
}

/// The cached answers and the limits of reviews. `C` is the address of a client.
#[derive(Debug)]
pub(super) struct Gate<C> {
    /// The value is the time until which the token needs no review.
    known: Cache<Instant>,
    denied: Cache<Verdict>,
    known_lane: Lane,
    unknown_lane: Lane,
    clients: ClientLimits<C>,
}

// === impl Gate ===

impl<C: Ord + Copy> Gate<C> {
    pub(super) const fn new() -> Self {
        Self {
            known: Cache::new(MAX_KNOWN),
            denied: Cache::new(MAX_DENIED),
            known_lane: Lane::new(KNOWN_RATE, MAX_CONCURRENT_KNOWN),
            unknown_lane: Lane::new(UNKNOWN_RATE, MAX_CONCURRENT_UNKNOWN),
            clients: ClientLimits::new(CLIENT_RATE, MAX_CLIENTS),
        }
    }

    /// Decides how a request of `client` continues.
    pub(super) fn begin(&mut self, key: Key, client: C, now: Instant) -> Step {
        let fresh_until = self.known.get(key, now).copied();
        if fresh_until.is_some_and(|until| now < until) {
            return Step::Answer(Verdict::Allowed);
        }
        if let Some(verdict) = self.denied.get(key, now) {
            return Step::Answer(verdict.clone());
        }
        let (lane, is_allowed) = match fresh_until {
            Some(_) => (LaneName::Known, self.known_lane.start(now)),
            None => (LaneName::Unknown, self.clients.take(client, now) && self.unknown_lane.start(now)),
        };
        if is_allowed { Step::Review(lane) } else { Step::TooMany }
    }

    /// Caches the answer of a review.
    pub(super) fn record(&mut self, key: Key, verdict: &Verdict, now: Instant) {
        match verdict {
            Verdict::Allowed => {
                let fresh_until = now + ALLOWED_TTL;
                self.known.insert(key, fresh_until, fresh_until + KNOWN_TTL);
            }
            Verdict::Invalid | Verdict::Forbidden { .. } => {
                self.known.remove(key);
                self.denied.insert(key, verdict.clone(), now + DENIED_TTL);
            }
        }
    }

    /// Ends a review, with or without an answer.
    pub(super) const fn end(&mut self, lane: LaneName) {
        match lane {
            LaneName::Known => self.known_lane.end(),
            LaneName::Unknown => self.unknown_lane.end(),
        }
    }
}

#[cfg(test)]
mod tests;
