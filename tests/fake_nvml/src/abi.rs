//! The symbols of the library, with the versions that nvml-wrapper loads (`nvml.h`, API 13). A symbol that is not here
//! is absent, as from an older driver. No panic leaves a call.
#![expect(unsafe_code, non_camel_case_types, reason = "this is a C library")]
#![expect(unreachable_pub, reason = "exported to C, not to Rust")]

use std::{
    env,
    ffi::{CStr, c_char, c_uint, c_ulonglong},
    fs, io,
    os::unix::fs::MetadataExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use nvml::{nvmlDevice_t, nvmlMemory_v2_t, nvmlReturn_t, nvmlUtilization_t};
use nvml_wrapper_sys::bindings as nvml;
use serde::{Deserialize, Serialize};

use crate::{Device, Process, SCENARIO, Scenario, Share};

/// Success, or the code to return.
type Answer = Result<(), nvmlReturn_t>;

/// Calls of `nvmlInit_v2` that no `nvmlShutdown` has undone.
static OPENED: AtomicUsize = AtomicUsize::new(0);
/// The complaint printed last, so that polling does not repeat it.
static COMPLAINT: Mutex<String> = Mutex::new(String::new());

/// A file's inode, time and size, and the scenario in it.
type Known = ((u64, i64, i64, u64), Arc<Scenario>);
static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

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
    nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, memory: *mut nvml::nvmlMemory_t)
        |scenario| put(memory, at(scenario, device)?.memory.map(|bytes| nvml::nvmlMemory_t {
            total: bytes.total,
            free: bytes.total.saturating_sub(bytes.reserved + bytes.used),
            used: bytes.used + bytes.reserved,
        }));
    nvmlDeviceGetEncoderUtilization(device: nvmlDevice_t, percent: *mut c_uint, period_us: *mut c_uint)
        |scenario| put(percent, at(scenario, device)?.encoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
    nvmlDeviceGetDecoderUtilization(device: nvmlDevice_t, percent: *mut c_uint, period_us: *mut c_uint)
        |scenario| put(percent, at(scenario, device)?.decoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
    nvmlDeviceGetTotalEnergyConsumption(device: nvmlDevice_t, millijoules: *mut c_ulonglong)
        |scenario| put(millijoules, at(scenario, device)?.energy_millijoules);
    nvmlDeviceGetPowerUsage(device: nvmlDevice_t, milliwatts: *mut c_uint)
        |scenario| put(milliwatts, at(scenario, device)?.power_milliwatts);
    nvmlDeviceGetTemperature(device: nvmlDevice_t, _sensor: nvml::nvmlTemperatureSensors_t, celsius: *mut c_uint)
        |scenario| put(celsius, at(scenario, device)?.temperature_celsius);
    nvmlDeviceGetClockInfo(device: nvmlDevice_t, clock: nvml::nvmlClockType_t, megahertz: *mut c_uint)
        |scenario| put(megahertz, match clock {
            nvml::nvmlClockType_enum_NVML_CLOCK_SM => at(scenario, device)?.sm_megahertz,
            nvml::nvmlClockType_enum_NVML_CLOCK_MEM => at(scenario, device)?.memory_megahertz,
            _ => None,
        });
    nvmlDeviceGetCurrentClocksThrottleReasons(device: nvmlDevice_t, reasons: *mut c_ulonglong)
        |scenario| put(reasons, at(scenario, device)?.throttle_reasons);
    nvmlDeviceGetComputeMode(device: nvmlDevice_t, mode: *mut nvml::nvmlComputeMode_t)
        |scenario| put(mode, at(scenario, device)?.compute_mode);
    nvmlDeviceGetEncoderStats(device: nvmlDevice_t, count: *mut c_uint, frames: *mut c_uint, latency: *mut c_uint)
        |scenario| put_streams(at(scenario, device)?.encoding, [count, frames, latency]);
    nvmlDeviceGetEncoderSessions(device: nvmlDevice_t, count: *mut c_uint, sessions: *mut nvml::nvmlEncoderSessionInfo_t)
        |scenario| put_list(count, sessions, at(scenario, device)?.codecs.as_ref().map(|codecs| {
            codecs.iter().map(|codec| nvml::nvmlEncoderSessionInfo_t {
                sessionId: 1, pid: 4711, vgpuInstance: 0, codecType: *codec, hResolution: 1920, vResolution: 1080,
                averageFps: 60, averageLatency: 4000,
            }).collect()
        }));
    nvmlDeviceGetFBCStats(device: nvmlDevice_t, stats: *mut nvml::nvmlFBCStats_t)
        |scenario| put(stats, at(scenario, device)?.capturing.map(|[sessions, frames, latency]| {
            nvml::nvmlFBCStats_t { sessionsCount: sessions, averageFPS: frames, averageLatency: latency }
        }));
    nvmlDeviceGetSamples(device: nvmlDevice_t, _kind: nvml::nvmlSamplingType_t, since: c_ulonglong, value_type: *mut nvml::nvmlValueType_t, count: *mut c_uint, samples: *mut nvml::nvmlSample_t)
        |scenario| put(value_type, Some(nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT))
            .and_then(|()| put_newer(count, samples, samples_since(at(scenario, device)?, since)));
    nvmlDeviceGetProcessUtilization(device: nvmlDevice_t, shares: *mut nvml::nvmlProcessUtilizationSample_t, count: *mut c_uint, since: c_ulonglong)
        |scenario| put_newer(count, shares, shares_since(at(scenario, device)?, since).map(|shares| {
            shares.map(|(at, share)| nvml::nvmlProcessUtilizationSample_t {
                pid: share.pid, timeStamp: at, smUtil: share.sm, memUtil: 0, encUtil: share.encoder, decUtil: share.decoder,
            }).collect()
        }));
    nvmlDeviceGetProcessesUtilizationInfo(device: nvmlDevice_t, asked: *mut nvml::nvmlProcessesUtilizationInfo_t)
        |scenario| put_shares(asked, at(scenario, device)?);
    nvmlDeviceGetComputeRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
        |scenario| put_processes(Symbol::nvmlDeviceGetComputeRunningProcesses_v3, count, processes, scenario, at(scenario, device)?.compute.as_deref());
    nvmlDeviceGetGraphicsRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
        |scenario| put_processes(Symbol::nvmlDeviceGetGraphicsRunningProcesses_v3, count, processes, scenario, at(scenario, device)?.graphics.as_deref());

    nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint)
        |scenario| put(count, at(scenario, device)?.mig.map(|cut| if cut { MOST_SLICES } else { 0 }));
    nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, slice: *mut nvmlDevice_t)
        |scenario| put_slice(slice, at(scenario, device)?, device, index as usize);
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice: nvmlDevice_t, device: *mut nvmlDevice_t)
        |_scenario| put(device, Some(ptr::without_provenance_mut(slice.addr() % SLICE)));
    nvmlDeviceGetGpuInstanceId(device: nvmlDevice_t, id: *mut c_uint)
        |scenario| put(id, at(scenario, device)?.gpu_instance);
    nvmlDeviceGetComputeInstanceId(device: nvmlDevice_t, id: *mut c_uint)
        |scenario| put(id, at(scenario, device)?.compute_instance);
    nvmlDeviceGetMinorNumber(device: nvmlDevice_t, minor: *mut c_uint)
        |scenario| put(minor, at(scenario, device)?.minor);

    nvmlDeviceGetSupportedEventTypes(device: nvmlDevice_t, kinds: *mut c_ulonglong)
        |scenario| put(kinds, Some(at(scenario, device)?.xids.as_ref().map_or(0, |_| XID_EVENT)));
    nvmlDeviceRegisterEvents(device: nvmlDevice_t, kinds: c_ulonglong, set: nvml::nvmlEventSet_t)
        |scenario| listen(at(scenario, device)?, device, kinds, set);
    nvmlEventSetCreate(set: *mut nvml::nvmlEventSet_t)
        |_scenario| put(set, Some(ptr::without_provenance_mut(1)));
    nvmlEventSetFree(_set: nvml::nvmlEventSet_t) |_scenario| silence();
    nvmlEventSetWait_v2(_set: nvml::nvmlEventSet_t, event: *mut nvml::nvmlEventData_t, timeout_ms: c_uint)
        |scenario| put(event, Some(next_event(scenario, timeout_ms)?));
}

/// Handles of slices are their card's, and so many times their place from 1 on it.
const SLICE: usize = 1 << 16;
const MOST_SLICES: c_uint = 7;
/// `nvmlEventTypeXidCriticalError`.
const XID_EVENT: c_ulonglong = 8;

/// Processes that end, each time that one was listed.
static LISTED: Mutex<Vec<(Symbol, u32)>> = Mutex::new(Vec::new());

/// Devices that an event set listens to, and how many of their faults it has had.
static LISTENING: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Sampling period that the encoder and decoder calls report.
const PERIOD_US: c_uint = 167_000;

#[unsafe(link_section = ".init_array")]
#[used]
static LOADED: extern "C" fn() = dawdle;
#[unsafe(link_section = ".fini_array")]
#[used]
static UNLOADED: extern "C" fn() = dawdle;

/// What a library does of its own accord. Nothing in the tests themselves, which are linked with this one.
extern "C" fn dawdle() {
    let scenario = env::var_os(SCENARIO).and_then(|path| Scenario::read(Path::new(&path)).ok());
    thread::sleep(Duration::from_millis(scenario.map_or(0, |scenario| scenario.loading_ms)));
}

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

fn current_scenario() -> Result<Arc<Scenario>, nvmlReturn_t> {
    let scenario = match env::var_os(SCENARIO) {
        Some(path) => read(Path::new(&path)).map_err(|error| error.to_string()),
        None => Err(format!("{SCENARIO} is not set: name a scenario file")),
    };
    scenario.map_err(|complaint| {
        complain(complaint);
        nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN
    })
}

/// The scenario as it was read, unless another file has taken its place since: reading costs more than the sidecar's own work.
fn read(path: &Path) -> io::Result<Arc<Scenario>> {
    let file = fs::metadata(path)?;
    let stamp = (file.ino(), file.mtime(), file.mtime_nsec(), file.size());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match known.as_ref() {
        Some((of, scenario)) if *of == stamp => Ok(Arc::clone(scenario)),
        _ => {
            let scenario = Arc::new(Scenario::read(path)?);
            *known = Some((stamp, Arc::clone(&scenario)));
            Ok(scenario)
        }
    }
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
    let (place, slice) = (handle.addr() % SLICE, handle.addr() / SLICE);
    let place = place.checked_sub(1).ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let card = scenario.devices.get(place).filter(|device| !device.lost);
    let device = match slice.checked_sub(1) {
        Some(slice) => card.and_then(|card| card.slices.get(slice)),
        None => card,
    };
    device.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

fn samples_since(device: &Device, since: u64) -> Option<Vec<nvml::nvmlSample_t>> {
    let constant = device.utilization.map_or(0, |percent| percent.gpu);
    let samples = device.samples.as_ref()?.at(now_us(), constant).into_iter().filter(|(at, _)| *at > since);
    let sample = |(at, percent)| nvml::nvmlSample_t {
        timeStamp: at,
        sampleValue: nvml::nvmlValue_t { uiVal: percent },
    };
    Some(samples.map(sample).collect())
}

fn shares_since(device: &Device, since: u64) -> Option<impl Iterator<Item = (u64, &Share)>> {
    let shares = device
        .shares
        .as_ref()?
        .iter()
        .map(|share| (share.at_us.unwrap_or_else(|| now_us() - share.age * 1_000_000), share));
    Some(shares.filter(move |(at, _)| *at > since))
}

unsafe fn put_processes(
    symbol: Symbol,
    count: *mut c_uint,
    out: *mut nvml::nvmlProcessInfo_t,
    scenario: &Scenario,
    processes: Option<&[Process]>,
) -> Answer {
    let listed = processes.map(|processes| {
        let mut times = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_there = |process: &&Process| {
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
            .filter(|process| process.lists.is_none() || is_there(process))
            .map(listed)
            .collect()
    });
    // SAFETY: as for the caller.
    unsafe { put_list(count, out, listed) }
}

fn listening() -> MutexGuard<'static, Vec<(usize, usize)>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Faults from before are not told.
fn listen(device: &Device, handle: nvmlDevice_t, kinds: c_ulonglong, set: nvml::nvmlEventSet_t) -> Answer {
    let Some(xids) = device.xids.as_ref().filter(|_| kinds == XID_EVENT && !set.is_null()) else {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    };
    listening().push((handle.addr(), xids.len()));
    Ok(())
}

fn silence() -> Answer {
    listening().clear();
    Ok(())
}

fn next_event(scenario: &Scenario, timeout_ms: c_uint) -> Result<nvml::nvmlEventData_t, nvmlReturn_t> {
    for (handle, had) in listening().iter_mut() {
        let device = ptr::without_provenance_mut(*handle);
        if let Some(xid) = at(scenario, device)?.xids.as_ref().and_then(|xids| xids.get(*had)) {
            *had += 1;
            return Ok(nvml::nvmlEventData_t {
                device,
                eventType: XID_EVENT,
                eventData: *xid,
                gpuInstanceId: u32::MAX,
                computeInstanceId: u32::MAX,
            });
        }
    }
    thread::sleep(Duration::from_millis(timeout_ms.into()));
    Err(nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT)
}

unsafe fn put_slice(out: *mut nvmlDevice_t, card: &Device, handle: nvmlDevice_t, index: usize) -> Answer {
    if index >= card.slices.len() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    }
    // SAFETY: as for the caller.
    unsafe { put(out, Some(ptr::without_provenance_mut(handle.addr() + SLICE * (index + 1)))) }
}

unsafe fn put_streams(streams: Option<[u32; 3]>, out: [*mut c_uint; 3]) -> Answer {
    for (place, out) in out.into_iter().enumerate() {
        // SAFETY: as for the caller.
        unsafe { put(out, streams.map(|streams| streams[place])) }?;
    }
    Ok(())
}

unsafe fn put_shares(asked: *mut nvml::nvmlProcessesUtilizationInfo_t, device: &Device) -> Answer {
    // SAFETY: null, or a structure that the caller has filled in.
    let asked = unsafe { asked.as_mut() }.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    if asked.version != size_of::<nvml::nvmlProcessesUtilizationInfo_t>() as c_uint | 1 << 24 {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    let shares = shares_since(device, asked.lastSeenTimeStamp).map(|shares| {
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
    // SAFETY: the array has as many entries as the structure says.
    unsafe { put_newer(&mut asked.processSamplesCount, asked.procUtilArray, shares) }
}

/// As [`put_list`]; "none" is `NOT_FOUND` here.
unsafe fn put_newer<T: Copy>(count: *mut c_uint, out: *mut T, list: Option<Vec<T>>) -> Answer {
    if list.as_ref().is_some_and(Vec::is_empty) {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    }
    // SAFETY: as for the caller.
    unsafe { put_list(count, out, list) }
}

/// Asked without room it tells the number, and with too little room too.
unsafe fn put_list<T: Copy>(count: *mut c_uint, out: *mut T, list: Option<Vec<T>>) -> Answer {
    let list = list.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
    // SAFETY: null, or the caller's number.
    let count = unsafe { count.as_mut() }.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    let room = std::mem::replace(count, list.len() as c_uint) as usize;
    if list.is_empty() {
        return Ok(());
    }
    if out.is_null() || room < list.len() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: not null, and with room for all of them by the caller's promise.
    unsafe { ptr::copy_nonoverlapping(list.as_ptr(), out, list.len()) };
    Ok(())
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
