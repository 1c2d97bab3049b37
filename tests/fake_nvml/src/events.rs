//! Event sets: they report the Xid faults of the devices that they listen to.

use std::{
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlReturn_t};

use crate::{
    devices::{self, Called},
    playback::Answer,
    scenario::Scenario,
};

/// `nvmlEventTypeXidCriticalError`.
pub(crate) const XID_EVENT: u64 = 8;

/// A device that the event set listens to.
struct Listening {
    handle: usize,
    /// Number of the scenario's faults that were reported.
    reported: usize,
    /// Faults that calls have caused and that were not reported yet.
    caused: Vec<u64>,
}

static LISTENING: Mutex<Vec<Listening>> = Mutex::new(Vec::new());

fn listening() -> MutexGuard<'static, Vec<Listening>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a device. Earlier faults are not reported.
pub(crate) fn listen(device: Called<'_>, kinds: u64, set: nvml::nvmlEventSet_t) -> Answer {
    let Some(xids) = device.xids.as_ref().filter(|_| kinds == XID_EVENT && !set.is_null()) else {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    };
    listening().push(Listening { handle: device.handle.addr(), reported: xids.len(), caused: vec![] });
    Ok(())
}

/// Removes all devices from the event set.
pub(crate) fn stop_listening() -> Answer {
    listening().clear();
    Ok(())
}

/// Reports a fault of the card that a call for `device` has caused.
pub(crate) fn cause(device: nvmlDevice_t, xid: u64) {
    let card = devices::card_of(device).addr();
    listening().iter_mut().filter(|listening| listening.handle == card).for_each(|it| it.caused.push(xid));
}

/// Returns the next fault, also of a card that is lost by now. Without a fault, waits until the timeout.
pub(crate) fn next_event(
    scenario: &Scenario,
    timeout_ms: u32,
) -> Result<nvml::nvmlEventData_t, nvmlReturn_t> {
    let mut registered = listening();
    for listening in registered.iter_mut() {
        if let Some(xid) = listening.next(scenario) {
            let card = ptr::without_provenance_mut(listening.handle);
            let named = devices::find(scenario, card).and_then(|(_, card)| card.xid_instances);
            let (gpu_instance, compute_instance) = named.unwrap_or((u32::MAX, u32::MAX));
            return Ok(nvml::nvmlEventData_t {
                device: card,
                eventType: XID_EVENT,
                eventData: xid,
                gpuInstanceId: gpu_instance,
                computeInstanceId: compute_instance,
            });
        }
    }
    for listening in registered.iter() {
        devices::called(scenario, ptr::without_provenance_mut(listening.handle))?;
    }
    drop(registered);
    thread::sleep(Duration::from_millis(timeout_ms.into()));
    Err(nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT)
}

// === impl Listening ===

impl Listening {
    fn next(&mut self, scenario: &Scenario) -> Option<u64> {
        if !self.caused.is_empty() {
            return Some(self.caused.remove(0));
        }
        let (_, device) = devices::find(scenario, ptr::without_provenance_mut(self.handle))?;
        let xid = *device.xids.as_ref()?.get(self.reported)?;
        self.reported += 1;
        Some(xid)
    }
}
