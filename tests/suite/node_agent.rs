//! The node agent with a fake driver, and the sidecars that read its reports.

mod agent_metrics;
mod assignments;
mod bursts;
mod fake_kubelet;
mod intervals;
mod many_pods;
mod node_fixture;
mod restarts;
mod shared_card;
mod start_errors;
mod streams;
mod totals;
