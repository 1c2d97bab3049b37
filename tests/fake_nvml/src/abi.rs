//! The symbols of the library, with the versions that nvml-wrapper loads (`nvml.h`, API 13). A missing symbol is absent from the
//! library, as in an older driver. No panic leaves a call.
#![expect(unsafe_code, non_camel_case_types, reason = "this is a C library")]
#![expect(unreachable_pub, reason = "exported to C, not to Rust")]

mod playing;
mod writing;

use std::{
    env,
    ffi::{c_char, c_uint, c_ulonglong},
    path::Path,
    ptr, thread,
    time::Duration,
};

use nvml::{nvmlDevice_t, nvmlMemory_v2_t, nvmlReturn_t, nvmlUtilization_t};
use nvml_wrapper_sys::bindings as nvml;
use serde::{Deserialize, Serialize};

use crate::{SCENARIO, Scenario};

use playing::{close, create_listener, next_event, open, play, stop_listening};
use writing::{
    SLICE, at, newer_process_utilization, newer_samples, put, put_handle, put_handle_by_uuid, put_list,
    put_memory, put_newer, put_process_utilization, put_processes, put_slice, put_streams, put_text,
};

macro_rules! library {
    ($($symbol:ident($($argument:ident: $type:ty),*) |$scenario:ident| $body:expr;)*) => {
        /// The functions of the library.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
        pub enum Symbol {
            $(#[doc = concat!("`", stringify!($symbol), "`")] $symbol,)*
        }

        $(
            /// See `nvml.h`.
            ///
            /// # Safety
            /// Each pointer is null or valid for the type in `nvml.h`.
            #[unsafe(no_mangle)]
            #[allow(unused_unsafe, reason = "two of the functions have no pointer")]
            pub unsafe extern "C" fn $symbol($($argument: $type),*) -> nvmlReturn_t {
                // SAFETY: the helpers that write through the pointers have the caller's guarantee.
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
        |scenario| put_handle_by_uuid(device, scenario, uuid);

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
            .and_then(|()| put_newer(count, samples, newer_samples(at(scenario, device)?, since)));
    nvmlDeviceGetProcessUtilization(device: nvmlDevice_t, samples: *mut nvml::nvmlProcessUtilizationSample_t, count: *mut c_uint, since: c_ulonglong)
        |scenario| put_newer(count, samples, newer_process_utilization(at(scenario, device)?, since).map(|newer| {
            newer.map(|(at, process)| nvml::nvmlProcessUtilizationSample_t {
                pid: process.pid, timeStamp: at, smUtil: process.sm, memUtil: 0, encUtil: process.encoder, decUtil: process.decoder,
            }).collect()
        }));
    nvmlDeviceGetProcessesUtilizationInfo(device: nvmlDevice_t, request: *mut nvml::nvmlProcessesUtilizationInfo_t)
        |scenario| put_process_utilization(request, at(scenario, device)?);
    nvmlDeviceGetComputeRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
        |scenario| put_processes(Symbol::nvmlDeviceGetComputeRunningProcesses_v3, count, processes, scenario, at(scenario, device)?.compute.as_deref());
    nvmlDeviceGetGraphicsRunningProcesses_v3(device: nvmlDevice_t, count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
        |scenario| put_processes(Symbol::nvmlDeviceGetGraphicsRunningProcesses_v3, count, processes, scenario, at(scenario, device)?.graphics.as_deref());

    nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint)
        |scenario| put(count, at(scenario, device)?.mig.map(|enabled| if enabled { MAX_SLICES } else { 0 }));
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
        |scenario| create_listener(at(scenario, device)?, device, kinds, set);
    nvmlEventSetCreate(set: *mut nvml::nvmlEventSet_t)
        |_scenario| put(set, Some(ptr::without_provenance_mut(1)));
    nvmlEventSetFree(_set: nvml::nvmlEventSet_t) |_scenario| stop_listening();
    nvmlEventSetWait_v2(_set: nvml::nvmlEventSet_t, event: *mut nvml::nvmlEventData_t, timeout_ms: c_uint)
        |scenario| put(event, Some(next_event(scenario, timeout_ms)?));
}

/// Maximum number of slices of a card.
const MAX_SLICES: c_uint = 7;
/// `nvmlEventTypeXidCriticalError`.
const XID_EVENT: c_ulonglong = 8;

/// The sampling period that the encoder and decoder functions report.
const PERIOD_US: c_uint = 167_000;

#[unsafe(link_section = ".init_array")]
#[used]
static LOADED: extern "C" fn() = delay;
#[unsafe(link_section = ".fini_array")]
#[used]
static UNLOADED: extern "C" fn() = delay;

/// Delays the loading and unloading of the library by the scenario's time. The tests are linked with this library too; without the
/// variable there is no delay.
extern "C" fn delay() {
    let scenario = env::var_os(SCENARIO).and_then(|path| Scenario::read(Path::new(&path)).ok());
    thread::sleep(Duration::from_millis(scenario.map_or(0, |scenario| scenario.loading_ms)));
}
