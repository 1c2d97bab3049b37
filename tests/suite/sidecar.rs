//! Tests of the real sidecar with a fake driver.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod driver_scenarios;
mod events;
mod evidence;
mod fake_driver;
mod http_server;
mod identity;
mod library;
mod lost_devices;
mod pod_fixture;
mod presence;
mod random_answers;
mod running_sidecar;
mod scenarios;
mod session;
mod termination_message;
