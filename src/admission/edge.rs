//! The HTTP edge: what a request must look like before it is read, how long it may take, and what is counted.
//!
//! `/mutate` is harmless to strangers: bounded body, bounded time, no secrets, no side effects.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::LengthLimitError;

use super::{Settings, admit, metrics::Metrics};

/// Largest body that is read, in bytes. A pod has at most 3 MiB, stored as protobuf; controller-runtime allows 7 MiB.
const BODY_LIMIT: usize = 7 << 20;

/// Time for a body to arrive. The API server gives up on us after 2 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request was turned away without an answer to its review.
#[derive(Debug)]
enum Refusal {
    ContentType,
    TooLarge,
    Timeout,
    Malformed(String),
}

/// The words of every refusal, so that each has a series before it first happens.
pub(super) const REFUSALS: [&str; 4] = ["content_type", "too_large", "timeout", "malformed"];

/// Serves `/mutate`.
pub fn router(settings: Settings, metrics: Metrics) -> Router {
    Router::new().route("/mutate", post(mutate)).with_state(Arc::new((settings, metrics)))
}

async fn mutate(State(state): State<Arc<(Settings, Metrics)>>, headers: HeaderMap, body: Body) -> Response {
    let (settings, metrics) = &*state;
    let answered = match receive(&headers, body).await {
        Ok(body) => answer(&body, settings, metrics),
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(reply) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        Err(refusal) => {
            metrics.refused(refusal.as_str());
            tracing::warn!(reason = refusal.as_str(), "Turned a request away");
            refusal.into_response()
        }
    }
}

async fn receive(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::ContentType);
    }
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(Refusal::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) if body.is_empty() => Err(Refusal::Malformed("the body is empty".into())),
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            Err(Refusal::TooLarge)
        }
        Ok(Err(error)) => Err(Refusal::Malformed(format!("the body broke off: {error}"))),
        Err(_) => Err(Refusal::Timeout),
    }
}

fn answer(body: &[u8], settings: &Settings, metrics: &Metrics) -> Result<Vec<u8>, Refusal> {
    let began = Instant::now();
    let admission = admit(body, settings).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let (outcome, took) = (admission.outcome, began.elapsed());
    metrics.decided(outcome, took);
    tracing::info!(
        uid = %admission.review.uid(),
        namespace = %admission.review.namespace(),
        name = %admission.review.name(),
        %outcome,
        took_us = took.as_micros(),
        "Admitted"
    );
    Ok(admission.reply)
}

// === impl Refusal ===

impl Refusal {
    fn as_str(&self) -> &'static str {
        let [content_type, too_large, timeout, malformed] = REFUSALS;
        match self {
            Self::ContentType => content_type,
            Self::TooLarge => too_large,
            Self::Timeout => timeout,
            Self::Malformed(_) => malformed,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json".into()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {BODY_LIMIT} bytes")),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".into()),
            Self::Malformed(message) => (StatusCode::BAD_REQUEST, message),
        };
        (status, message + "\n").into_response()
    }
}
