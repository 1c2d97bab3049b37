//! A `libnvidia-ml.so.1` that plays a scenario file: the C ABI in `abi`, what a test writes in [`Scenario`].
//!
//! The file named by [`SCENARIO`] is looked at in every call, so a test moves time by replacing it.

mod abi;
mod scenario;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

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

/// The same without a symbol, as from an older driver: a copy in `folder` in which it has another name.
///
/// # Errors
/// Fails where the library has no such symbol or the folder cannot be written.
pub fn library_without(symbol: &str, folder: &Path) -> io::Result<PathBuf> {
    let mut library = fs::read(library()?)?;
    let name = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let found = library.windows(name.len()).position(|bytes| bytes == name);
    let place = found.ok_or_else(|| io::Error::other(format!("the library has no {symbol}")))?;
    library[place + 1] = b'N';
    let copy = folder.join(format!("without-{symbol}.so"));
    fs::write(&copy, library)?;
    Ok(copy)
}
