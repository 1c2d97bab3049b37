//! Device handles, and values that depend on the time.

use std::{
    collections::BTreeSet,
    fs,
    ops::Deref,
    ptr,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlReturn_t};

use crate::{
    playback,
    scenario::{Device, ProcessCourse, ProcessUtilization, Scenario},
};

/// The device of a call.
#[derive(Clone, Copy)]
pub(crate) struct Called<'s> {
    pub(crate) handle: nvmlDevice_t,
    pub(crate) scenario: &'s Scenario,
    device: &'s Device,
}

/// The handle of a card is its index from 1 on. The handle of a slice adds this, times the slice's index from 1 on. So a device
/// at the place of another one in the scenario has the other one's handle: the driver has used the handle again.
const SLICE: usize = 1 << 16;

/// The handles of slices that the process has got since the library was opened.
static HELD: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// Handle of the card at this index of the scenario.
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

/// Notes that the process has the handle of a slice.
pub(crate) fn hold(slice: nvmlDevice_t) {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(slice.addr());
}

/// Whether the process has the handle of this slice.
pub(crate) fn is_held(slice: nvmlDevice_t) -> bool {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).contains(&slice.addr())
}

/// Releases all slices: the library is closed.
pub(crate) fn release_slices() {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The cards that the driver lists, with their indices in the scenario.
pub(crate) fn visible(scenario: &Scenario) -> impl Iterator<Item = (usize, &Device)> {
    scenario.devices.iter().enumerate().filter(|(_, device)| device.gone.is_none())
}

/// The device of a handle, with its card for a slice. None if the scenario does not have it.
pub(crate) fn find(scenario: &Scenario, handle: nvmlDevice_t) -> Option<(&Device, &Device)> {
    let (card, slice) = (handle.addr() % SLICE, handle.addr() / SLICE);
    let card = scenario.devices.get(card.checked_sub(1)?)?;
    let device = match slice.checked_sub(1) {
        Some(slice) => card.slices.get(slice)?,
        None => card,
    };
    Some((card, device))
}

/// The device of a handle that works. A device that is no longer in the scenario counts as lost.
pub(crate) fn called(scenario: &Scenario, handle: nvmlDevice_t) -> Result<Called<'_>, nvmlReturn_t> {
    if handle.is_null() {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    let (card, device) = find(scenario, handle).ok_or(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST)?;
    if let Some(code) = card.gone.or(device.gone) {
        return Err(code);
    }
    if card.lost || device.lost {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST);
    }
    Ok(Called { handle, scenario, device })
}

/// Utilisation samples newer than `since`.
pub(crate) fn samples_since(device: Called<'_>, since: u64) -> Option<Vec<nvml::nvmlSample_t>> {
    let constant = device.utilization.map_or(0, |percent| percent.gpu);
    let samples = device.samples.as_ref()?.at(now_us(device.scenario), constant);
    let sample = |(at, percent)| nvml::nvmlSample_t {
        timeStamp: at,
        sampleValue: nvml::nvmlValue_t { uiVal: percent },
    };
    Some(samples.into_iter().filter(|(at, _)| is_requested(*at, since)).map(sample).collect())
}

/// Process utilisation newer than `since`, each with its time.
pub(crate) fn process_utilization_since(
    device: Called<'_>,
    since: u64,
) -> Option<Vec<(u64, ProcessUtilization)>> {
    let now = now_us(device.scenario);
    let at = |sample: &ProcessUtilization| {
        sample.at_us.unwrap_or_else(|| now.saturating_sub(sample.age_seconds * 1_000_000))
    };
    let samples = device.process_utilization.as_ref()?.iter().map(|sample| (at(sample), *sample));
    let course = |process: &ProcessCourse| {
        let (at, sm) = process.sample(since, now)?;
        Some((at, ProcessUtilization { pid: process.pid, sm, ..ProcessUtilization::default() }))
    };
    let samples = samples.filter(|(at, _)| is_requested(*at, since));
    Some(samples.chain(device.process_courses.iter().filter_map(course)).collect())
}

fn is_requested(at: u64, since: u64) -> bool {
    at > since || playback::current().ignores_since
}

/// Microseconds of the driver's clock.
fn now_us(scenario: &Scenario) -> u64 {
    if scenario.boot_clock {
        let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = text.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
        return (seconds.unwrap_or_default() * 1e6) as u64;
    }
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

// === impl Called ===

impl Deref for Called<'_> {
    type Target = Device;

    fn deref(&self) -> &Device {
        self.device
    }
}
