//! The files that are shipped next to the programs, against the programs: names, ports, paths, labels, users, versions,
//! configuration, and every metric and label of dashboards and rules.

mod certificate;
mod configuration;
mod dashboards;
mod images;
mod monitoring;
mod node_agent;
mod objects;
mod promql;
mod queries;
mod reading;
mod server;
mod warning_policy;
mod webhook;
