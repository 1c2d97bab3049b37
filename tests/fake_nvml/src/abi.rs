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
    devices::{card_of, process_utilization_since, samples_since, visible},
    events::{XID_EVENT, listen, next_event, stop_listening},
    playback::{init, play, play_for, shut_down},
    symbol::Symbol,
};

/// The functions without a device, then the functions whose first argument is the handle of a device. A body of the first part
/// sees the scenario, a body of the second part the device.
macro_rules! library {
    (
        driver {
            $($symbol:ident($($argument:ident: $type:ty),*) |$scenario:ident| $body:expr;)*
        }
        device {
            $($of:ident($($with:ident: $of_type:ty),*) |$device:ident| $answer:expr;)*
        }
    ) => {
        const _: () = assert!(
            [$(Symbol::$symbol,)* $(Symbol::$of),*].len() == Symbol::COUNT,
            "a symbol has no function"
        );

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

        $(
            /// See `nvml.h`.
            ///
            /// # Safety
            /// Pointers are null or are valid for the type in `nvml.h`.
            #[unsafe(no_mangle)]
            #[allow(unused_unsafe, reason = "some functions take no pointer")]
            pub unsafe extern "C" fn $of(handle: nvmlDevice_t, $($with: $of_type),*) -> nvmlReturn_t {
                // SAFETY: the caller's guarantee is what the functions of `answers` need.
                play_for(Symbol::$of, handle, |$device| unsafe { $answer })
            }
        )*
    };
}

library! {
    driver {
        nvmlInit_v2() |_scenario| init();
        nvmlShutdown() |_scenario| shut_down();

        nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint)
            |scenario| put_text(version, length, &scenario.driver_version);
        nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint)
            |scenario| put_text(version, length, &scenario.nvml_version);

        nvmlDeviceGetCount_v2(count: *mut c_uint)
            |scenario| put(count, Some(visible(scenario).count() as c_uint));
        nvmlDeviceGetHandleByIndex_v2(index: c_uint, handle: *mut nvmlDevice_t)
            |scenario| put_handle(handle, scenario, index as usize);
        nvmlDeviceGetHandleByUUID(uuid: *const c_char, handle: *mut nvmlDevice_t)
            |scenario| put_handle_of(handle, scenario, uuid);

        nvmlEventSetCreate(set: *mut nvml::nvmlEventSet_t)
            |_scenario| put(set, Some(ptr::without_provenance_mut(1)));
        nvmlEventSetFree(_set: nvml::nvmlEventSet_t) |_scenario| stop_listening();
        nvmlEventSetWait_v2(_set: nvml::nvmlEventSet_t, event: *mut nvml::nvmlEventData_t, timeout_ms: c_uint)
            |scenario| put(event, Some(next_event(scenario, timeout_ms)?));
    }

    device {
        nvmlDeviceGetUUID(uuid: *mut c_char, length: c_uint)
            |device| put_text(uuid, length, &device.uuid);
        nvmlDeviceGetName(name: *mut c_char, length: c_uint)
            |device| put_text(name, length, &device.name);
        nvmlDeviceGetMigMode(current: *mut c_uint, pending: *mut c_uint)
            |device| put(current, device.mig.map(c_uint::from))
                .and_then(|()| put(pending, device.mig.map(c_uint::from)));
        nvmlDeviceGetUtilizationRates(utilization: *mut nvmlUtilization_t)
            |device| put(utilization, device.utilization.map(|percent| {
                nvmlUtilization_t { gpu: percent.gpu, memory: percent.memory }
            }));
        nvmlDeviceGetMemoryInfo_v2(memory: *mut nvmlMemory_v2_t)
            |device| put_memory(memory, device);
        nvmlDeviceGetMemoryInfo(memory: *mut nvml::nvmlMemory_t)
            |device| put(memory, device.memory.map(|bytes| nvml::nvmlMemory_t {
                total: bytes.total,
                free: bytes.free(),
                used: bytes.used.saturating_add(bytes.reserved),
            }));
        nvmlDeviceGetEncoderUtilization(percent: *mut c_uint, period_us: *mut c_uint)
            |device| put(percent, device.encoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
        nvmlDeviceGetDecoderUtilization(percent: *mut c_uint, period_us: *mut c_uint)
            |device| put(percent, device.decoder_percent).and_then(|()| put(period_us, Some(PERIOD_US)));
        nvmlDeviceGetTotalEnergyConsumption(millijoules: *mut c_ulonglong)
            |device| put(millijoules, device.energy_millijoules);
        nvmlDeviceGetPowerUsage(milliwatts: *mut c_uint)
            |device| put(milliwatts, device.power_milliwatts);
        nvmlDeviceGetTemperature(_sensor: nvml::nvmlTemperatureSensors_t, celsius: *mut c_uint)
            |device| put(celsius, device.temperature_celsius);
        nvmlDeviceGetClockInfo(clock: nvml::nvmlClockType_t, megahertz: *mut c_uint)
            |device| put(megahertz, match clock {
                nvml::nvmlClockType_enum_NVML_CLOCK_SM => device.sm_megahertz,
                nvml::nvmlClockType_enum_NVML_CLOCK_MEM => device.memory_megahertz,
                _ => None,
            });
        nvmlDeviceGetCurrentClocksThrottleReasons(reasons: *mut c_ulonglong)
            |device| put(reasons, device.throttle_reasons);
        nvmlDeviceGetComputeMode(mode: *mut nvml::nvmlComputeMode_t)
            |device| put(mode, device.compute_mode);
        nvmlDeviceGetEncoderStats(count: *mut c_uint, frames: *mut c_uint, latency: *mut c_uint)
            |device| put_streams(device.encoding, [count, frames, latency]);
        nvmlDeviceGetEncoderSessions(count: *mut c_uint, sessions: *mut nvml::nvmlEncoderSessionInfo_t)
            |device| put_list(count, sessions, device.encoder_sessions().map(|sessions| {
                sessions.into_iter().map(|session| nvml::nvmlEncoderSessionInfo_t {
                    sessionId: 1, pid: session.pid, vgpuInstance: session.vgpu_instance, codecType: session.codec,
                    hResolution: 1920, vResolution: 1080, averageFps: session.frames, averageLatency: session.latency,
                }).collect()
            }));
        nvmlDeviceGetFBCStats(stats: *mut nvml::nvmlFBCStats_t)
            |device| put(stats, device.capturing.map(|[sessions, frames, latency]| {
                nvml::nvmlFBCStats_t { sessionsCount: sessions, averageFPS: frames, averageLatency: latency }
            }));
        nvmlDeviceGetFBCSessions(count: *mut c_uint, captures: *mut nvml::nvmlFBCSessionInfo_t)
            |device| put_list(count, captures, device.captures.as_ref().map(|captures| {
                captures.iter().map(|capture| nvml::nvmlFBCSessionInfo_t {
                    sessionId: 1, pid: capture.pid, vgpuInstance: capture.vgpu_instance, displayOrdinal: 0, sessionType: 1,
                    // A flag that nvml-wrapper does not know.
                    sessionFlags: 1 << 31, hMaxResolution: 1920, vMaxResolution: 1080, hResolution: 1920, vResolution: 1080,
                    averageFPS: capture.frames, averageLatency: capture.latency,
                }).collect()
            }));
        nvmlDeviceGetSamples(_kind: nvml::nvmlSamplingType_t, since: c_ulonglong, value_type: *mut nvml::nvmlValueType_t, count: *mut c_uint, samples: *mut nvml::nvmlSample_t)
            |device| put(value_type, Some(nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT))
                .and_then(|()| put_newer(count, samples, samples_since(device, since)));
        nvmlDeviceGetProcessUtilization(samples: *mut nvml::nvmlProcessUtilizationSample_t, count: *mut c_uint, since: c_ulonglong)
            |device| put_newer(count, samples, process_utilization_since(device, since).map(|samples| {
                samples.into_iter().map(|(at, sample)| nvml::nvmlProcessUtilizationSample_t {
                    pid: sample.pid, timeStamp: at, smUtil: sample.sm, memUtil: 0, encUtil: sample.encoder, decUtil: sample.decoder,
                }).collect()
            }));
        nvmlDeviceGetProcessesUtilizationInfo(request: *mut nvml::nvmlProcessesUtilizationInfo_t)
            |device| put_process_utilization(request, device);
        nvmlDeviceGetComputeRunningProcesses_v3(count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
            |device| put_processes(Symbol::nvmlDeviceGetComputeRunningProcesses_v3, count, processes, device.compute.as_deref());
        nvmlDeviceGetGraphicsRunningProcesses_v3(count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
            |device| put_processes(Symbol::nvmlDeviceGetGraphicsRunningProcesses_v3, count, processes, device.graphics.as_deref());
        nvmlDeviceGetMPSComputeRunningProcesses_v3(count: *mut c_uint, processes: *mut nvml::nvmlProcessInfo_t)
            |device| put_processes(Symbol::nvmlDeviceGetMPSComputeRunningProcesses_v3, count, processes, device.mps.as_deref());

        nvmlDeviceGetMaxMigDeviceCount(count: *mut c_uint)
            |device| put(count, device.mig.map(|enabled| if enabled { MAX_SLICES } else { 0 }));
        nvmlDeviceGetMigDeviceHandleByIndex(index: c_uint, slice: *mut nvmlDevice_t)
            |device| put_slice(slice, device, index as usize);
        nvmlDeviceGetDeviceHandleFromMigDeviceHandle(card: *mut nvmlDevice_t)
            |device| put(card, Some(card_of(device.handle)));
        nvmlDeviceGetGpuInstanceId(id: *mut c_uint)
            |device| put(id, device.gpu_instance);
        nvmlDeviceGetComputeInstanceId(id: *mut c_uint)
            |device| put(id, device.compute_instance);
        nvmlDeviceGetMinorNumber(minor: *mut c_uint)
            |device| put(minor, device.minor);

        nvmlDeviceGetSupportedEventTypes(kinds: *mut c_ulonglong)
            |device| put(kinds, Some(device.xids.as_ref().map_or(0, |_| XID_EVENT)));
        nvmlDeviceRegisterEvents(kinds: c_ulonglong, set: nvml::nvmlEventSet_t)
            |device| listen(device, kinds, set);
    }
}

const MAX_SLICES: c_uint = 7;

/// Sampling period that the encoder and decoder calls report.
const PERIOD_US: c_uint = 167_000;
