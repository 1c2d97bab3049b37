//! The node agent with a fake driver, and the sidecars that read its reports.

mod agent_metrics;
mod assignments;
mod fake_kubelet;
mod many_pods;
mod node_fixture;
mod shared_card;
mod streams;
mod totals;
