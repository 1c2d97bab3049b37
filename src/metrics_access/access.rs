//! The check of a request: the cache, the limits, the review and the count.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
};
use prometheus::Registry;
use ring::digest::{Context, SHA256};
use tokio::time::timeout;

use super::{
    bearer::{self, ReviewVerb},
    cache::Key,
    denial::{CheckResult, Denial},
    gate::{Gate, LaneName, Step, Verdict},
    metrics::CheckMetrics,
    reviewer::{ReviewError, Reviewer},
};
use crate::runtime::log::{Chain, OngoingError};

/// Timeout of a review. It is shorter than Prometheus' default scrape timeout of 10 s, so that Prometheus shows the status and
/// not a timeout.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides who may read the metrics.
pub struct MetricsAccess<R> {
    reviewer: R,
    review_timeout: Duration,
    gate: Mutex<Gate<IpAddr>>,
    metrics: CheckMetrics,
    failure: OngoingError,
}

/// A review that counts for the limits until the value is dropped, also if the client has closed its connection.
struct OpenReview<'g> {
    gate: &'g Mutex<Gate<IpAddr>>,
    lane: LaneName,
}

// === impl MetricsAccess ===

impl<R: Reviewer> MetricsAccess<R> {
    /// Registers the metric about the checks.
    ///
    /// # Errors
    /// The name is registered already.
    pub fn register(reviewer: R, registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            reviewer,
            review_timeout: REVIEW_TIMEOUT,
            gate: Mutex::new(Gate::new()),
            metrics: CheckMetrics::register(registry)?,
            failure: OngoingError::new(
                "The API server does not check tokens, so only clients with a cached answer get metrics",
            ),
        })
    }

    /// Checks a request of a client.
    ///
    /// # Errors
    /// Fails with the response to a request that gets no metrics.
    pub async fn check(&self, method: &Method, headers: &HeaderMap, client: IpAddr) -> Result<(), Response> {
        let result = self.decide(ReviewVerb::of(method), headers, network(client.to_canonical())).await;
        self.metrics.count(result.as_ref().map_or_else(Denial::result, |()| CheckResult::Allowed));
        result.map_err(IntoResponse::into_response)
    }

    async fn decide(&self, verb: ReviewVerb, headers: &HeaderMap, client: IpAddr) -> Result<(), Denial> {
        let token = bearer::token(headers)?;
        let key = key(token, verb);
        let step = lock(&self.gate).begin(key, client, Instant::now());
        let open = match step {
            Step::Answer(verdict) => return verdict.into_result(),
            Step::TooMany => return Err(Denial::TooManyReviews),
            Step::Review(lane) => OpenReview { gate: &self.gate, lane },
        };
        let verdict = self.review(token, verb).await?;
        lock(&self.gate).record(key, &verdict, Instant::now());
        drop(open);
        log(&verdict, client);
        verdict.into_result()
    }

    async fn review(&self, token: &str, verb: ReviewVerb) -> Result<Verdict, Denial> {
        let answer = timeout(self.review_timeout, self.reviewer.review(token, verb)).await;
        let answer = answer.unwrap_or(Err(ReviewError::Timeout));
        let cause = answer.as_ref().err().map(|error| Chain(error).to_string());
        self.failure.log(cause.as_ref().map(|cause| cause as _));
        answer.map_err(|_| Denial::Unavailable)
    }
}

/// Logs a new verdict. The limits of the reviews also limit the lines.
fn log(verdict: &Verdict, client: IpAddr) {
    match verdict {
        Verdict::Allowed => tracing::debug!(%client, "A client may read the metrics"),
        Verdict::Invalid => {
            tracing::warn!(%client, "Rejected a request for the metrics: the token is not valid")
        }
        Verdict::Forbidden { user } => {
            tracing::warn!(%client, user, "Rejected a request for the metrics: the user may not read them");
        }
    }
}

/// The address of an IPv4 client, and the network of an IPv6 client: a host has all addresses of a /64 (RFC 4291, 2.5.4).
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

fn key(token: &str, verb: ReviewVerb) -> Key {
    let mut context = Context::new(&SHA256);
    context.update(verb.as_str().as_bytes());
    // A verb has no space, so two different pairs never have the same bytes.
    context.update(b" ");
    context.update(token.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    Key(key)
}

fn lock(gate: &Mutex<Gate<IpAddr>>) -> MutexGuard<'_, Gate<IpAddr>> {
    // A poisoned lock is usable: after a panic an entry or a count can be missing, but no verdict is wrong.
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl OpenReview ===

impl Drop for OpenReview<'_> {
    fn drop(&mut self) {
        lock(self.gate).end(self.lane);
    }
}

#[cfg(test)]
mod tests;
