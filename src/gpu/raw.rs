//! The one door for NVML calls that nvml_wrapper lacks or cannot make safely.
//!
//! The wrapper has no newer per-process utilisation, no older memory call and no instance ids, fails on a card whose
//! neighbour encodes AV1, and allocates as many entries as the driver names: here no list is longer than [`MOST`].
#![expect(unsafe_code, reason = "calls into the driver's library")]

use std::ptr;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_try},
};
use nvml_wrapper_sys::bindings::{self as sys, NvmlLib};

use super::{Codec, Memory, Process, ProcessKind, ProcessUtilization, Sample};

/// Most entries that are taken of any list. The driver keeps about 100 samples; a card with more processes than this
/// has no single user.
const MOST: u32 = 1024;

/// As many entries more as may have come since the driver was asked for their number.
const ROOM: u32 = 8;

type Result<T> = std::result::Result<T, NvmlError>;
type Code = sys::nvmlReturn_t;

/// The utilisation samples newer than `since`, in microseconds; 0 is all of them.
pub(super) fn samples(device: &Device<'_>, since: u64) -> Result<Vec<Sample>> {
    let call = symbol(&lib(device).nvmlDeviceGetSamples)?;
    let kind = sys::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES;
    let mut value_type = sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
    let empty = sys::nvmlSample_t { timeStamp: 0, sampleValue: sys::nvmlValue_t { ullVal: 0 } };
    let samples = list(empty, |count, room| {
        // SAFETY: `room` is null or has `count` entries, and both references outlive the call.
        unsafe { call(handle(device), kind, since, &mut value_type, count, room) }
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
    let tick = |sample: sys::nvmlSample_t| Sample {
        at: sample.timeStamp,
        ratio: percent(sample.sampleValue) / 100.0,
    };
    Ok(samples.into_iter().map(tick).collect())
}

/// The processes with a context of one kind.
pub(super) fn processes(device: &Device<'_>, kind: ProcessKind) -> Result<Vec<Process>> {
    let call = match kind {
        ProcessKind::Compute => symbol(&lib(device).nvmlDeviceGetComputeRunningProcesses_v3)?,
        ProcessKind::Graphics => symbol(&lib(device).nvmlDeviceGetGraphicsRunningProcesses_v3)?,
    };
    let empty = sys::nvmlProcessInfo_t { pid: 0, usedGpuMemory: 0, gpuInstanceId: 0, computeInstanceId: 0 };
    let found = list(empty, |count, room| {
        // SAFETY: `room` is null or has `count` entries.
        unsafe { call(handle(device), count, room) }
    })?;
    Ok(found
        .into_iter()
        .map(|process| Process {
            pid: process.pid,
            kind,
            // `NVML_VALUE_NOT_AVAILABLE`: all bits set.
            memory: Some(process.usedGpuMemory).filter(|bytes| *bytes != u64::MAX),
        })
        .collect())
}

/// What each process had of the device since `since`: by the newer call, else by the one that is always 0 on Blackwell.
pub(super) fn shares(device: &Device<'_>, since: u64) -> Result<Vec<ProcessUtilization>> {
    match newer_shares(device, since) {
        Ok(shares) => Ok(shares),
        Err(gone @ (NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::Uninitialized)) => Err(gone),
        Err(_) => older_shares(device, since),
    }
}

fn newer_shares(device: &Device<'_>, since: u64) -> Result<Vec<ProcessUtilization>> {
    let call = symbol(&lib(device).nvmlDeviceGetProcessesUtilizationInfo)?;
    // The structure's size and, from bit 24, its version 1.
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
    let found = list(empty, |count, room| {
        let mut asked = sys::nvmlProcessesUtilizationInfo_t {
            version,
            processSamplesCount: *count,
            lastSeenTimeStamp: since,
            procUtilArray: room,
        };
        // SAFETY: `room` is null or has `count` entries, and the structure outlives the call.
        let code = unsafe { call(handle(device), &mut asked) };
        *count = asked.processSamplesCount;
        code
    })?;
    Ok(found
        .into_iter()
        .map(|share| {
            let [sm, encoder, decoder] = [share.smUtil, share.encUtil, share.decUtil].map(ratio);
            ProcessUtilization { pid: share.pid, at: share.timeStamp, sm, encoder, decoder }
        })
        .collect())
}

fn older_shares(device: &Device<'_>, since: u64) -> Result<Vec<ProcessUtilization>> {
    let call = symbol(&lib(device).nvmlDeviceGetProcessUtilization)?;
    let empty = sys::nvmlProcessUtilizationSample_t {
        pid: 0,
        timeStamp: 0,
        smUtil: 0,
        memUtil: 0,
        encUtil: 0,
        decUtil: 0,
    };
    let found = list(empty, |count, room| {
        // SAFETY: `room` is null or has `count` entries.
        unsafe { call(handle(device), room, count, since) }
    })?;
    Ok(found
        .into_iter()
        .map(|share| {
            let [sm, encoder, decoder] = [share.smUtil, share.encUtil, share.decUtil].map(ratio);
            ProcessUtilization { pid: share.pid, at: share.timeStamp, sm, encoder, decoder }
        })
        .collect())
}

/// Encoder sessions by codec, whatever the codec. Their process ids are the host's, so nobody can say whose they are.
pub(super) fn codecs(device: &Device<'_>) -> Result<Vec<(Codec, u32)>> {
    let call = symbol(&lib(device).nvmlDeviceGetEncoderSessions)?;
    let empty = sys::nvmlEncoderSessionInfo_t {
        sessionId: 0,
        pid: 0,
        vgpuInstance: 0,
        codecType: 0,
        hResolution: 0,
        vResolution: 0,
        averageFps: 0,
        averageLatency: 0,
    };
    let sessions = list(empty, |count, room| {
        // SAFETY: `room` is null or has `count` entries.
        unsafe { call(handle(device), count, room) }
    })?;
    let made_by =
        |codec| sessions.iter().filter(|session| Codec::from(session.codecType) == codec).count() as u32;
    let counted = [Codec::H264, Codec::Hevc, Codec::Av1, Codec::Other].map(|codec| (codec, made_by(codec)));
    Ok(counted.into_iter().filter(|(_, count)| *count > 0).collect())
}

/// The number of a slice on its card.
pub(super) fn gpu_instance(device: &Device<'_>) -> Result<u32> {
    let call = symbol(&lib(device).nvmlDeviceGetGpuInstanceId)?;
    // SAFETY: the reference outlives the call.
    number(|id| unsafe { call(handle(device), id) })
}

/// The number of a slice on its GPU instance.
pub(super) fn compute_instance(device: &Device<'_>) -> Result<u32> {
    let call = symbol(&lib(device).nvmlDeviceGetComputeInstanceId)?;
    // SAFETY: the reference outlives the call.
    number(|id| unsafe { call(handle(device), id) })
}

/// The frame buffer as libraries before 510 give it: what is used has the driver's reserve in it.
pub(super) fn older_memory(device: &Device<'_>) -> Result<Memory> {
    let call = symbol(&lib(device).nvmlDeviceGetMemoryInfo)?;
    let mut bytes = sys::nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: the reference outlives the call.
    nvml_try(unsafe { call(handle(device), &mut bytes) })?;
    Ok(Memory { used: bytes.used, total: bytes.total })
}

/// Whether both are one device of the open library. Unlike a UUID that can be told of a card that is lost.
pub(super) fn are_one(device: &Device<'_>, other: &Device<'_>) -> bool {
    handle(device) == handle(other)
}

fn number(call: impl FnOnce(&mut u32) -> Code) -> Result<u32> {
    let mut number = 0;
    nvml_try(call(&mut number))?;
    Ok(number)
}

/// Asks for the number of entries, then for the entries. "None" has three spellings: a count of 0, with success or as too
/// small a room, and `NOT_FOUND`.
fn list<T: Copy>(empty: T, mut call: impl FnMut(&mut u32, *mut T) -> Code) -> Result<Vec<T>> {
    let mut count = 0;
    match call(&mut count, ptr::null_mut()) {
        sys::nvmlReturn_enum_NVML_ERROR_NOT_FOUND => return Ok(vec![]),
        sys::nvmlReturn_enum_NVML_SUCCESS | sys::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE => {}
        failed => nvml_try(failed)?,
    }
    // More may have come between the two calls, and once more.
    for _ in 0..2 {
        if count == 0 {
            return Ok(vec![]);
        }
        count = count.saturating_add(ROOM).min(MOST);
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

fn ratio(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}

fn lib<'n>(device: &Device<'n>) -> &'n NvmlLib {
    device.nvml().lib()
}

fn handle(device: &Device<'_>) -> sys::nvmlDevice_t {
    // SAFETY: the handle is only passed to the library that gave it, while that is open.
    unsafe { device.handle() }
}

fn symbol<F: Copy, E: std::fmt::Display>(loaded: &std::result::Result<F, E>) -> Result<F> {
    loaded.as_ref().copied().map_err(|error| NvmlError::FailedToLoadSymbol(error.to_string()))
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
