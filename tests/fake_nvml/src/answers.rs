//! Writes answers through the caller's pointers. For each function here, pointers are null or are valid for the type in `nvml.h`.
#![expect(unsafe_code, reason = "writes through the pointers of a C caller")]

use std::{
    ffi::{CStr, c_char, c_uint},
    iter, ptr,
    sync::{Mutex, PoisonError},
};

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlMemory_v2_t};

use crate::{
    devices::{self, Called, process_utilization_since},
    playback::{self, Answer, behave},
    scenario::{Process, ProcessUtilization, Scenario},
    symbol::Symbol,
};

/// `nvmlMemory_v2`: the size of the structure and, from bit 24, its version.
const MEMORY_V2: c_uint = size_of::<nvmlMemory_v2_t>() as c_uint | 2 << 24;

/// For each list of a process that ends after some lists: the function and the process.
static LISTED: Mutex<Vec<(Symbol, u32)>> = Mutex::new(Vec::new());

pub(crate) unsafe fn put_processes(
    symbol: Symbol,
    count: *mut c_uint,
    out: *mut nvml::nvmlProcessInfo_t,
    processes: Option<&[Process]>,
) -> Answer {
    let listed = processes.map(|processes| {
        let mut lists = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_alive = |process: &&Process| {
            if !out.is_null() {
                lists.push((symbol, process.pid));
            }
            let listed = lists.iter().filter(|list| **list == (symbol, process.pid)).count();
            process.ends_after_lists.is_none_or(|most| listed <= most)
        };
        let entry = |process: &Process| nvml::nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.memory.unwrap_or(u64::MAX),
            gpuInstanceId: u32::MAX,
            computeInstanceId: u32::MAX,
        };
        processes
            .iter()
            .filter(|process| process.ends_after_lists.is_none() || is_alive(process))
            .map(entry)
            .collect()
    });
    // SAFETY: as for the caller.
    unsafe { put_list(count, out, listed) }
}

pub(crate) unsafe fn put_slice(out: *mut nvmlDevice_t, card: Called<'_>, index: usize) -> Answer {
    let slice = card.slices.get(index).filter(|slice| slice.gone.is_none());
    let handle = devices::slice_handle(card.handle, index);
    let slice = slice.filter(|slice| !slice.is_to_be_destroyed || devices::is_held(handle));
    let slice = slice.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?;
    behave(&slice.calls, Symbol::nvmlDeviceGetMigDeviceHandleByIndex, handle)?;
    // SAFETY: as for the caller.
    unsafe { put(out, Some(handle)) }?;
    devices::hold(handle);
    Ok(())
}

pub(crate) unsafe fn put_streams(streams: Option<[u32; 3]>, out: [*mut c_uint; 3]) -> Answer {
    for (index, out) in out.into_iter().enumerate() {
        // SAFETY: as for the caller.
        unsafe { put(out, streams.map(|streams| streams[index])) }?;
    }
    Ok(())
}

pub(crate) unsafe fn put_process_utilization(
    request: *mut nvml::nvmlProcessesUtilizationInfo_t,
    device: Called<'_>,
) -> Answer {
    // SAFETY: null, or a structure that the caller has filled in.
    let request = unsafe { request.as_mut() }.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    if request.version != size_of::<nvml::nvmlProcessesUtilizationInfo_t>() as c_uint | 1 << 24 {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    let samples = process_utilization_since(device, request.lastSeenTimeStamp).map(|samples| {
        let entry = |(at, sample): (u64, ProcessUtilization)| nvml::nvmlProcessUtilizationInfo_v1_t {
            timeStamp: at,
            pid: sample.pid,
            smUtil: sample.sm,
            memUtil: 0,
            encUtil: sample.encoder,
            decUtil: sample.decoder,
            jpgUtil: 0,
            ofaUtil: 0,
        };
        samples.into_iter().map(entry).collect()
    });
    // SAFETY: the array has the number of entries that the structure gives.
    unsafe { put_newer(&mut request.processSamplesCount, request.procUtilArray, samples) }
}

/// Like [`put_list`], but an empty list is `NOT_FOUND`.
pub(crate) unsafe fn put_newer<T: Copy>(count: *mut c_uint, out: *mut T, list: Option<Vec<T>>) -> Answer {
    if list.as_ref().is_some_and(Vec::is_empty) {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    }
    // SAFETY: as for the caller.
    unsafe { put_list(count, out, list) }
}

/// Copies a list. If the caller's array is null or too small, only the number of entries is written.
pub(crate) unsafe fn put_list<T: Copy>(count: *mut c_uint, out: *mut T, list: Option<Vec<T>>) -> Answer {
    let behaviour = playback::current();
    let list = list.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    let mut list: Vec<T> =
        list.into_iter().flat_map(|entry| iter::repeat_n(entry, 1 + behaviour.repeats)).collect();
    if out.is_null() {
        list.truncate(list.len().saturating_sub(behaviour.hidden_entries));
    }
    // SAFETY: null, or the caller's number.
    let count = unsafe { count.as_mut() }.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let capacity = std::mem::replace(count, list.len() as c_uint) as usize;
    if list.is_empty() {
        return Ok(());
    }
    if out.is_null() || capacity < list.len() {
        // SAFETY: the reference is valid for one number.
        unsafe { fill(count, 1) };
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller's array has `capacity` entries.
    unsafe {
        ptr::copy_nonoverlapping(list.as_ptr(), out, list.len());
        fill(out, list.len());
    }
    Ok(())
}

pub(crate) unsafe fn put_handle(out: *mut nvmlDevice_t, scenario: &Scenario, index: usize) -> Answer {
    let (index, device) =
        devices::visible(scenario).nth(index).ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let handle = devices::card_handle(index);
    behave(&device.calls, Symbol::nvmlDeviceGetHandleByIndex_v2, handle)?;
    devices::called(scenario, handle)?;
    // SAFETY: as for the caller.
    unsafe { put(out, Some(handle)) }
}

pub(crate) unsafe fn put_handle_of(
    out: *mut nvmlDevice_t,
    scenario: &Scenario,
    uuid: *const c_char,
) -> Answer {
    if uuid.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: not null, and the caller promises that it is NUL-terminated.
    let uuid = unsafe { CStr::from_ptr(uuid) }.to_str().ok();
    let index = devices::visible(scenario).position(|(_, device)| device.uuid.as_deref() == uuid);
    // SAFETY: as for the caller.
    unsafe { put_handle(out, scenario, index.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?) }
}

pub(crate) unsafe fn put_memory(out: *mut nvmlMemory_v2_t, device: Called<'_>) -> Answer {
    // SAFETY: null, or a structure in which the caller has set the version.
    if unsafe { out.as_ref() }.is_some_and(|memory| memory.version != MEMORY_V2) {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    let memory = device.memory.map(|bytes| nvmlMemory_v2_t {
        version: MEMORY_V2,
        total: bytes.total,
        reserved: bytes.reserved,
        free: bytes.free(),
        used: bytes.used,
    });
    // SAFETY: as for the caller.
    unsafe { put(out, memory) }
}

pub(crate) unsafe fn put_text(out: *mut c_char, length: c_uint, text: &Option<String>) -> Answer {
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
        fill(out, length as usize);
    }
    Ok(())
}

pub(crate) unsafe fn put<T>(out: *mut T, value: Option<T>) -> Answer {
    if out.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let value = value.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    // SAFETY: not null, and the caller promises that it points to a `T`.
    unsafe {
        out.write(value);
        fill(out, 1);
    }
    Ok(())
}

/// Overwrites an answer of `count` values, if the call's behaviour says so.
unsafe fn fill<T>(out: *mut T, count: usize) {
    if let Some(byte) = playback::current().fill {
        // SAFETY: as for the caller, who has just written these values.
        unsafe { ptr::write_bytes(out, byte, count) };
    }
}
