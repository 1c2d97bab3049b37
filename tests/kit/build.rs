//! Builds the probe as a static program, so that an image needs no other file. Only the test kit has a build script.
#![allow(
    clippy::disallowed_methods,
    reason = "cargo passes the arguments of a build script in the environment"
)]

use std::env::var_os;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/probe.rs");
    let set = |name| var_os(name).ok_or_else(|| format!("cargo sets no {name}"));
    let mut rustc = Command::new(set("RUSTC")?);
    rustc.args([
        "--edition=2024",
        "-Ctarget-feature=+crt-static",
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Cstrip=symbols",
    ]);
    rustc.arg("--target").arg(set("TARGET")?).arg("-o").arg(PathBuf::from(set("OUT_DIR")?).join("probe"));
    // A failure is only a warning, because `make demo` must build on machines without a static glibc. Only the cluster suite
    // needs the probe, and it reports when the probe is missing.
    if !rustc.arg("src/probe.rs").output()?.status.success() {
        println!("cargo::warning=no probe for the cluster suite: is a static glibc installed?");
    }
    Ok(())
}
