//! The endpoints that every process has: health, readiness and the exposition's envelope.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder, proto::MetricFamily};

use super::readiness::Readiness;

/// `/healthz` answers 200 while the process runs; `/readyz` answers 200 once nothing is pending, else 503 with the
/// names of what is.
pub fn health(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness)))
}

fn ready(readiness: &Readiness) -> Response {
    let pending = readiness.pending();
    if pending.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", pending.join(", "))).into_response()
}

/// A registry that begins with `vdi_metrics_build_info`.
///
/// # Errors
/// None in practice: the name is the registry's first.
pub fn registry() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let build = Opts::new("vdi_metrics_build_info", "Version and source revision of the server; always 1.")
        .const_label("version", super::VERSION)
        .const_label("revision", super::REVISION);
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}

/// The families as text 0.0.4. Prometheus 3 refuses a scrape without an exact content type, so it comes from the
/// encoder that wrote the body.
pub fn exposition(families: &[MetricFamily]) -> Response {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(families, &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "Cannot encode the exposition");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
