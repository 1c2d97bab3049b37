//! The functions of the library, in the versions that nvml-wrapper loads (`nvml.h`, API 13). A function that is not here is
//! absent, as from an older driver. No panic leaves a call.
#![expect(unsafe_code, reason = "this is a C library")]
#![expect(unreachable_pub, reason = "exported to C, not to Rust")]

use std::{
    ffi::{c_char, c_uint, c_ulonglong},
    ptr,
};

use nvml::{nvmlDevice_t, nvmlMemory_v2_t, nvmlReturn_t, nvmlUtilization_t};
use nvml_wrapper_sys::bindings as nvml;

use crate::{
    answers::{
        put, put_handle, put_handle_of, put_list, put_memory, put_newer, put_process_utilization,
        put_processes, put_slice, put_streams, put_text,
    },
    devices::{card_of, device, process_utilization_since, samples_since},
    events::{XID_EVENT, listen, next_event, stop_listening},
    playback::{init, play, shut_down},
    symbol::Symbol,
};

macro_rules! library {
    ($($symbol:ident($($argument:ident: $type:ty),*) |$scenario:ident| $body:expr;)*) => {
        const _: () = assert!([$(Symbol::$symbol),*].len() == Symbol::COUNT, "a symbol has no function");

        $(
            /// See `nvml.h`.
            ///
            /// # Safety
            /// Pointers are null or are valid for the type in `nvml.h`.
            #[unsafe(no_mangle)]
            #[allow(unused_unsafe, reason = "some functions take no pointer")]
            pub unsafe extern "C" fn $symbol($($argument: $type),*) -> nvmlReturn_t {
                // SAFETY: the caller's guarantee is what the functions of `answers` need.
                play(Symbol::$symbol, |$scenario| unsafe { $body })
            }
        )*
    };
}

library! {
    nvmlInit_v2() |_scenario| init();
    nvmlShutdown() |_scenario| shut_down();

    nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint)
        |scenario| put_text(version, length, &scenario.driver_version);
    nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint)
        |scenario| put_text(version, length, &scenario.nvml_version);

    nvmlDeviceGetCount_v2(count: *mut c_uint)
        |scenario| put(count, Some(scenario.devices.len() as c_uint));
    nvmlDeviceGetHandleByIndex_v2(index: c_uint, handle: *mut nvmlDevice_t)
        |scenario| put_handle(handle, scenario, index as usize);
    nvmlDeviceGetHandleByUUID(uuid: *const c_char, handle: *mut nvmlDevice_t)
        |scenario| put_handle_of(handle, scenario, uuid);

    nvmlDeviceGetUUID(handle: nvmlDevice_t, uuid: *mut c_char, length: c_uint)
        |scenario| put_text(uuid, length, &device(scenario, handle)?.uuid);
    nvmlDeviceGetName(handle: nvmlDevice_t, name: *mut c_char, length: c_uint)
        |scenario| put_text(name, length, &device(scenario, handle)?.name);
    nvmlDeviceGetMigMode(handle: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint)
        |scenario| put(current, device(scenario, handle)?.mig.map(c_uint::from))
            .and_then(|()| put(pending, device(scenario, handle)?.mig.map(c_uint::from)));
    nvmlDeviceGetUtilizationRates(handle: nvmlDevice_t, utilization: *mut nvmlUtilization_t)
        |scenario| put(utilization, device(scenario, handle)?.utilization.map(|percent| {
            nvmlUtilization_t { gpu: percent.gpu, memory: percent.memory }
        }));
    nvmlDeviceGetMemoryInfo_v2(handle: nvmlDevice_t, memory: *mut nvmlMemory_v2_t)
        |scenario| put_memory(memory, device(scenario, handle)?);
    nvmlDeviceGetMemoryInfo(handle: nvmlDevice_t, memory: *mut nvml::nvmlMemory_t)
        |scenario| put(memory, device(scenario, handle)?.memory.map(|bytes| nvml::nvmlMemory_t {
            total: bytes.total,
            free: bytes.total.saturating_sub(bytes.reserved + bytes.used),
            used: bytes.used + bytes.reserved,
        }));
    nvmlDeviceGetEncoderUtilization(handle: nvmlDevice_t, percent: *mut c_uint, period_us: *mut c_uint)
        |scenario| put(percent, device(scenario, handle)?.encoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
    nvmlDeviceGetDecoderUtilization(handle: nvmlDevice_t, percent: *mut c_uint, period_us: *mut c_uint)
        |scenario| put(percent, device(scenario, handle)?.decoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
    nvmlDeviceGetTotalEnergyConsumption(handle: nvmlDevice_t, millijoules: *mut c_ulonglong)
        |scenario| put(millijoules, device(scenario, handle)?.energy_millijoules);
    nvmlDeviceGetPowerUsage(handle: nvmlDevice_t, milliwatts: *mut c_uint)
        |scenario| put(milliwatts, device(scenario, handle)?.power_milliwatts);
    nvmlDeviceGetTemperature(handle: nvmlDevice_t, _sensor: nvml::nvmlTemperatureSensors_t, celsius: *mut c_uint)
        |scenario| put(celsius, device(scenario, handle)?.temperature_celsius);
    nvmlDeviceGetClockInfo(handle: nvmlDevice_t, clock: nvml::nvmlClockType_t, megahertz: *mut c_uint)
        |scenario| put(megahertz, match clock {
            nvml::nvmlClockType_enum_NVML_CLOCK_SM => device(scenario, handle)?.sm_megahertz,
            nvml::nvmlClockType_enum_NVML_CLOCK_MEM => device(scenario, handle)?.memory_megahertz,
            _ => None,
        });
    nvmlDeviceGetCurrentClocksThrottleReasons(handle: nvmlDevice_t, reasons: *mut c_ulonglong)
        |scenario| put(reasons, device(scenario, handle)?.throttle_reasons);
    nvmlDeviceGetComputeMode(handle: nvmlDevice_t, mode: *mut nvml::nvmlComputeMode_t)
        |scenario| put(mode, device(scenario, handle)?.compute_mode);
    nvmlDeviceGetEncoderStats(handle: nvmlDevice_t, count: *mut c_uint, frames: *mut c_uint, latency: *mut c_uint)
        |scenario| put_streams(device(scenario, handle)?.encoding, [count, frames, latency]);
    nvmlDeviceGetEncoderSessions(handle: nvmlDevice_t, count: *mut c_uint, sessions: *mut nvml::nvmlEncoderSessionInfo_t)
        |scenario| put_list(count, sessions, device(scenario, handle)?.codecs.as_ref().map(|codecs| {
            codecs.iter().map(|codec| nvml::nvmlEncoderSessionInfo_t {
                sessionId: 1, pid: 4711, vgpuInstance: 0, codecType: *codec, hResolution: 1920, vResolution: 1080,
                averageFps: 60, averageLatency: 4000,
            }).collect()
        }));
    nvmlDeviceGetFBCStats(handle: nvmlDevice_t, stats: *mut nvml::nvmlFBCStats_t)
        |scenario| put(stats, device(scenario, handle)?.capturing.map(|[sessions, frames, latency]| {
            nvml::nvmlFBCStats_t { sessionsCount: sessions, averageFPS: frames, averageLatency: latency }
        }));
    nvmlDeviceGetSamples(handle: nvmlDevice_t, _kind: nvml::nvmlSamplingType_t, since: c_ulonglong, value_type: *mut nvml::nvmlValueType_t, count: *mut c_uint, samples: *mut nvml::nvmlSample_t)
        |scenario| put(value_type, Some(nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT))
            .and_then(|()| put_newer(count, samples, samples_since(device(scenario, handle)?, since)));
    nvmlDeviceGetProcessUtilization(handle: nvmlDevice_t, samples: *mut nvml::nvmlProcessUtilizationSample_t, count: *mut c_uint, since: c_ulonglong)
        |scenario| put_newer(count, samples, process_utilization_since(device(scenario, handle)?, since).map(|samples| {
            samples.map(|(at, sample)| nvml::nvmlProcessUtilizationSample_t {
                pid: sample.pid, timeStamp: at, smUtil: sample.sm, memUtil: 0, encUtil: sample.encoder, decUtil: sample.decoder,
            }).collect()
        }));
    nvmlDeviceGetProcessesUtilizationInfo(handle: nvmlDevice_t, request: *mut nvml::nvmlProcessesUtilizationInfo_t)
        |scenario| put_process_utilization(request, device(scenario, handle)?);
    nvmlDeviceGetComputeRunningProcesses_v3(handle: nvmlDevice_t, count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
        |scenario| put_processes(Symbol::nvmlDeviceGetComputeRunningProcesses_v3, count, processes, scenario, device(scenario, handle)?.compute.as_deref());
    nvmlDeviceGetGraphicsRunningProcesses_v3(handle: nvmlDevice_t, count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
        |scenario| put_processes(Symbol::nvmlDeviceGetGraphicsRunningProcesses_v3, count, processes, scenario, device(scenario, handle)?.graphics.as_deref());

    nvmlDeviceGetMaxMigDeviceCount(handle: nvmlDevice_t, count: *mut c_uint)
        |scenario| put(count, device(scenario, handle)?.mig.map(|enabled| if enabled { MAX_SLICES } else { 0 }));
    nvmlDeviceGetMigDeviceHandleByIndex(handle: nvmlDevice_t, index: c_uint, slice: *mut nvmlDevice_t)
        |scenario| put_slice(slice, device(scenario, handle)?, handle, index as usize);
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice: nvmlDevice_t, card: *mut nvmlDevice_t)
        |_scenario| put(card, Some(card_of(slice)));
    nvmlDeviceGetGpuInstanceId(handle: nvmlDevice_t, id: *mut c_uint)
        |scenario| put(id, device(scenario, handle)?.gpu_instance);
    nvmlDeviceGetComputeInstanceId(handle: nvmlDevice_t, id: *mut c_uint)
        |scenario| put(id, device(scenario, handle)?.compute_instance);
    nvmlDeviceGetMinorNumber(handle: nvmlDevice_t, minor: *mut c_uint)
        |scenario| put(minor, device(scenario, handle)?.minor);

    nvmlDeviceGetSupportedEventTypes(handle: nvmlDevice_t, kinds: *mut c_ulonglong)
        |scenario| put(kinds, Some(device(scenario, handle)?.xids.as_ref().map_or(0, |_| XID_EVENT)));
    nvmlDeviceRegisterEvents(handle: nvmlDevice_t, kinds: c_ulonglong, set: nvml::nvmlEventSet_t)
        |scenario| listen(device(scenario, handle)?, handle, kinds, set);
    nvmlEventSetCreate(set: *mut nvml::nvmlEventSet_t)
        |_scenario| put(set, Some(ptr::without_provenance_mut(1)));
    nvmlEventSetFree(_set: nvml::nvmlEventSet_t) |_scenario| stop_listening();
    nvmlEventSetWait_v2(_set: nvml::nvmlEventSet_t, event: *mut nvml::nvmlEventData_t, timeout_ms: c_uint)
        |scenario| put(event, Some(next_event(scenario, timeout_ms)?));
}

const MAX_SLICES: c_uint = 7;

/// Sampling period that the encoder and decoder calls report.
const PERIOD_US: c_uint = 167_000;
