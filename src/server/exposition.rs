//! The endpoint `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method},
    response::Response,
    routing::get,
};
use prometheus::Registry;

use crate::{
    contract::METRICS_PATH,
    metrics_access::{ClusterReviewer, MetricsAccess},
    runtime::admin,
};

/// The metrics, and who may read them.
struct Exposition {
    registry: Registry,
    /// `None` if every client may read the metrics.
    access: Option<MetricsAccess<ClusterReviewer>>,
}

/// Serves the metrics of the registry. Without a reviewer, every client gets them.
pub(super) fn router(registry: Registry, reviewer: Option<ClusterReviewer>) -> prometheus::Result<Router> {
    let access = reviewer.map(|reviewer| MetricsAccess::register(reviewer, &registry)).transpose()?;
    let exposition = Arc::new(Exposition { registry, access });
    Ok(Router::new().route(METRICS_PATH, get(expose)).with_state(exposition))
}

async fn expose(
    State(exposition): State<Arc<Exposition>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if let Some(access) = &exposition.access
        && let Err(denied) = access.check(&method, &headers, client.ip()).await
    {
        return denied;
    }
    admin::exposition(&headers, &exposition.registry.gather())
}
