//! Plays the calls: the current scenario, delays, failures, and the events that a listener gets.

use std::{
    env,
    ffi::{c_uint, c_ulonglong},
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
    time::Duration,
};

use nvml::{nvmlDevice_t, nvmlReturn_t};
use nvml_wrapper_sys::bindings as nvml;

use super::writing::{Answer, at};
use super::{Symbol, XID_EVENT};
use crate::{Device, SCENARIO, Scenario};

/// The number of calls of `nvmlInit_v2` without a matching `nvmlShutdown`.
static OPENED: AtomicUsize = AtomicUsize::new(0);
/// The last error message, so that repeated calls do not repeat it.
static LAST_ERROR: Mutex<String> = Mutex::new(String::new());

/// A file's inode, time and size, and its scenario.
type CachedScenario = ((u64, i64, i64, u64), Arc<Scenario>);
static CACHE: Mutex<Option<CachedScenario>> = Mutex::new(None);

/// The devices of the event set, and for each the number of XIDs that the event set has already returned.
static LISTENING: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Plays one call with the current scenario: the delay, then the failure or the answer.
pub(super) fn play(symbol: Symbol, answer: impl FnOnce(&Scenario) -> Answer) -> nvmlReturn_t {
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
    scenario.map_err(|message| {
        print_error(message);
        nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN
    })
}

/// The scenario in the file. It is cached until the file changes, because reading it costs more than the sidecar's own work.
fn read(path: &Path) -> io::Result<Arc<Scenario>> {
    let file = fs::metadata(path)?;
    let stamp = (file.ino(), file.mtime(), file.mtime_nsec(), file.size());
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    match cache.as_ref() {
        Some((cached, scenario)) if *cached == stamp => Ok(Arc::clone(scenario)),
        _ => {
            let scenario = Arc::new(Scenario::read(path)?);
            *cache = Some((stamp, Arc::clone(&scenario)));
            Ok(scenario)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a C library has no other way to report an error")]
fn print_error(message: String) {
    let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != message {
        eprintln!("fake_nvml: {message}");
        *last = message;
    }
}

pub(super) fn open() -> Answer {
    OPENED.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

pub(super) fn close() -> Answer {
    OPENED.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

fn listening() -> MutexGuard<'static, Vec<(usize, usize)>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a device to the event set. XIDs from before are not returned.
pub(super) fn create_listener(
    device: &Device,
    handle: nvmlDevice_t,
    kinds: c_ulonglong,
    set: nvml::nvmlEventSet_t,
) -> Answer {
    let Some(xids) = device.xids.as_ref().filter(|_| kinds == XID_EVENT && !set.is_null()) else {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    };
    listening().push((handle.addr(), xids.len()));
    Ok(())
}

pub(super) fn stop_listening() -> Answer {
    listening().clear();
    Ok(())
}

pub(super) fn next_event(
    scenario: &Scenario,
    timeout_ms: c_uint,
) -> Result<nvml::nvmlEventData_t, nvmlReturn_t> {
    for (handle, returned) in listening().iter_mut() {
        let device = ptr::without_provenance_mut(*handle);
        if let Some(xid) = at(scenario, device)?.xids.as_ref().and_then(|xids| xids.get(*returned)) {
            *returned += 1;
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
