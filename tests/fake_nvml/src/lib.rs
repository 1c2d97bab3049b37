//! A `libnvidia-ml.so.1` that plays a scenario file: the C ABI in `abi`, what a test writes in [`Scenario`].
//!
//! The file named by [`SCENARIO`] is read again at every call, so a test moves time by writing it.

mod abi;
mod scenario;

use std::{env, io, path::PathBuf};

pub use abi::Symbol;
pub use scenario::{Behaviour, Device, Memory, Process, Samples, Scenario, Share, Utilization};

/// Environment variable with the path of the scenario file.
pub const SCENARIO: &str = "FAKE_NVML_SCENARIO";

/// Where cargo built the library for the running test or example: in the profile's folder `deps`.
///
/// # Errors
/// Fails where the running program is no test or example of this workspace.
pub fn library() -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name("../deps/libfake_nvml.so");
    path.canonicalize()
}
