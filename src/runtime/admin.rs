//! The endpoints that every process has: health, readiness and the exposition's envelope.

use std::io::Write;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder, proto::MetricFamily};

use super::readiness::{ProbeResult, Readiness};

/// `/healthz` answers 200 while the process runs; `/readyz` answers 200 once nothing is pending, else 503 with the
/// names of what is.
pub fn health(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness)))
}

fn ready(readiness: &Readiness) -> Response {
    let reason = match readiness.probe() {
        ProbeResult::Ready => return "ok\n".into_response(),
        ProbeResult::WaitingFor(names) => format!("waiting for: {}\n", names.join(", ")),
        ProbeResult::ShuttingDown => "shutting down\n".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
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

/// The families as text 0.0.4, compressed for who can read that. Prometheus 3 refuses a scrape without an exact content
/// type, so it comes from the encoder that wrote the body.
pub fn exposition(asked: &HeaderMap, families: &[MetricFamily]) -> Response {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    if let Err(error) = encoder.encode(families, &mut body) {
        tracing::error!(%error, "Cannot encode the exposition");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = [
        (header::CONTENT_TYPE, encoder.format_type().to_owned()),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    if !takes_gzip(asked) {
        return (kind, body).into_response();
    }
    let mut packed = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    match packed.write_all(&body).and_then(|()| packed.finish()) {
        Ok(packed) => (kind, [(header::CONTENT_ENCODING, "gzip")], packed).into_response(),
        Err(_) => (kind, body).into_response(),
    }
}

/// Whether one of the encodings is gzip and not refused by a weight of 0.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let lists = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_who_asks() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                header::HeaderValue::from_static(value),
            )]))
        };
        assert!(takes("gzip") && takes("deflate, GZIP;q=0.5, br"));
        assert!(!takes("identity") && !takes("gzip;q=0") && !takes("") && !takes("xgzip"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
