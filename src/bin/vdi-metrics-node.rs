//! The agent on GPU nodes.

use std::process::ExitCode;

use clap::Parser;
use vdi_metrics::{
    node::{self, config::NodeOptions},
    runtime::log::Chain,
};

fn main() -> ExitCode {
    match node::run(&NodeOptions::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(&*error), "The node agent failed");
            ExitCode::FAILURE
        }
    }
}
