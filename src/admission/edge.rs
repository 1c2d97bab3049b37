//! The HTTP edge: what a request must look like before it is read, how long it may take, and what is counted.
//!
//! `/mutate` is harmless to strangers: bounded body, bounded time, no secrets, no side effects.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;

use super::{Namespaces, configuration::Configuration, metrics::Metrics};

/// Largest body that is read, in bytes. The API server takes requests of up to 3 MiB.
const BODY_LIMIT: usize = 4 << 20;

/// Memory for the bodies that are being read: how large one may be, in bytes, and room for all of that size, in KiB. Whoever
/// reaches the port can hold bodies back. What finds no room is turned away at once; that a few large ones take all of theirs
/// costs no desktop its sidecar, because the review of a pod is a small one. A body can take twice its size while it is put
/// together.
const ROOMS: [(usize, usize); 2] = [(256 << 10, 8 << 10), (BODY_LIMIT, 8 << 10)];

/// Time for a body to arrive: that after which the API server gives up on us.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a request was turned away without an answer to its review.
#[derive(Debug)]
enum Refusal {
    ContentType,
    TooLarge,
    Busy,
    Timeout,
    Malformed(String),
}

/// The words of every refusal, so that each has a series before it first happens.
pub(super) const REFUSALS: [&str; 5] = ["content_type", "too_large", "busy", "timeout", "malformed"];

struct Webhook {
    configuration: Configuration,
    namespaces: Arc<ArcSwap<Namespaces>>,
    metrics: Metrics,
    rooms: [Semaphore; ROOMS.len()],
}

/// Serves `/mutate` with the configuration in force and what is known of namespaces at the time.
pub fn router(
    configuration: Configuration,
    namespaces: Arc<ArcSwap<Namespaces>>,
    metrics: Metrics,
) -> Router {
    let rooms = ROOMS.map(|(_, kibibytes)| Semaphore::new(kibibytes));
    let webhook = Webhook { configuration, namespaces, metrics, rooms };
    Router::new().route("/mutate", post(mutate)).with_state(Arc::new(webhook))
}

async fn mutate(State(webhook): State<Arc<Webhook>>, headers: HeaderMap, mut body: Body) -> Response {
    let _in_flight = webhook.metrics.in_flight();
    match admitted(&webhook, &headers, &mut body).await {
        Ok(reply) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        Err(refusal) => {
            if matches!(refusal, Refusal::TooLarge) {
                discard(&mut body).await;
            }
            webhook.metrics.refused(refusal.as_str());
            tracing::warn!(reason = refusal.as_str(), "Turned a request away");
            refusal.into_response()
        }
    }
}

async fn admitted(webhook: &Webhook, headers: &HeaderMap, body: &mut Body) -> Result<Vec<u8>, Refusal> {
    check_media_type(headers)?;
    // Without a length, chunk by chunk, it could be as large as is allowed.
    let size = body.size_hint().upper().unwrap_or(BODY_LIMIT as u64);
    let place = ROOMS.iter().position(|(largest, _)| size <= *largest as u64).ok_or(Refusal::TooLarge)?;
    let kibibytes = u32::try_from(size.div_ceil(1024)).map_err(|_| Refusal::TooLarge)?;
    let _room = webhook.rooms[place].try_acquire_many(kibibytes).map_err(|_| Refusal::Busy)?;
    webhook.answer(&receive(body).await?)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json").then_some(()).ok_or(Refusal::ContentType)
}

async fn receive(body: &mut Body) -> Result<Bytes, Refusal> {
    let whole = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await.map_err(|_| Refusal::Timeout)? {
        Ok(whole) => Some(whole.to_bytes())
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| Refusal::Malformed("the body is empty".into())),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Err(error) => Err(Refusal::Malformed(format!("the body broke off: {error}"))),
    }
}

/// Takes what is too large off the connection, or its sender would find a reset where the answer is.
async fn discard(body: &mut Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Who is slower than this reads no answer.
    let _ = tokio::time::timeout(BODY_TIMEOUT, rest).await;
}

// === impl Webhook ===

impl Webhook {
    fn answer(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let began = Instant::now();
        let (injector, namespaces) = (self.configuration.injector(), self.namespaces.load());
        let admission =
            injector.admit(body, &namespaces).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let took = began.elapsed();
        self.metrics.decided(admission.outcome, &admission.repaired, took);
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

// === impl Refusal ===

impl Refusal {
    fn as_str(&self) -> &'static str {
        let [content_type, too_large, busy, timeout, malformed] = REFUSALS;
        match self {
            Self::ContentType => content_type,
            Self::TooLarge => too_large,
            Self::Busy => busy,
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
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many bodies are being read".into()),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".into()),
            Self::Malformed(message) => (StatusCode::BAD_REQUEST, message),
        };
        (status, message + "\n").into_response()
    }
}
