//! The endpoint `/mutate`. The endpoint is safe to expose: body size and time are bounded, and a call reveals no secret and
//! has no side effect.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};

use super::{
    bodies::{self, Bodies},
    configuration::ActiveConfiguration,
    metrics::WebhookMetrics,
    refusal::{Refusal, RefusalReason},
};
use crate::admission::{InjectionGate, Namespaces};

/// Time for a body if the request does not name one: the `timeoutSeconds` of the shipped webhook configuration.
const DEFAULT_TIME: Duration = Duration::from_secs(2);

/// The longest `timeoutSeconds` that a webhook configuration can have.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Answers reviews.
#[derive(Debug)]
struct ReviewHandler {
    configuration: ActiveConfiguration,
    namespaces: Arc<ArcSwap<Namespaces>>,
    gate: Arc<dyn InjectionGate>,
    metrics: WebhookMetrics,
    bodies: Bodies,
}

/// Serves `/mutate`. Each review uses the configuration, the namespaces' limits and the pauses of injection of that
/// moment.
pub fn router(
    configuration: ActiveConfiguration,
    namespaces: Arc<ArcSwap<Namespaces>>,
    gate: Arc<dyn InjectionGate>,
    metrics: WebhookMetrics,
) -> Router {
    let handler = ReviewHandler { configuration, namespaces, gate, metrics, bodies: Bodies::new() };
    Router::new().route("/mutate", post(mutate)).with_state(Arc::new(handler))
}

async fn mutate(
    State(handler): State<Arc<ReviewHandler>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    mut body: Body,
) -> Response {
    let _in_flight = handler.metrics.in_flight();
    let (client, time) = (client.ip().to_canonical(), time(query.as_deref()));
    match answer(&handler, client, time, &headers, &mut body).await {
        Ok(reply) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        Err(refusal) => {
            if refusal.reason == RefusalReason::TooLarge {
                bodies::discard(&mut body).await;
            }
            handler.metrics.count_refusal(refusal.reason);
            tracing::warn!(reason = refusal.reason.as_str(), "Rejected a request");
            refusal.into_response()
        }
    }
}

async fn answer(
    handler: &ReviewHandler,
    client: IpAddr,
    time: Duration,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Vec<u8>, Refusal> {
    check_media_type(headers)?;
    let received = handler.bodies.receive(client, body, time).await?;
    let reply = handler.answer(&received.bytes)?;
    received.was_a_review();
    Ok(reply)
}

/// The time in which the API server needs the answer: `timeout=2s` in the query, in whole seconds.
fn time(query: Option<&str>) -> Duration {
    let mut parameters = query.unwrap_or_default().split('&');
    let timeout = parameters.find_map(|parameter| parameter.strip_prefix("timeout="));
    let seconds = timeout.and_then(|timeout| timeout.strip_suffix('s')?.parse().ok());
    let time = seconds.map_or(DEFAULT_TIME, Duration::from_secs);
    time.clamp(Duration::from_secs(1), MAX_TIME)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_json = media_type.eq_ignore_ascii_case("application/json");
    is_json.then_some(()).ok_or_else(|| Refusal::new(RefusalReason::ContentType, "send application/json"))
}

// === impl ReviewHandler ===

impl ReviewHandler {
    fn answer(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let began = Instant::now();
        let (injector, namespaces) = (self.configuration.injector(), self.namespaces.load());
        let admission = injector
            .admit_through(&*self.gate, body, &namespaces)
            .map_err(|error| Refusal::new(RefusalReason::Malformed, error.to_string()))?;
        let took = began.elapsed();
        self.metrics.count_answer(admission.outcome, &admission.repaired, took);
        tracing::info!(
            uid = %admission.review.uid(),
            namespace = %admission.review.namespace(),
            name = %admission.review.name(),
            outcome = %admission.outcome,
            took_us = took.as_micros(),
            "Admitted"
        );
        Ok(admission.reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_review_comes_from_the_query_within_limits() {
        for (query, seconds) in [
            (None, 2),
            (Some(""), 2),
            (Some("timeout=2s"), 2),
            (Some("timeout=10s"), 10),
            (Some("dryRun=All&timeout=3s"), 3),
            (Some("timeout=0s"), 1),
            (Some("timeout=99999999s"), 30),
            (Some("timeout=5"), 2),
            (Some("timeout=-5s"), 2),
            (Some("timeout=1h"), 2),
            (Some("xtimeout=9s"), 2),
        ] {
            assert_eq!(time(query), Duration::from_secs(seconds), "{query:?}");
        }
    }
}
