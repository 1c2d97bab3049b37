//! The symbols of the library, with the versions that nvml-wrapper loads (`nvml.h`, API 13). A symbol that is not here
//! is absent, as from an older driver. No panic leaves a call.
#![expect(unsafe_code, non_camel_case_types, reason = "this is a C library")]
#![expect(unreachable_pub, reason = "exported to C, not to Rust")]

use std::{
    env,
    ffi::{CStr, c_char, c_uint, c_ulonglong},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nvml::{nvmlDevice_t, nvmlMemory_v2_t, nvmlReturn_t, nvmlTemperatureSensors_t, nvmlUtilization_t};
use nvml_wrapper_sys::bindings as nvml;
use serde::{Deserialize, Serialize};

use crate::{Device, SCENARIO, Scenario};

/// Success, or the code to return.
type Answer = Result<(), nvmlReturn_t>;

/// Calls of `nvmlInit_v2` that no `nvmlShutdown` has undone.
static OPENED: AtomicUsize = AtomicUsize::new(0);
/// The complaint printed last, so that polling does not repeat it.
static COMPLAINT: Mutex<String> = Mutex::new(String::new());

/// `nvmlMemory_v2`: the size of the structure and, from bit 24, its version.
const MEMORY_V2: c_uint = size_of::<nvmlMemory_v2_t>() as c_uint | 2 << 24;

macro_rules! library {
    ($($symbol:ident($($argument:ident: $type:ty),*) |$scenario:ident| $body:expr;)*) => {
        /// The calls that the library has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
        pub enum Symbol {
            $(#[doc = concat!("`", stringify!($symbol), "`")] $symbol,)*
        }

        $(
            /// See `nvml.h`.
            ///
            /// # Safety
            /// Pointers are null or point to what `nvml.h` says.
            #[unsafe(no_mangle)]
            #[allow(unused_unsafe, reason = "two of the calls take no pointer")]
            pub unsafe extern "C" fn $symbol($($argument: $type),*) -> nvmlReturn_t {
                // SAFETY: the caller's promise is passed on to the helpers that write through the pointers.
                play(Symbol::$symbol, |$scenario| unsafe { $body })
            }
        )*
    };
}

library! {
    nvmlInit_v2() |_scenario| open();
    nvmlShutdown() |_scenario| close();

    nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint)
        |scenario| put_text(version, length, &scenario.driver_version);
    nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint)
        |scenario| put_text(version, length, &scenario.nvml_version);

    nvmlDeviceGetCount_v2(count: *mut c_uint)
        |scenario| put(count, Some(scenario.devices.len() as c_uint));
    nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t)
        |scenario| put_handle(device, scenario, index as usize);
    nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t)
        |scenario| put_handle_of(device, scenario, uuid);

    nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint)
        |scenario| put_text(uuid, length, &at(scenario, device)?.uuid);
    nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint)
        |scenario| put_text(name, length, &at(scenario, device)?.name);
    nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint)
        |scenario| put(current, at(scenario, device)?.mig.map(c_uint::from))
            .and_then(|()| put(pending, at(scenario, device)?.mig.map(c_uint::from)));
    nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, utilization: *mut nvmlUtilization_t)
        |scenario| put(utilization, at(scenario, device)?.utilization.map(|percent| {
            nvmlUtilization_t { gpu: percent.gpu, memory: percent.memory }
        }));
    nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, memory: *mut nvmlMemory_v2_t)
        |scenario| put_memory(memory, at(scenario, device)?);
    nvmlDeviceGetEncoderUtilization(device: nvmlDevice_t, percent: *mut c_uint, period_us: *mut c_uint)
        |scenario| put(percent, at(scenario, device)?.encoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
    nvmlDeviceGetDecoderUtilization(device: nvmlDevice_t, percent: *mut c_uint, period_us: *mut c_uint)
        |scenario| put(percent, at(scenario, device)?.decoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
    nvmlDeviceGetTotalEnergyConsumption(device: nvmlDevice_t, millijoules: *mut c_ulonglong)
        |scenario| put(millijoules, at(scenario, device)?.energy_millijoules);
    nvmlDeviceGetPowerUsage(device: nvmlDevice_t, milliwatts: *mut c_uint)
        |scenario| put(milliwatts, at(scenario, device)?.power_milliwatts);
    nvmlDeviceGetTemperature(device: nvmlDevice_t, _sensor: nvmlTemperatureSensors_t, celsius: *mut c_uint)
        |scenario| put(celsius, at(scenario, device)?.temperature_celsius);
}

/// Sampling period that the encoder and decoder calls report.
const PERIOD_US: c_uint = 167_000;

/// Plays one call: the scenario as it is now, the delay, the failure or the answer.
fn play(symbol: Symbol, answer: impl FnOnce(&Scenario) -> Answer) -> nvmlReturn_t {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let scenario = current_scenario()?;
        let behaviour = scenario.calls.get(&symbol).copied().unwrap_or_default();
        thread::sleep(Duration::from_millis(behaviour.delay_ms));
        if let Some(code) = behaviour.returns {
            return Err(code);
        }
        if symbol != Symbol::nvmlInit_v2 && OPENED.load(Ordering::SeqCst) == 0 {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
        }
        answer(&scenario)
    }));
    match played {
        Ok(Ok(())) => nvml::nvmlReturn_enum_NVML_SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN,
    }
}

fn current_scenario() -> Result<Scenario, nvmlReturn_t> {
    let scenario = match env::var_os(SCENARIO) {
        Some(path) => Scenario::read(Path::new(&path)).map_err(|error| error.to_string()),
        None => Err(format!("{SCENARIO} is not set: name a scenario file")),
    };
    scenario.map_err(|complaint| {
        complain(complaint);
        nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN
    })
}

#[expect(clippy::print_stderr, reason = "a C library has no other way to say it")]
fn complain(complaint: String) {
    let mut last = COMPLAINT.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != complaint {
        eprintln!("fake_nvml: {complaint}");
        *last = complaint;
    }
}

fn open() -> Answer {
    OPENED.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

fn close() -> Answer {
    OPENED.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

/// Handles are the place in the list, counted from 1. A device that has left the list is lost.
fn at(scenario: &Scenario, handle: nvmlDevice_t) -> Result<&Device, nvmlReturn_t> {
    let device = handle.addr().checked_sub(1).ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let device = scenario.devices.get(device).filter(|device| !device.lost);
    device.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST)
}

unsafe fn put_handle(out: *mut nvmlDevice_t, scenario: &Scenario, index: usize) -> Answer {
    if index >= scenario.devices.len() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let handle = ptr::without_provenance_mut(index + 1);
    at(scenario, handle)?;
    // SAFETY: as for the caller.
    unsafe { put(out, Some(handle)) }
}

unsafe fn put_handle_of(out: *mut nvmlDevice_t, scenario: &Scenario, uuid: *const c_char) -> Answer {
    if uuid.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: not null, so NUL-terminated by the caller's promise.
    let uuid = unsafe { CStr::from_ptr(uuid) }.to_str().ok();
    let index = scenario.devices.iter().position(|device| device.uuid.as_deref() == uuid);
    // SAFETY: as for the caller.
    unsafe { put_handle(out, scenario, index.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?) }
}

unsafe fn put_memory(out: *mut nvmlMemory_v2_t, device: &Device) -> Answer {
    // SAFETY: null, or a structure whose first word the caller has set.
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
    // SAFETY: as for the caller.
    unsafe { put(out, memory) }
}

unsafe fn put_text(out: *mut c_char, length: c_uint, text: &Option<String>) -> Answer {
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

unsafe fn put<T>(out: *mut T, value: Option<T>) -> Answer {
    if out.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let value = value.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    // SAFETY: not null, so it points to room for a `T` by the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}
