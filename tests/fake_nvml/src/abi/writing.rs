//! Reads a device's values from the scenario and writes them through the caller's pointers.

use std::{
    ffi::{CStr, c_char, c_uint},
    ptr,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use nvml::{nvmlDevice_t, nvmlMemory_v2_t, nvmlReturn_t};
use nvml_wrapper_sys::bindings as nvml;

use super::Symbol;
use crate::{Device, Process, Scenario, Share};

/// Success, or the return code of the failure.
pub(super) type Answer = Result<(), nvmlReturn_t>;

/// `nvmlMemory_v2`: the size of the structure and, from bit 24, its version.
const MEMORY_V2: c_uint = size_of::<nvmlMemory_v2_t>() as c_uint | 2 << 24;

/// The handle of a slice is its card's handle plus a multiple of this number: the slice's index on the card, counted from 1.
pub(super) const SLICE: usize = 1 << 16;

/// The processes with a limited number of listings: one entry per listing.
static LISTED: Mutex<Vec<(Symbol, u32)>> = Mutex::new(Vec::new());

/// The device of a handle. A card's handle is its index in the list, counted from 1. A device that is no longer in the list is
/// lost.
pub(super) fn at(scenario: &Scenario, handle: nvmlDevice_t) -> Result<&Device, nvmlReturn_t> {
    let (number, slice) = (handle.addr() % SLICE, handle.addr() / SLICE);
    let index = number.checked_sub(1).ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let card = scenario.devices.get(index).filter(|device| !device.lost);
    let device = match slice.checked_sub(1) {
        Some(slice) => card.and_then(|card| card.slices.get(slice)),
        None => card,
    };
    device.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

pub(super) fn newer_samples(device: &Device, since: u64) -> Option<Vec<nvml::nvmlSample_t>> {
    let constant = device.utilization.map_or(0, |percent| percent.gpu);
    let samples = device.samples.as_ref()?.at(now_us(), constant).into_iter().filter(|(at, _)| *at > since);
    let sample = |(at, percent)| nvml::nvmlSample_t {
        timeStamp: at,
        sampleValue: nvml::nvmlValue_t { uiVal: percent },
    };
    Some(samples.map(sample).collect())
}

pub(super) fn newer_process_utilization(
    device: &Device,
    since: u64,
) -> Option<impl Iterator<Item = (u64, &Share)>> {
    let shares = device
        .shares
        .as_ref()?
        .iter()
        .map(|share| (share.at_us.unwrap_or_else(|| now_us() - share.age * 1_000_000), share));
    Some(shares.filter(move |(at, _)| *at > since))
}

pub(super) unsafe fn put_processes(
    symbol: Symbol,
    count: *mut c_uint,
    out: *mut nvml::nvmlProcessInfo_t,
    scenario: &Scenario,
    processes: Option<&[Process]>,
) -> Answer {
    let listed = processes.map(|processes| {
        let mut times = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut still_runs = |process: &&Process| {
            if !out.is_null() {
                times.push((symbol, process.pid));
            }
            let listed = times.iter().filter(|time| **time == (symbol, process.pid)).count();
            process.lists.is_none_or(|lists| listed <= lists)
        };
        let listed = |process: &Process| nvml::nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.memory.unwrap_or(u64::MAX),
            gpuInstanceId: u32::MAX,
            computeInstanceId: u32::MAX,
        };
        let hidden =
            scenario.calls.get(&symbol).filter(|_| out.is_null()).map_or(0, |behaviour| behaviour.hides);
        let shown = processes.len().saturating_sub(hidden as usize);
        processes[..shown]
            .iter()
            .filter(|process| process.lists.is_none() || still_runs(process))
            .map(listed)
            .collect()
    });
    // SAFETY: the caller has the same guarantee.
    unsafe { put_list(count, out, listed) }
}

pub(super) unsafe fn put_slice(
    out: *mut nvmlDevice_t,
    card: &Device,
    handle: nvmlDevice_t,
    index: usize,
) -> Answer {
    if index >= card.slices.len() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    }
    // SAFETY: the caller has the same guarantee.
    unsafe { put(out, Some(ptr::without_provenance_mut(handle.addr() + SLICE * (index + 1)))) }
}

pub(super) unsafe fn put_streams(streams: Option<[u32; 3]>, out: [*mut c_uint; 3]) -> Answer {
    for (index, out) in out.into_iter().enumerate() {
        // SAFETY: the caller has the same guarantee.
        unsafe { put(out, streams.map(|streams| streams[index])) }?;
    }
    Ok(())
}

pub(super) unsafe fn put_process_utilization(
    request: *mut nvml::nvmlProcessesUtilizationInfo_t,
    device: &Device,
) -> Answer {
    // SAFETY: null, or a structure that the caller has filled in.
    let request = unsafe { request.as_mut() }.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    if request.version != size_of::<nvml::nvmlProcessesUtilizationInfo_t>() as c_uint | 1 << 24 {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    let shares = newer_process_utilization(device, request.lastSeenTimeStamp).map(|shares| {
        let share = |(at, share): (u64, &Share)| nvml::nvmlProcessUtilizationInfo_v1_t {
            timeStamp: at,
            pid: share.pid,
            smUtil: share.sm,
            memUtil: 0,
            encUtil: share.encoder,
            decUtil: share.decoder,
            jpgUtil: 0,
            ofaUtil: 0,
        };
        shares.map(share).collect()
    });
    // SAFETY: the array has the number of entries in the structure.
    unsafe { put_newer(&mut request.processSamplesCount, request.procUtilArray, shares) }
}

/// Like [`put_list`], but an empty list is `NOT_FOUND`.
pub(super) unsafe fn put_newer<T: Copy>(count: *mut c_uint, out: *mut T, list: Option<Vec<T>>) -> Answer {
    if list.as_ref().is_some_and(Vec::is_empty) {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    }
    // SAFETY: the caller has the same guarantee.
    unsafe { put_list(count, out, list) }
}

/// Writes a list. If the caller's array is missing or too small, only the number of entries is written.
pub(super) unsafe fn put_list<T: Copy>(count: *mut c_uint, out: *mut T, list: Option<Vec<T>>) -> Answer {
    let list = list.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    // SAFETY: null, or a valid number of the caller.
    let count = unsafe { count.as_mut() }.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let capacity = std::mem::replace(count, list.len() as c_uint) as usize;
    if list.is_empty() {
        return Ok(());
    }
    if out.is_null() || capacity < list.len() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: not null, and large enough by the caller's guarantee.
    unsafe { ptr::copy_nonoverlapping(list.as_ptr(), out, list.len()) };
    Ok(())
}

pub(super) unsafe fn put_handle(out: *mut nvmlDevice_t, scenario: &Scenario, index: usize) -> Answer {
    if index >= scenario.devices.len() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let handle = ptr::without_provenance_mut(index + 1);
    at(scenario, handle)?;
    // SAFETY: the caller has the same guarantee.
    unsafe { put(out, Some(handle)) }
}

pub(super) unsafe fn put_handle_by_uuid(
    out: *mut nvmlDevice_t,
    scenario: &Scenario,
    uuid: *const c_char,
) -> Answer {
    if uuid.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: not null, so NUL-terminated by the caller's guarantee.
    let uuid = unsafe { CStr::from_ptr(uuid) }.to_str().ok();
    let index = scenario.devices.iter().position(|device| device.uuid.as_deref() == uuid);
    // SAFETY: the caller has the same guarantee.
    unsafe { put_handle(out, scenario, index.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?) }
}

pub(super) unsafe fn put_memory(out: *mut nvmlMemory_v2_t, device: &Device) -> Answer {
    // SAFETY: null, or a structure whose `version` the caller has set.
    if unsafe { out.as_ref() }.is_some_and(|memory| memory.version != MEMORY_V2) {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    let memory = device.memory.map(|bytes| nvmlMemory_v2_t {
        version: MEMORY_V2,
        total: bytes.total,
        reserved: bytes.reserved,
        free: bytes.total.saturating_sub(bytes.reserved + bytes.used),
        used: bytes.used,
    });
    // SAFETY: the caller has the same guarantee.
    unsafe { put(out, memory) }
}

pub(super) unsafe fn put_text(out: *mut c_char, length: c_uint, text: &Option<String>) -> Answer {
    let text = text.as_deref().ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    if out.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: `length` bytes at `out` are the caller's buffer, and text and NUL fit.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr().cast(), out, text.len());
        out.add(text.len()).write(0);
    }
    Ok(())
}

pub(super) unsafe fn put<T>(out: *mut T, value: Option<T>) -> Answer {
    if out.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let value = value.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    // SAFETY: not null, so valid for writing a `T` by the caller's guarantee.
    unsafe { out.write(value) };
    Ok(())
}
