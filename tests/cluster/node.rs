//! Tests with pods that really run. They need root, and they install the product from its images.

use kit::cluster::Test;

mod availability;
mod breaker;
mod cli;
mod gpu_devices;
mod injection;
mod monitoring;
mod node_agent;
mod presence;
pub(crate) mod presence_of_vnc;
mod session_fates;
mod session_metrics;
mod termination_message;
mod test_cluster;
mod uninstall;

/// The tests of each module. Those of [`presence_of_vnc`] also need a VNC server.
pub(crate) const SUBJECTS: &[&[(&str, Test)]] = &[
    availability::TESTS,
    breaker::TESTS,
    cli::TESTS,
    gpu_devices::TESTS,
    injection::TESTS,
    monitoring::TESTS,
    node_agent::devices::TESTS,
    node_agent::many_pods::TESTS,
    node_agent::restarts::TESTS,
    node_agent::volume::TESTS,
    presence::TESTS,
    session_fates::TESTS,
    session_fates::hostile_messages::TESTS,
    session_metrics::TESTS,
    termination_message::TESTS,
    test_cluster::TESTS,
    uninstall::TESTS,
];
