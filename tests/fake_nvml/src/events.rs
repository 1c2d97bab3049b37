//! Event sets: they report the Xid faults of the devices that they listen to.

use std::{
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlReturn_t};

use crate::{
    devices,
    playback::Answer,
    scenario::{Device, Scenario},
};

/// `nvmlEventTypeXidCriticalError`.
pub(crate) const XID_EVENT: u64 = 8;

/// Handles of the devices that the event set listens to, each with the number of faults reported so far.
static LISTENING: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

fn listening() -> MutexGuard<'static, Vec<(usize, usize)>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a device. Earlier faults are not reported.
pub(crate) fn listen(device: &Device, handle: nvmlDevice_t, kinds: u64, set: nvml::nvmlEventSet_t) -> Answer {
    let Some(xids) = device.xids.as_ref().filter(|_| kinds == XID_EVENT && !set.is_null()) else {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    };
    listening().push((handle.addr(), xids.len()));
    Ok(())
}

/// Removes all devices from the event set.
pub(crate) fn stop_listening() -> Answer {
    listening().clear();
    Ok(())
}

/// Returns the next fault, or waits until the timeout.
pub(crate) fn next_event(
    scenario: &Scenario,
    timeout_ms: u32,
) -> Result<nvml::nvmlEventData_t, nvmlReturn_t> {
    for (handle, reported) in listening().iter_mut() {
        let device = ptr::without_provenance_mut(*handle);
        if let Some(xid) =
            devices::device(scenario, device)?.xids.as_ref().and_then(|xids| xids.get(*reported))
        {
            *reported += 1;
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
