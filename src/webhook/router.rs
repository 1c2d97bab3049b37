//! The endpoint `/mutate`. The endpoint is safe to expose: body size and time are bounded, and a call reveals no secret and
//! has no side effect.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::State,
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
use crate::admission::Namespaces;

/// Answers reviews.
#[derive(Debug)]
struct ReviewHandler {
    configuration: ActiveConfiguration,
    namespaces: Arc<ArcSwap<Namespaces>>,
    metrics: WebhookMetrics,
    bodies: Bodies,
}

/// Serves `/mutate`. Each review uses the configuration and the namespaces' limits of that moment.
pub fn router(
    configuration: ActiveConfiguration,
    namespaces: Arc<ArcSwap<Namespaces>>,
    metrics: WebhookMetrics,
) -> Router {
    let handler = ReviewHandler { configuration, namespaces, metrics, bodies: Bodies::new() };
    Router::new().route("/mutate", post(mutate)).with_state(Arc::new(handler))
}

async fn mutate(State(handler): State<Arc<ReviewHandler>>, headers: HeaderMap, mut body: Body) -> Response {
    let _in_flight = handler.metrics.in_flight();
    match answer(&handler, &headers, &mut body).await {
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

async fn answer(handler: &ReviewHandler, headers: &HeaderMap, body: &mut Body) -> Result<Vec<u8>, Refusal> {
    check_media_type(headers)?;
    let received = handler.bodies.receive(body).await?;
    handler.answer(&received.bytes)
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
            .admit(body, &namespaces)
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
