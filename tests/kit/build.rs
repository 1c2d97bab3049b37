//! Links the probe statically, so that it is an image by itself. Only the test kit has a build script.

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
    // Only the cluster suite needs it, and says so: `make demo` has to build where there is no static glibc.
    if !rustc.arg("src/probe.rs").output()?.status.success() {
        println!("cargo::warning=no probe for the cluster suite: is there a static glibc?");
    }
    Ok(())
}
