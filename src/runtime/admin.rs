//! The HTTP endpoints of both programs: health, readiness and the encoding of metrics.

use std::io::Write;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use prometheus::{Encoder, Registry, TextEncoder, proto::MetricFamily};

use super::{
    build::{REVISION, VERSION},
    catalogue::{Catalogue, MetricType, Row, Series, Source},
    readiness::{ProbeResult, Readiness},
};

/// The metric with the server's version.
pub const ROWS: &[Row<()>] = &[Row {
    name: "vdi_metrics_build_info",
    help: "Version and source revision of the server; always 1.",
    kind: MetricType::GAUGE,
    labels: &["revision", "version"],
    series: |()| vec![Series::number([REVISION, VERSION], 1.0)],
}];

/// The source of [`ROWS`]. It has no values, because the row uses constants.
#[derive(Debug)]
struct Build;

/// Routes for probes. `/healthz` returns 200 while the process runs. `/readyz` returns 200 while the process is ready, otherwise
/// 503 and the reason.
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

/// Creates a registry that contains the metric `vdi_metrics_build_info`.
///
/// # Errors
/// Does not fail in practice: the metric is valid and is the first one in the registry.
pub fn registry() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(Catalogue::new(ROWS, Build)?))?;
    Ok(registry)
}

/// Encodes the families in the text format 0.0.4. The response is compressed if the client accepts gzip. Its content type is that
/// of the encoder, because Prometheus 3 rejects a response without an exact content type.
pub fn exposition(request: &HeaderMap, families: &[MetricFamily]) -> Response {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    if let Err(error) = encoder.encode(families, &mut body) {
        tracing::error!(%error, "Cannot encode the metrics");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, encoder.format_type().to_owned()),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    if !accepts_gzip(request) {
        return (headers, body).into_response();
    }
    let mut compressed = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    match compressed.write_all(&body).and_then(|()| compressed.finish()) {
        Ok(compressed) => (headers, [(header::CONTENT_ENCODING, "gzip")], compressed).into_response(),
        Err(_) => (headers, body).into_response(),
    }
}

/// Whether `Accept-Encoding` contains gzip with a weight above 0.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let lists = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
    })
}

// === impl Build ===

impl Source for Build {
    type Values = ();

    fn with<R>(&self, read: impl FnOnce(&()) -> R) -> R {
        read(&())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_accepts_gzip_receives_it() {
        let accepts = |value: &'static str| {
            let value = header::HeaderValue::from_static(value);
            accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
        };
        assert!(accepts("gzip") && accepts("deflate, GZIP;q=0.5, br"));
        assert!(!accepts("identity") && !accepts("gzip;q=0") && !accepts("") && !accepts("xgzip"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
