//! `make demo`: shows the main job on one machine, without a cluster and without a GPU.
//!
//! The real server, the real node agent and real sidecars run. Three things are replaced: one HTTPS request stands in for the API
//! server, a temporary folder for the kubelet's folders, and a fake `libnvidia-ml.so.1` simulates a GPU. If a step fails, the demo
//! ends with an error.
#![allow(clippy::print_stdout, reason = "a demo prints its result")]

mod admission;
mod shared_card;
mod working_day;

use std::{
    env,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use kit::exposition::Exposition;
use serde_json::Value;

fn main() -> Result<()> {
    let began = Instant::now();
    let pod: Value = serde_saphyr::from_str(include_str!("../desktop.yaml"))?;
    let admitted = admission::show(&pod)?;
    working_day::show(&admitted)?;
    shared_card::show()?;
    println!(
        "\nFinished in {:.0} s. To install on a cluster, see \"Install\" in README.md.",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The folder with the programs of `cargo build --bins`.
fn build_folder() -> Result<PathBuf> {
    let example = env::current_exe()?;
    Ok(example.parent().and_then(Path::parent).context("the demo was not started by cargo")?.to_owned())
}

fn scrape(body: &str) -> Result<Exposition> {
    Exposition::parse(body).map_err(anyhow::Error::msg)
}

/// A bar for a percentage.
fn bar(percent: u32) -> String {
    "#".repeat(percent as usize / 5)
}
