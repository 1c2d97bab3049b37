//! The sidecar of a desktop pod. Configured by the environment that admission writes.

use std::process::ExitCode;

fn main() -> ExitCode {
    match vdi_metrics::sidecar::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "Cannot run");
            ExitCode::FAILURE
        }
    }
}
