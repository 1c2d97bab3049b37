//! Opens the driver's library and decides when to close it and open it again.

use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;

use super::{
    backoff::Backoff,
    call_log::{PollCalls, fault},
    driver::{Driver, Released},
    fault::{Call, Code, Fault, ReopenReason},
};

/// `libnvidia-ml.so.1`. The first poll opens it. If that fails, or if the driver or a device is lost, later polls open it
/// again, with growing pauses.
#[derive(Debug)]
pub struct Library {
    /// Where the library can be. The first that can be loaded is used.
    locations: Vec<PathBuf>,
    /// Pauses between attempts to open a library that cannot be opened.
    opening: Backoff<Fault>,
    /// Pauses between two reopenings of a working library that lacks a device.
    reopening: Backoff<ReopenReason>,
}

/// Where the library can be, in the order of the search, and who puts it there.
const LOCATIONS: [(&str, &str); 6] = [
    ("libnvidia-ml.so.1", "the container runtime; the loader searches `ld.so.cache` and the default folders"),
    ("/usr/local/nvidia/lib64/libnvidia-ml.so.1", "the device plugin of Google Kubernetes Engine"),
    (
        "/usr/lib64/libnvidia-ml.so.1",
        "CDI on nodes with RPM packages, if the hook that updates `ld.so.cache` does not run",
    ),
    (
        "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.1",
        "the driver container of the GPU operator, with RPM packages",
    ),
    (
        "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "the same, with Debian packages on amd64",
    ),
    (
        "/run/nvidia/driver/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
        "the same, with Debian packages on arm64",
    ),
];

/// The paths at which the library can be, in the order of the search. The absolute paths are below `root`.
#[must_use]
pub fn library_locations(root: &Path) -> Vec<PathBuf> {
    let below_root = |(location, _): (&str, &str)| match location.strip_prefix('/') {
        Some(path) => root.join(path),
        None => location.into(),
    };
    LOCATIONS.map(below_root).into()
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
    /// The library at the first of these locations that has one. It is not opened yet.
    #[must_use]
    pub fn new(locations: Vec<PathBuf>) -> Self {
        Self { locations, opening: Backoff::default(), reopening: Backoff::default() }
    }

    /// Opens the library, unless the back-off skips this poll.
    ///
    /// # Errors
    /// Fails if the library cannot be opened. During a pause it fails with the fault of the last attempt.
    pub fn open(&mut self) -> Result<OpenLibrary, OpenFailure> {
        if let Some(fault) = self.opening.skip_poll() {
            return Err(OpenFailure { fault, is_new: false });
        }
        self.init().map(|nvml| OpenLibrary(Some(nvml))).map_err(|fault| {
            self.opening.record_failure(fault);
            OpenFailure { fault, is_new: true }
        })
    }

    fn init(&self) -> Result<Nvml, Fault> {
        const MISSING: Fault = Fault { call: Call::Init, code: Code::LibraryMissing };
        let init = |location: &PathBuf| {
            tracing::debug!(location = %location.display(), "Opening the NVML library");
            let nvml = Nvml::builder().lib_path(location.as_os_str()).init();
            nvml.map_err(|error| fault(Call::Init, &error))
        };
        let is_missing = |answer: &Result<_, Fault>| answer.as_ref().is_err_and(|fault| *fault == MISSING);
        self.locations.iter().map(init).find(|answer| !is_missing(answer)).unwrap_or(Err(MISSING))
    }

    /// Ends a poll and decides whether the library must be reopened. If the driver is lost, the library is closed at once. The
    /// next attempt to open it follows the back-off. If the caller has a reason to reopen (`reopen`), the library is reopened
    /// with growing pauses, because reopening interrupts the reading of the other devices.
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
    /// Lists the cards that this process can see. `released` is the result of [`Driver::release_slices`] before the library was
    /// closed; none if there was no slice. Always `Some`: the field is an `Option` only for `drop`.
    #[must_use]
    pub fn driver(&self, released: Option<Released>) -> Option<Driver<'_>> {
        self.0.as_ref().map(|nvml| Driver::new(nvml, released))
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
