//! Reads GPUs through the driver's library (NVML). Other modules see plain values and closed vocabularies.
//!
//! Only this folder may use `nvml_wrapper`, and only `raw` may contain unsafe code. All calls block: if the driver hangs, the
//! call hangs. So only the polling thread uses this module.

mod backoff;
mod call_log;
mod driver;
mod events;
mod fault;
pub mod id;
mod known;
mod library;
mod raw;
mod reading;
mod support;
mod values;

pub use self::{
    call_log::PollCalls,
    driver::{Driver, Released},
    events::DriverEvent,
    fault::{Call, Code, Fault, ReopenReason},
    library::{Library, LibraryState, OpenFailure, OpenLibrary, library_locations},
    values::{
        Codec, Device, DeviceStreams, Memory, Process, ProcessKind, ProcessUtilization, Reading, Sample,
        Slice, Stream, StreamStats, Throttled, Versions, XidEvent,
    },
};
