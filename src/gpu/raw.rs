//! Makes the NVML calls that nvml_wrapper does not have or cannot make safely.
//!
//! The wrapper has no call for the newer per-process utilisation, the older memory information, the processes of MPS and the
//! instance IDs. Its encoder call fails on a card on which another pod encodes AV1, and its capture call on unknown flags. It
//! allocates as many entries as the driver reports; in this file no list is longer than [`MAX_ENTRIES`]. It reads a string without
//! a terminating zero beyond the buffer.
#![expect(unsafe_code, reason = "calls into the driver's library")]

use std::{
    ffi::{CStr, c_char, c_uint},
    mem, ptr,
    time::Duration,
};

use nvml_wrapper::{
    Device, EventSet, Nvml,
    error::{NvmlError, nvml_try},
};
use nvml_wrapper_sys::bindings::{self as sys, NvmlLib};

use super::{
    fault::Call,
    known::Answer,
    values::{Codec, Memory, Process, ProcessKind, ProcessUtilization, Sample, Stream},
};

/// Maximum number of entries in one list. The driver keeps about 100 samples, and no desktop starts so many processes.
const MAX_ENTRIES: u32 = 1024;

/// Additional entries in a buffer, because the driver can add entries after it has returned their number.
const EXTRA_ENTRIES: u32 = 8;

/// Size of the buffer of a string; the longest is `NVML_DEVICE_UUID_V2_BUFFER_SIZE`.
const TEXT: usize = 96;

/// `eventData` of a fault whose Xid number the driver does not know.
const UNKNOWN_XID: u64 = 999;

/// An Xid event.
pub(super) struct RawEvent<'n> {
    pub(super) card: Device<'n>,
    /// Number of the fault; none if the driver gives no number.
    pub(super) code: Option<u64>,
    /// IDs of the slice in which the fault happened; none if the event names no slice.
    pub(super) gpu_instance: Option<u32>,
    pub(super) compute_instance: Option<u32>,
}

type Result<T> = std::result::Result<T, NvmlError>;
type ReturnCode = sys::nvmlReturn_t;

/// All utilisation samples in the driver's buffer. The buffer is read completely, because its oldest sample shows whether the
/// driver has discarded samples since the last call.
pub(super) fn samples(device: &Device<'_>) -> Result<Vec<Sample>> {
    let call = symbol(&lib(device).nvmlDeviceGetSamples)?;
    let kind = sys::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES;
    let mut value_type = sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
    let empty = sys::nvmlSample_t { timeStamp: 0, sampleValue: sys::nvmlValue_t { ullVal: 0 } };
    let samples = list(empty, |count, buffer| {
        // SAFETY: `buffer` is null or has `count` entries, and both references outlive the call.
        unsafe { call(handle(device), kind, 0, &mut value_type, count, buffer) }
    })?;
    let percent = |value: sys::nvmlValue_t| {
        // SAFETY: every field of the union is plain data of at most 8 bytes, all of which were zeroed or written.
        unsafe {
            match value_type {
                sys::nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE => value.dVal,
                sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT => f64::from(value.uiVal),
                _ => value.ullVal as f64,
            }
        }
    };
    let sample = |sample: sys::nvmlSample_t| Sample {
        at: sample.timeStamp,
        ratio: percent(sample.sampleValue) / 100.0,
    };
    Ok(samples.into_iter().map(sample).collect())
}

/// The processes that have a context on the device, from the list that this call returns.
pub(super) fn processes(device: &Device<'_>, list_of: Call) -> Result<Vec<Process>> {
    let lib = lib(device);
    let (kind, call) = match list_of {
        Call::GraphicsProcesses => {
            (ProcessKind::Graphics, symbol(&lib.nvmlDeviceGetGraphicsRunningProcesses_v3)?)
        }
        Call::MpsProcesses => {
            (ProcessKind::Compute, symbol(&lib.nvmlDeviceGetMPSComputeRunningProcesses_v3)?)
        }
        _ => (ProcessKind::Compute, symbol(&lib.nvmlDeviceGetComputeRunningProcesses_v3)?),
    };
    let empty = sys::nvmlProcessInfo_t { pid: 0, usedGpuMemory: 0, gpuInstanceId: 0, computeInstanceId: 0 };
    let listed = list(empty, |count, buffer| {
        // SAFETY: `buffer` is null or has `count` entries.
        unsafe { call(handle(device), count, buffer) }
    })?;
    Ok(listed
        .into_iter()
        .map(|process| Process { pid: process.pid, kind, memory: Some(process.usedGpuMemory) })
        .collect())
}

/// Utilisation samples of each process after `since`, in microseconds of the node's wall clock. The older call is made only
/// if the newer call fails, because the older call always returns 0 on Blackwell.
pub(super) fn process_utilization(device: &Device<'_>, since: u64) -> Result<Vec<ProcessUtilization>> {
    match newer_process_utilization(device, since) {
        Ok(utilization) => Ok(utilization),
        Err(error) if is_lost(&error) => Err(error),
        Err(_) => older_process_utilization(device, since),
    }
}

fn newer_process_utilization(device: &Device<'_>, since: u64) -> Result<Vec<ProcessUtilization>> {
    let call = symbol(&lib(device).nvmlDeviceGetProcessesUtilizationInfo)?;
    // The low bits contain the size of the structure, the bits from 24 its version 1.
    let version = size_of::<sys::nvmlProcessesUtilizationInfo_v1_t>() as u32 | 1 << 24;
    let empty = sys::nvmlProcessUtilizationInfo_v1_t {
        timeStamp: 0,
        pid: 0,
        smUtil: 0,
        memUtil: 0,
        encUtil: 0,
        decUtil: 0,
        jpgUtil: 0,
        ofaUtil: 0,
    };
    let listed = list(empty, |count, buffer| {
        let mut request = sys::nvmlProcessesUtilizationInfo_t {
            version,
            processSamplesCount: *count,
            lastSeenTimeStamp: since,
            procUtilArray: buffer,
        };
        // SAFETY: `buffer` is null or has `count` entries, and the structure outlives the call.
        let code = unsafe { call(handle(device), &mut request) };
        *count = request.processSamplesCount;
        code
    })?;
    Ok(listed
        .into_iter()
        .map(|process| {
            let [sm, encoder, decoder] = [process.smUtil, process.encUtil, process.decUtil].map(ratio);
            ProcessUtilization { pid: process.pid, at: process.timeStamp, sm, encoder, decoder }
        })
        .collect())
}

fn older_process_utilization(device: &Device<'_>, since: u64) -> Result<Vec<ProcessUtilization>> {
    let call = symbol(&lib(device).nvmlDeviceGetProcessUtilization)?;
    let empty = sys::nvmlProcessUtilizationSample_t {
        pid: 0,
        timeStamp: 0,
        smUtil: 0,
        memUtil: 0,
        encUtil: 0,
        decUtil: 0,
    };
    let listed = list(empty, |count, buffer| {
        // SAFETY: `buffer` is null or has `count` entries.
        unsafe { call(handle(device), buffer, count, since) }
    })?;
    Ok(listed
        .into_iter()
        .map(|process| {
            let [sm, encoder, decoder] = [process.smUtil, process.encUtil, process.decUtil].map(ratio);
            ProcessUtilization { pid: process.pid, at: process.timeStamp, sm, encoder, decoder }
        })
        .collect())
}

/// The encoder sessions of all processes on the device.
pub(super) fn encoder_sessions(device: &Device<'_>) -> Result<Vec<Stream>> {
    let call = symbol(&lib(device).nvmlDeviceGetEncoderSessions)?;
    // SAFETY: every field is a number.
    let empty: sys::nvmlEncoderSessionInfo_t = unsafe { mem::zeroed() };
    let listed = list(empty, |count, buffer| {
        // SAFETY: `buffer` is null or has `count` entries.
        unsafe { call(handle(device), count, buffer) }
    })?;
    let stream = |session: sys::nvmlEncoderSessionInfo_t| Stream {
        pid: pid_on_node(session.pid, session.vgpuInstance),
        codec: Some(session.codecType.into()),
        frames: session.averageFps,
        latency: session.averageLatency,
    };
    Ok(listed.into_iter().map(stream).collect())
}

/// The frame-buffer captures of all processes on the device.
pub(super) fn captures(device: &Device<'_>) -> Result<Vec<Stream>> {
    let call = symbol(&lib(device).nvmlDeviceGetFBCSessions)?;
    // SAFETY: every field is a number.
    let empty: sys::nvmlFBCSessionInfo_t = unsafe { mem::zeroed() };
    let listed = list(empty, |count, buffer| {
        // SAFETY: `buffer` is null or has `count` entries.
        unsafe { call(handle(device), count, buffer) }
    })?;
    let stream = |capture: sys::nvmlFBCSessionInfo_t| Stream {
        pid: pid_on_node(capture.pid, capture.vgpuInstance),
        codec: None,
        frames: capture.averageFPS,
        latency: capture.averageLatency,
    };
    Ok(listed.into_iter().map(stream).collect())
}

/// The PID of a session that belongs to no virtual machine. An entry with placeholders is not filled, so it names no machine.
fn pid_on_node(pid: u32, vgpu_instance: u32) -> Option<u32> {
    (vgpu_instance.known().unwrap_or_default() == 0).then_some(pid)
}

/// Version of the kernel driver.
pub(super) fn driver_version(nvml: &Nvml) -> Result<String> {
    let call = symbol(&nvml.lib().nvmlSystemGetDriverVersion)?;
    // SAFETY: the buffer has the given length.
    text(|buffer, length| unsafe { call(buffer, length) })
}

/// Version of the library.
pub(super) fn nvml_version(nvml: &Nvml) -> Result<String> {
    let call = symbol(&nvml.lib().nvmlSystemGetNVMLVersion)?;
    // SAFETY: the buffer has the given length.
    text(|buffer, length| unsafe { call(buffer, length) })
}

/// UUID of the device that has this handle now.
pub(super) fn uuid(device: &Device<'_>) -> Result<String> {
    let call = symbol(&lib(device).nvmlDeviceGetUUID)?;
    // SAFETY: the buffer has the given length.
    text(|buffer, length| unsafe { call(handle(device), buffer, length) })
}

/// Name of the device.
pub(super) fn name(device: &Device<'_>) -> Result<String> {
    let call = symbol(&lib(device).nvmlDeviceGetName)?;
    // SAFETY: the buffer has the given length.
    text(|buffer, length| unsafe { call(handle(device), buffer, length) })
}

/// `nvmlClocksThrottleReason*` bits.
pub(super) fn throttle_reasons(device: &Device<'_>) -> Result<u64> {
    let call = symbol(&lib(device).nvmlDeviceGetCurrentClocksThrottleReasons)?;
    let mut bits = 0;
    // SAFETY: the reference outlives the call.
    nvml_try(unsafe { call(handle(device), &mut bits) })?;
    Ok(bits)
}

/// ID of the GPU instance of a slice.
pub(super) fn gpu_instance(device: &Device<'_>) -> Result<u32> {
    let call = symbol(&lib(device).nvmlDeviceGetGpuInstanceId)?;
    // SAFETY: the reference outlives the call.
    number(|id| unsafe { call(handle(device), id) })
}

/// ID of the compute instance of a slice within its GPU instance.
pub(super) fn compute_instance(device: &Device<'_>) -> Result<u32> {
    let call = symbol(&lib(device).nvmlDeviceGetComputeInstanceId)?;
    // SAFETY: the reference outlives the call.
    number(|id| unsafe { call(handle(device), id) })
}

/// The frame buffer in bytes, for drivers whose newer call does not exist (before 510) or fails (`nvitop#30`). `used` includes
/// the driver's reserve.
pub(super) fn older_memory(device: &Device<'_>) -> Result<Memory> {
    let call = symbol(&lib(device).nvmlDeviceGetMemoryInfo)?;
    let mut bytes = sys::nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: the reference outlives the call.
    nvml_try(unsafe { call(handle(device), &mut bytes) })?;
    Ok(Memory { used: bytes.used, total: bytes.total })
}

/// The next Xid event of the cards that are registered in `set`. The wrapper does not return the instances.
pub(super) fn next_event<'n>(nvml: &'n Nvml, set: &EventSet<'n>, wait: Duration) -> Result<RawEvent<'n>> {
    let call = symbol(&nvml.lib().nvmlEventSetWait_v2)?;
    let mut event = sys::nvmlEventData_t {
        device: ptr::null_mut(),
        eventType: 0,
        eventData: 0,
        gpuInstanceId: 0,
        computeInstanceId: 0,
    };
    let milliseconds = wait.as_millis().max(1) as u32;
    // SAFETY: the set belongs to this library, and the reference outlives the call.
    nvml_try(unsafe { call(set.handle(), &mut event, milliseconds) })?;
    Ok(RawEvent {
        // SAFETY: the library has returned the handle.
        card: unsafe { Device::new(event.device, nvml) },
        code: event.eventData.known().filter(|code| *code != UNKNOWN_XID),
        gpu_instance: event.gpuInstanceId.known(),
        compute_instance: event.computeInstanceId.known(),
    })
}

/// Whether the error says that the device or the driver is lost. An older call fails in the same way then.
pub(super) fn is_lost(error: &NvmlError) -> bool {
    use NvmlError::{DriverNotLoaded, GpuLost, LibRmVersionMismatch, ResetRequired, Uninitialized};

    matches!(error, GpuLost | ResetRequired | Uninitialized | DriverNotLoaded | LibRmVersionMismatch)
}

/// Whether both handles belong to the same device. Handles can be compared even if the card is lost; UUIDs cannot be read then.
pub(super) fn is_same(device: &Device<'_>, other: &Device<'_>) -> bool {
    handle(device) == handle(other)
}

fn number(call: impl FnOnce(&mut u32) -> ReturnCode) -> Result<u32> {
    let mut number = 0;
    nvml_try(call(&mut number))?;
    Ok(number)
}

/// Reads a string. A string without a terminating zero is returned as an empty string.
fn text(call: impl FnOnce(*mut c_char, c_uint) -> ReturnCode) -> Result<String> {
    let mut buffer = [0; TEXT];
    nvml_try(call(buffer.as_mut_ptr().cast(), TEXT as c_uint))?;
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    Ok(text.to_str()?.to_owned())
}

/// Reads a list: requests the number of entries, then the entries. Drivers report an empty list in three forms: a count of 0
/// with success, a count of 0 with `INSUFFICIENT_SIZE`, and `NOT_FOUND`.
fn list<T: Copy>(empty: T, mut call: impl FnMut(&mut u32, *mut T) -> ReturnCode) -> Result<Vec<T>> {
    let mut count = 0;
    match call(&mut count, ptr::null_mut()) {
        sys::nvmlReturn_enum_NVML_ERROR_NOT_FOUND => return Ok(vec![]),
        sys::nvmlReturn_enum_NVML_SUCCESS | sys::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE => {}
        failed => nvml_try(failed)?,
    }
    // The driver can add entries between two calls, so a buffer that is too small is enlarged once.
    for _ in 0..2 {
        if count == 0 {
            return Ok(vec![]);
        }
        count = count.saturating_add(EXTRA_ENTRIES).min(MAX_ENTRIES);
        let mut entries = vec![empty; count as usize];
        match call(&mut count, entries.as_mut_ptr()) {
            sys::nvmlReturn_enum_NVML_ERROR_NOT_FOUND => return Ok(vec![]),
            sys::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE => {}
            code => {
                nvml_try(code)?;
                entries.truncate(count as usize);
                return Ok(entries);
            }
        }
    }
    Err(NvmlError::InsufficientSize(None))
}

/// Percent as a ratio.
pub(super) fn ratio(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}

/// The functions of the open library.
fn lib<'n>(device: &Device<'n>) -> &'n NvmlLib {
    device.nvml().lib()
}

fn handle(device: &Device<'_>) -> sys::nvmlDevice_t {
    // SAFETY: the handle is passed only to the library that returned it, and that library is open.
    unsafe { device.handle() }
}

/// The function, or an error if the library does not have it.
fn symbol<F: Copy, E: std::fmt::Display>(loaded: &std::result::Result<F, E>) -> Result<F> {
    loaded.as_ref().copied().map_err(|error| NvmlError::FailedToLoadSymbol(error.to_string()))
}

// === impl Answer ===

/// The handle of a device. A null pointer is a placeholder.
impl Answer for Device<'_> {
    fn known(self) -> Option<Self> {
        (!handle(&self).is_null()).then_some(self)
    }
}

// === impl Codec ===

impl From<sys::nvmlEncoderType_t> for Codec {
    fn from(kind: sys::nvmlEncoderType_t) -> Self {
        match kind {
            0 => Self::H264,
            1 => Self::Hevc,
            2 => Self::Av1,
            _ => Self::Other,
        }
    }
}
