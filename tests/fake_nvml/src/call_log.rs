//! A log of the calls, for tests that compare which calls the sidecar makes.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    sync::OnceLock,
};

use nvml_wrapper_sys::bindings::nvmlDevice_t;

use crate::symbol::Symbol;

/// Environment variable with the path of a log file. Each call adds one line: the function and the handle of its device, 0
/// without a device.
pub const CALL_LOG: &str = "FAKE_NVML_CALL_LOG";

/// Adds a call to the log, if there is one.
pub(crate) fn record(symbol: Symbol, handle: nvmlDevice_t) {
    static LOG: OnceLock<Option<File>> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let path = env::var_os(CALL_LOG)?;
        OpenOptions::new().create(true).append(true).open(path).ok()
    });
    if let Some(mut log) = log.as_ref() {
        // One write for a line, so that a reader never sees a part of it.
        let _ = log.write_all(format!("{symbol:?} {}\n", handle.addr()).as_bytes());
    }
}
