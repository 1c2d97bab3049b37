//! Opens the driver's library and decides when to close it and open it again.

use std::path::PathBuf;

use nvml_wrapper::Nvml;

use super::{
    backoff::Backoff,
    call_log::{PollCalls, fault},
    driver::Driver,
    fault::{Call, Fault, ReopenReason},
};

/// `libnvidia-ml.so.1`, opened at the first poll and, with back-off, again after it was missing or lost.
#[derive(Debug)]
pub struct Library {
    path: Option<PathBuf>,
    /// Pauses between attempts to open a library that cannot be opened.
    opening: Backoff<Fault>,
    /// Pauses between attempts to see more devices, while others can be read.
    reopening: Backoff<ReopenReason>,
}

/// The open library. Dropping it closes the library and releases the driver.
#[derive(Debug)]
pub struct OpenLibrary(Option<Nvml>);

/// Why the library is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFailure {
    /// The failure of the last attempt.
    pub fault: Fault,
    /// `true` if the library was really opened now; `false` if the back-off only repeats the last failure.
    pub is_new: bool,
}

/// Whether the open library can be used for the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryState {
    /// Use it.
    Usable,
    /// Close it and open it again: the driver was lost, or another opening may show more devices.
    MustReopen,
}

// === impl Library ===

impl Library {
    /// The library at `path`, or the library that the loader finds.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, opening: Backoff::default(), reopening: Backoff::default() }
    }

    /// Opens the library, unless the back-off skips this poll.
    ///
    /// # Errors
    /// Fails if the library cannot be opened, or could not at the last attempt.
    pub fn open(&mut self) -> Result<OpenLibrary, OpenFailure> {
        if let Some(fault) = self.opening.pause() {
            return Err(OpenFailure { fault, is_new: false });
        }
        let mut builder = Nvml::builder();
        if let Some(path) = &self.path {
            builder.lib_path(path.as_os_str());
        }
        builder.init().map(|nvml| OpenLibrary(Some(nvml))).map_err(|error| {
            let fault = fault(Call::Init, &error);
            self.opening.failed(fault);
            OpenFailure { fault, is_new: true }
        })
    }

    /// Ends a poll. If the driver was lost, the library must be opened again at once. A device that is missing must not
    /// interrupt the reading of the others, so for `reopen` the library is opened again only as often as the back-off
    /// allows, until no device is missing.
    pub fn end_poll(&mut self, calls: &PollCalls, reopen: Option<ReopenReason>) -> LibraryState {
        if let Some(fault) = calls.faults.iter().find(|fault| fault.is_driver_lost()) {
            self.opening.failed(*fault);
            return LibraryState::MustReopen;
        }
        self.opening.succeeded();
        let Some(reason) = reopen.or(calls.reopen) else {
            self.reopening.succeeded();
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
    /// Lists the devices that this process can see; none after the library was closed.
    #[must_use]
    pub fn driver(&self) -> Option<Driver<'_>> {
        self.0.as_ref().map(Driver::new)
    }
}

impl Drop for OpenLibrary {
    /// nvml-wrapper panics if the library does not have the call that closes it.
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|nvml| nvml.lib().nvmlShutdown.is_err()) {
            std::mem::forget(self.0.take());
        }
    }
}
