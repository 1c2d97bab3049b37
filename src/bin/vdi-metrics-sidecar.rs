//! The sidecar of a desktop pod. Admission writes its environment, which is its configuration.

use std::process::ExitCode;

use vdi_metrics::{runtime::log::Chain, sidecar};

fn main() -> ExitCode {
    match sidecar::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(&*error), "The sidecar failed");
            ExitCode::FAILURE
        }
    }
}
