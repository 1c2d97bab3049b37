//! Opens the driver's library and decides when to close it and open it again.

use std::path::PathBuf;

use nvml_wrapper::Nvml;

use super::{
    backoff::Backoff,
    call_log::{PollCalls, fault},
    driver::Driver,
    fault::{Call, Fault, ReopenReason},
};

/// `libnvidia-ml.so.1`. The first poll opens it. If that fails, or if the driver or a device is lost, later polls open it
/// again, with growing pauses.
#[derive(Debug)]
pub struct Library {
    /// Path of the library; none if the loader chooses it.
    path: Option<PathBuf>,
    /// Pauses between attempts to open a library that cannot be opened.
    opening: Backoff<Fault>,
    /// Pauses between two reopenings of a working library that lacks a device.
    reopening: Backoff<ReopenReason>,
}

/// The open library; always `Some` until it is dropped. Dropping it closes the library and releases the driver.
#[derive(Debug)]
pub struct OpenLibrary(Option<Nvml>);

/// Why the library is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFailure {
    /// The failure of the last attempt.
    pub fault: Fault,
    /// `true` if this poll has tried to open the library; `false` if the back-off skipped the attempt and `fault` is from an
    /// earlier poll.
    pub is_new: bool,
}

/// Whether the open library can be used for the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryState {
    /// The library can be used.
    Usable,
    /// The library must be closed and opened again: the driver is lost, or a reopened library may show more devices.
    MustReopen,
}

// === impl Library ===

impl Library {
    /// The library at `path`, or the library that the loader finds if `path` is none. It is not opened yet.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, opening: Backoff::default(), reopening: Backoff::default() }
    }

    /// Opens the library, unless the back-off skips this poll.
    ///
    /// # Errors
    /// Fails if the library cannot be opened. During a pause it fails with the fault of the last attempt.
    pub fn open(&mut self) -> Result<OpenLibrary, OpenFailure> {
        if let Some(fault) = self.opening.skip_poll() {
            return Err(OpenFailure { fault, is_new: false });
        }
        let mut builder = Nvml::builder();
        if let Some(path) = &self.path {
            builder.lib_path(path.as_os_str());
        }
        builder.init().map(|nvml| OpenLibrary(Some(nvml))).map_err(|error| {
            let fault = fault(Call::Init, &error);
            self.opening.record_failure(fault);
            OpenFailure { fault, is_new: true }
        })
    }

    /// Ends a poll and decides whether the library must be reopened. If the driver is lost, the library is closed at once; the next
    /// attempt to open it follows the back-off.
    /// If the caller has a reason to reopen (`reopen`), the library is reopened with growing pauses, because reopening
    /// interrupts the reading of the other devices.
    pub fn end_poll(&mut self, calls: &PollCalls, reopen: Option<ReopenReason>) -> LibraryState {
        if let Some(fault) = calls.faults.iter().find(|fault| fault.is_driver_lost()) {
            self.opening.record_failure(*fault);
            return LibraryState::MustReopen;
        }
        self.opening.record_success();
        let Some(reason) = reopen else {
            self.reopening.record_success();
            return LibraryState::Usable;
        };
        if !self.reopening.is_due(reason) {
            return LibraryState::Usable;
        }
        tracing::debug!(reason = reason.as_str(), "Closing the NVML library to open it again");
        LibraryState::MustReopen
    }
}

// === impl OpenLibrary ===

impl OpenLibrary {
    /// Lists the devices that this process can see. Always `Some`: the field is an `Option` only for `drop`.
    #[must_use]
    pub fn driver(&self) -> Option<Driver<'_>> {
        self.0.as_ref().map(Driver::new)
    }
}

impl Drop for OpenLibrary {
    /// Closes the library. nvml_wrapper panics if the library does not have the call for this; the library then stays open.
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|nvml| nvml.lib().nvmlShutdown.is_err()) {
            std::mem::forget(self.0.take());
        }
    }
}
