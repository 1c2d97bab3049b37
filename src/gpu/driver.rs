//! Lists the devices that this process can see and keeps their handles while the library is open.

use std::time::Duration;

use nvml_wrapper::{Nvml, enum_wrappers::device::ComputeMode, error::NvmlError};

use super::{
    call_log::{CallLog, PollCalls},
    events::{DriverEvent, EventListener, ReceivedEvent},
    fault::{Call, Code, Fault, ReopenReason},
    raw::{self, RawEvent},
    support::Support,
    values::{Device, Process, Slice, Stream, Versions, XidEvent},
};

/// The devices that this process sees through the open library. The methods that read values are in `reading.rs`.
#[derive(Debug)]
pub struct Driver<'n> {
    nvml: &'n Nvml,
    versions: Versions,
    pub(super) devices: Vec<Device>,
    /// Handles of `devices`, in the same order.
    pub(super) handles: Vec<nvml_wrapper::Device<'n>>,
    without_uuid: Vec<Fault>,
    /// Number of cards when the library was opened.
    cards: u32,
    /// Slices that were visible before they were released; `None` after the slices have been listed. Only events use them.
    earlier_slices: Option<Vec<Device>>,
    /// Indices of the devices whose handles this poll has verified, with the results.
    pub(super) identities: Vec<(usize, Result<(), Fault>)>,
    events: EventListener<'n>,
    /// Whether a device returned no value at all in this poll.
    pub(super) has_device_without_values: bool,
    /// Process lists that this poll has read, with the index of the device; none if a list could not be read. They are cached,
    /// because these calls are the slowest of all.
    pub(super) process_lists: Vec<(usize, Option<Vec<Process>>)>,
    /// Encoder sessions that this poll has listed, with the index of the device; none if the list could not be read.
    pub(super) encoder_sessions: Vec<(usize, Option<Vec<Stream>>)>,
    pub(super) support: Support,
    pub(super) log: CallLog,
}

/// What a driver whose slices were released has shown. It stays valid when the library is opened again.
#[derive(Debug, Default)]
pub struct Released {
    slices: Vec<Device>,
    support: Support,
    /// Calls since the end of the last poll.
    log: CallLog,
}

/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

/// Maximum number of cards. No machine has so many; a larger number is a wrong answer.
const MAX_CARDS: u32 = 256;

/// Maximum number of slices of one card. Cards have up to 7; a larger number than this is a wrong answer.
const MAX_SLICES: u32 = 16;

// === impl Driver ===

impl<'n> Driver<'n> {
    /// Lists the cards of the open library. The first poll lists the slices. Until then, an event of a card counts for the
    /// released slices too.
    pub(super) fn new(nvml: &'n Nvml, released: Option<Released>) -> Self {
        let Released { slices, support, mut log } = released.unwrap_or_default();
        // This call opened the library.
        log.calls += 1;
        let versions = Versions {
            driver: log.record(Call::DriverVersion, raw::driver_version(nvml)).ok(),
            nvml: log.record(Call::NvmlVersion, raw::nvml_version(nvml)).ok(),
        };
        let cards = count(&mut log, Call::DeviceCount, nvml.device_count(), MAX_CARDS).unwrap_or_default();
        let mut driver = Self {
            nvml,
            versions,
            devices: vec![],
            handles: vec![],
            without_uuid: vec![],
            cards,
            earlier_slices: Some(slices),
            identities: vec![],
            events: EventListener::default(),
            has_device_without_values: false,
            process_lists: vec![],
            encoder_sessions: vec![],
            support,
            log,
        };
        for index in 0..cards {
            let added = driver.add_card(index);
            driver.note(added);
        }
        driver.listen();
        driver
    }

    /// Versions of the open library and of its driver.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The visible devices: the cards in the driver's order, then the slices.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The fault for each card or slice that the driver counts and that could not be identified: its UUID or another value that
    /// identifies it cannot be read. Devices that this container may not use are not listed, because they belong to other pods.
    #[must_use]
    pub fn without_uuid(&self) -> &[Fault] {
        &self.without_uuid
    }

    /// Begins a poll: checks that the driver still works and has the same number of cards. The first poll lists the slices.
    ///
    /// # Errors
    /// Fails if the driver does not answer, or if the number of cards has changed.
    pub fn begin_poll(&mut self) -> Result<(), Fault> {
        self.process_lists.clear();
        self.encoder_sessions.clear();
        self.identities.clear();
        self.has_device_without_values = false;
        if self.events.must_retry() {
            self.listen();
        }
        let cards = count(&mut self.log, Call::DeviceCount, self.nvml.device_count(), MAX_CARDS)?;
        if cards != self.cards {
            // A fault of `DeviceCount` counts as a lost driver, so the library is reopened.
            return self.log.record_failure(Fault { call: Call::DeviceCount, code: Code::Other });
        }
        if self.earlier_slices.take().is_some() {
            self.list_slices();
        }
        Ok(())
    }

    /// Whether the library must be closed to release slices: the driver does not destroy a slice while a process has its handle.
    #[must_use]
    pub fn has_slices(&self) -> bool {
        self.devices.iter().any(|device| device.slice.is_some())
    }

    /// What the next opening needs. The library must be closed after this call.
    pub fn release_slices(&mut self) -> Released {
        let mut support = std::mem::take(&mut self.support);
        support.retain(|uuid| self.devices.iter().any(|device| device.uuid == uuid));
        let slices = self.devices.iter().filter(|device| device.slice.is_some()).cloned().collect();
        Released { slices, support, log: std::mem::take(&mut self.log) }
    }

    /// Verifies that the handle of the device at `index` still belongs to the device. The driver is called once in a poll. If a
    /// slice is destroyed, the driver can give its handle to the next slice; all calls then return values of that slice.
    ///
    /// # Errors
    /// Fails if the UUID of the handle cannot be read, or if it is another device's.
    pub(super) fn verify(&mut self, index: usize) -> Result<(), Fault> {
        if let Some((_, identity)) = self.identities.iter().find(|(verified, _)| *verified == index) {
            return *identity;
        }
        let identity = match self.log.record(Call::Uuid, raw::uuid(&self.handles[index])) {
            Ok(uuid) if uuid == self.devices[index].uuid => Ok(()),
            Ok(_) => self.log.record_failure(Fault { call: Call::Uuid, code: Code::AnotherDevice }),
            Err(fault) => Err(fault),
        };
        // The device may be visible in a reopened library.
        self.has_device_without_values |= identity.is_err();
        self.identities.push((index, identity));
        identity
    }

    /// Failures since the end of the last poll, in the order of the calls. Includes the failures at the opening of the library.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.log.faults
    }

    /// Whether a call after the first `earlier` failures has failed, and not because the device lacks the value.
    #[must_use]
    pub fn has_failed_since(&self, earlier: usize) -> bool {
        self.log.faults[earlier..].iter().any(|fault| !fault.is_absence())
    }

    /// Reason to reopen the library that any device gives, whichever pod it belongs to: it is lost or has no UUID, or it could
    /// not be read in this poll.
    #[must_use]
    pub fn reopen_reason(&self) -> Option<ReopenReason> {
        if self.log.faults.iter().any(|fault| fault.is_device_lost()) {
            Some(ReopenReason::DeviceLost)
        } else if self.has_device_without_values {
            Some(ReopenReason::NoValues)
        } else {
            self.without_uuid.first().map(|_| ReopenReason::NoUuid)
        }
    }

    /// Ends a poll. Returns its calls.
    pub fn end_poll(&mut self) -> PollCalls {
        let CallLog { calls, faults } = std::mem::take(&mut self.log);
        PollCalls { calls, faults }
    }

    /// Waits for the next Xid event. Returns after `limit` or 0.2 s at the latest, so that the caller can check whether the
    /// session has ended.
    pub fn wait_for_event(&mut self, limit: Duration) -> DriverEvent {
        match self.events.wait(self.nvml, limit, &mut self.log) {
            ReceivedEvent::Xid(event) => {
                DriverEvent::Xid(XidEvent { devices: self.devices_of(&event), code: event.code })
            }
            ReceivedEvent::None => DriverEvent::None,
            ReceivedEvent::NotListening => DriverEvent::NotListening,
        }
    }

    /// UUIDs of the devices of an event: the card, and its visible slices; if the event names a slice, only this slice.
    fn devices_of(&self, event: &RawEvent<'_>) -> Vec<String> {
        let card = self.handles.iter().position(|handle| raw::is_same(handle, &event.card));
        let Some(card) = card.and_then(|index| self.devices.get(index)) else { return vec![] };
        // If the driver does not give an ID of the slice, the event may be the slice's.
        let may_be = |own: Option<u32>, named: Option<u32>| own.is_none() || named.is_none() || own == named;
        let is_named = |slice: &Slice| {
            may_be(slice.gpu_instance, event.gpu_instance)
                && may_be(slice.compute_instance, event.compute_instance)
        };
        let devices = self.devices.iter().chain(self.earlier_slices.iter().flatten());
        let devices = devices.filter(|device| device.card() == card.uuid);
        let devices = devices.filter(|device| device.slice.as_ref().is_none_or(is_named));
        devices.map(|device| device.uuid.clone()).collect()
    }

    /// Index in [`Self::devices`] of the card that the device at `index` belongs to; `index` itself for a card.
    pub(super) fn card_index(&self, index: usize) -> usize {
        // A slice has the `index` of its card, and the cards come first in `devices`.
        let card = self.devices.get(index).map(|device| device.index);
        self.devices.iter().position(|device| Some(device.index) == card).unwrap_or(index)
    }

    fn listen(&mut self) {
        let cards = self.devices.iter().zip(&self.handles).filter(|(device, _)| device.slice.is_none());
        let cards: Vec<_> = cards.map(|(_, card)| card).collect();
        self.events = EventListener::new(self.nvml, &cards, &mut self.log);
    }

    /// Notes a device that could not be added. A device that this container may not use is not visible, and that is all.
    fn note(&mut self, added: Result<(), Fault>) {
        self.without_uuid.extend(added.err().filter(|fault| !fault.is_forbidden()));
    }

    /// Adds a card without its slices. Fails if a call that attribution depends on fails.
    fn add_card(&mut self, index: u32) -> Result<(), Fault> {
        let card = self.log.record(Call::DeviceHandle, self.nvml.device_by_index(index))?;
        let uuid = self.unique_uuid(&card)?;
        let mig_mode = card.mig_mode().map(|mode| mode.current);
        // The mode is none if the card has no MIG, or if the driver is older than MIG.
        let mig_enabled = self.log.record_optional(Call::MigMode, mig_mode)? == Some(MIG_ENABLED);
        let exclusive_process = card.compute_mode().map(|mode| mode == ComputeMode::ExclusiveProcess);
        let exclusive_process = self.log.record_optional(Call::ComputeMode, exclusive_process)?;
        // A failure is ignored: only the IDs `nvidia<n>` and `nvidia<n>/gi<m>` need this number.
        let minor = self.log.record_optional(Call::MinorNumber, card.minor_number()).ok().flatten();
        self.devices.push(Device {
            uuid,
            index,
            minor,
            model: self.log.record(Call::Name, raw::name(&card)).ok(),
            slice: None,
            mig_enabled,
            exclusive_process: exclusive_process.unwrap_or_default(),
        });
        self.handles.push(card);
        Ok(())
    }

    /// Adds the slices of all cards. A card whose slices cannot be listed is removed, because attribution depends on them.
    fn list_slices(&mut self) {
        let cards = std::mem::take(&mut self.devices);
        let handles = std::mem::take(&mut self.handles);
        let mut slices = vec![];
        for (card, handle) in cards.into_iter().zip(handles) {
            let listed = if card.mig_enabled { self.slice_handles(&handle) } else { Ok(vec![]) };
            let listed = listed.map(|of_card| {
                slices.extend(of_card.into_iter().map(|(index, slice)| (card.clone(), index, slice)));
                self.devices.push(card);
                self.handles.push(handle);
            });
            self.note(listed);
        }
        for (card, index, slice) in slices {
            let added = self.add_slice(&card, index, slice);
            self.note(added);
        }
    }

    fn add_slice(
        &mut self,
        card: &Device,
        index: u32,
        handle: nvml_wrapper::Device<'n>,
    ) -> Result<(), Fault> {
        let uuid = self.unique_uuid(&handle)?;
        // A failure is ignored: only the IDs `MIG-GPU-<uuid>/<gi>/<ci>` and `nvidia<n>/gi<m>` need these numbers.
        let slice = Slice {
            card: card.uuid.clone(),
            index,
            gpu_instance: self.log.record(Call::GpuInstance, raw::gpu_instance(&handle)).ok(),
            compute_instance: self.log.record(Call::ComputeInstance, raw::compute_instance(&handle)).ok(),
        };
        let model = self.log.record(Call::Name, raw::name(&handle)).ok();
        let (index, minor) = (card.index, card.minor);
        self.identities.push((self.devices.len(), Ok(())));
        self.devices.push(Device { uuid, index, minor, model, slice: Some(slice), ..Device::default() });
        self.handles.push(handle);
        Ok(())
    }

    /// Indices and handles of the visible slices of a card. For an index without a slice, and for a slice of another pod, the
    /// driver returns `NOT_FOUND`.
    fn slice_handles(
        &mut self,
        card: &nvml_wrapper::Device<'n>,
    ) -> Result<Vec<(u32, nvml_wrapper::Device<'n>)>, Fault> {
        let count = count(&mut self.log, Call::Slices, card.mig_device_count(), MAX_SLICES)?;
        let mut slices = vec![];
        for index in 0..count {
            match card.mig_device_by_index(index) {
                Err(NvmlError::NotFound | NvmlError::InvalidArg) => self.log.calls += 1,
                answer => {
                    let slice =
                        self.log.record(Call::Slices, answer).map(|slice| slices.push((index, slice)));
                    self.note(slice);
                }
            }
        }
        Ok(slices)
    }

    /// The UUID of a device. Fails if another device has the same UUID, because the same series would be exposed twice.
    fn unique_uuid(&mut self, device: &nvml_wrapper::Device<'n>) -> Result<String, Fault> {
        let uuid = self.log.record(Call::Uuid, raw::uuid(device))?;
        if self.devices.iter().any(|other| other.uuid == uuid) {
            return self.log.record_failure(Fault { call: Call::Uuid, code: Code::Other });
        }
        Ok(uuid)
    }
}

/// The number that the driver counts. Fails if it is larger than `max`.
fn count(log: &mut CallLog, call: Call, answer: Result<u32, NvmlError>, max: u32) -> Result<u32, Fault> {
    match log.record(call, answer)? {
        count if count <= max => Ok(count),
        _ => log.record_failure(Fault { call, code: Code::Other }),
    }
}
