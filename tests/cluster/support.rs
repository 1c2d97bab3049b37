//! Common code of several subjects: manifests of desktops, the installed product, servers, and readers of what they produce.

pub(crate) mod account_tokens;
pub(crate) mod audit_log;
pub(crate) mod claims;
pub(crate) mod common;
pub(crate) mod desktops;
pub(crate) mod installation;
pub(crate) mod node_pods;
pub(crate) mod out_of_cluster_server;
pub(crate) mod own_control_plane;
pub(crate) mod own_prometheus;
pub(crate) mod processes;
pub(crate) mod prometheus;
pub(crate) mod server_metrics;
pub(crate) mod termination;
