//! A `libnvidia-ml.so.1` that plays a scenario file. `abi` has the C functions, and tests write a [`Scenario`].
//!
//! Every call checks the file that [`SCENARIO`] names, so a test can change the driver's state by replacing the file.
#![allow(clippy::disallowed_methods, reason = "tests have environment variables of their own")]

mod abi;
mod answers;
mod call_log;
mod devices;
mod events;
mod playback;
mod scenario;
mod symbol;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

pub use call_log::CALL_LOG;
pub use playback::SCENARIO;
pub use scenario::{
    Behaviour, Device, Memory, Process, ProcessCourse, ProcessUtilization, Samples, Scenario, Stream,
    Utilization,
};
pub use symbol::Symbol;

/// The path at which cargo has built the library for the running test or example: the folder `deps` of the profile.
///
/// # Errors
/// When the running program is not a test or example of this workspace.
pub fn library() -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name("../deps/libfake_nvml.so");
    path.canonicalize()
}

/// A copy of the library in `folder` without a symbol, as from an older driver. In the copy the symbol has another name.
///
/// # Errors
/// When the library has no such symbol or the folder cannot be written.
pub fn library_without(symbol: &str, folder: &Path) -> io::Result<PathBuf> {
    let mut library = fs::read(library()?)?;
    let name = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let position = library.windows(name.len()).position(|bytes| bytes == name);
    let position = position.ok_or_else(|| io::Error::other(format!("the library has no {symbol}")))?;
    library[position + 1] = b'N';
    let copy = folder.join(format!("without-{symbol}.so"));
    fs::write(&copy, library)?;
    Ok(copy)
}
