//! Device handles, and values that depend on the time.

use std::{ptr, time::SystemTime};

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlReturn_t};

use crate::scenario::{Device, ProcessUtilization, Scenario};

/// The handle of a card is its index from 1 on. The handle of a slice adds this, times the slice's index from 1 on.
const SLICE: usize = 1 << 16;

/// Handle of a card.
pub(crate) fn card_handle(index: usize) -> nvmlDevice_t {
    ptr::without_provenance_mut(index + 1)
}

/// Handle of a slice of `card`.
pub(crate) fn slice_handle(card: nvmlDevice_t, index: usize) -> nvmlDevice_t {
    ptr::without_provenance_mut(card.addr() + SLICE * (index + 1))
}

/// Handle of the card of a slice.
pub(crate) fn card_of(slice: nvmlDevice_t) -> nvmlDevice_t {
    ptr::without_provenance_mut(slice.addr() % SLICE)
}

/// The device of a handle. A device that is no longer in the scenario counts as lost.
pub(crate) fn device(scenario: &Scenario, handle: nvmlDevice_t) -> Result<&Device, nvmlReturn_t> {
    let (card, slice) = (handle.addr() % SLICE, handle.addr() / SLICE);
    let index = card.checked_sub(1).ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
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

/// Utilisation samples newer than `since`.
pub(crate) fn samples_since(device: &Device, since: u64) -> Option<Vec<nvml::nvmlSample_t>> {
    let constant = device.utilization.map_or(0, |percent| percent.gpu);
    let samples = device.samples.as_ref()?.at(now_us(), constant).into_iter().filter(|(at, _)| *at > since);
    let sample = |(at, percent)| nvml::nvmlSample_t {
        timeStamp: at,
        sampleValue: nvml::nvmlValue_t { uiVal: percent },
    };
    Some(samples.map(sample).collect())
}

/// Process utilisation newer than `since`, each with its time.
pub(crate) fn process_utilization_since(
    device: &Device,
    since: u64,
) -> Option<impl Iterator<Item = (u64, &ProcessUtilization)>> {
    let samples = device.process_utilization.as_ref()?.iter();
    let timed = samples
        .map(|sample| (sample.at_us.unwrap_or_else(|| now_us() - sample.age_seconds * 1_000_000), sample));
    Some(timed.filter(move |(at, _)| *at > since))
}
