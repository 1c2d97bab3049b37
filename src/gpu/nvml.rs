//! The door to the driver. Blocking; a call may hang for as long as the driver does, so everything here belongs to the
//! polling thread.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper::{
    EventSet, Nvml,
    bitmasks::{device::ThrottleReasons, event::EventTypes},
    enum_wrappers::device::{Clock, ComputeMode, TemperatureSensor},
    enums::event::XidError,
    error::NvmlError,
};

use super::{
    Call, Code, Device, Fault, Memory, Process, ProcessKind, ProcessUtilization, Reading, Slice, StreamStats,
    Throttled, Versions, backoff::Backoff, raw, support::Support,
};

/// `libnvidia-ml.so.1`, opened when first asked and again, with back-off, after it was missing or lost.
#[derive(Debug)]
pub struct Library {
    path: Option<PathBuf>,
    /// Of opening it.
    opening: Backoff,
    /// Of opening it anew for the sake of a device, while others can be read.
    looking: Backoff,
}

/// The library while it is open. Closing it lets go of the driver.
#[derive(Debug)]
pub struct Opened(Option<Nvml>);

/// What this process sees through the opened library.
#[derive(Debug)]
pub struct Driver<'n> {
    versions: Versions,
    devices: Vec<Device>,
    handles: Vec<nvml_wrapper::Device<'n>>,
    unnamed: Vec<Fault>,
    cards: u32,
    nvml: &'n Nvml,
    events: Option<EventSet<'n>>,
    /// Whether listening has failed and is to be begun anew.
    listen_again: bool,
    /// Why the library may show more once it is opened anew: one failure of a device that gave nothing at all in this poll, or
    /// that a device is missed.
    more: Option<Fault>,
    /// The process lists of this poll, by place: they are the dearest of all calls.
    listed: Vec<(usize, Option<Vec<Process>>)>,
    support: Support,
    notes: Notes,
}

/// What a poll asked, and what failed of it.
#[derive(Debug, Default)]
struct Notes {
    calls: u64,
    faults: Vec<Fault>,
}

/// How a poll went for the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryState {
    /// Go on with it.
    Usable,
    /// It is to be closed and opened again: the driver was lost, or a device was and may be back.
    MustReopen,
}

/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

/// Most cards and most slices of a card that are looked at; no machine has more.
const MOST_CARDS: u32 = 64;
const MOST_SLICES: u32 = 16;

/// How long the driver waits for an event before somebody looks whether the session has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Between two events: a card in agony reports without end.
const BREATH: Duration = Duration::from_millis(10);

// === impl Library ===

impl Library {
    /// The library at `path`, or where the loader finds it.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, opening: Backoff::default(), looking: Backoff::default() }
    }

    /// Opens it, unless that is put off.
    ///
    /// # Errors
    /// The failure, and whether it is a new one: it is told again at the polls at which no attempt is made.
    pub fn open(&mut self) -> Result<Opened, (Fault, bool)> {
        if let Some(fault) = self.opening.pause() {
            return Err((fault, false));
        }
        let mut builder = Nvml::builder();
        if let Some(path) = &self.path {
            builder.lib_path(path.as_os_str());
        }
        builder.init().map(|nvml| Opened(Some(nvml))).map_err(|error| {
            let fault = fault(Call::Init, &error);
            self.opening.failed(fault);
            (fault, true)
        })
    }

    /// Ends a poll: what was asked and failed in it, and whether to go on with what is open. A device that is lost or could
    /// not be named is no reason to let go of the others, so the library is opened anew only as often as the back-off
    /// allows, and again until all are there.
    pub fn settle(&mut self, driver: &mut Driver<'_>) -> (u64, Vec<Fault>, LibraryState) {
        let Notes { calls, faults } = std::mem::take(&mut driver.notes);
        if let Some(fault) = faults.iter().find(|fault| fault.is_of_driver()) {
            self.opening.failed(*fault);
            return (calls, faults, LibraryState::MustReopen);
        }
        self.opening.succeeded();
        let lost = faults.iter().find(|fault| fault.is_of_device());
        let outcome = if let Some(fault) = lost.or(driver.more.as_ref()).or_else(|| driver.unnamed.first()) {
            self.looking.lost(*fault)
        } else {
            self.looking.succeeded();
            LibraryState::Usable
        };
        (calls, faults, outcome)
    }
}

// === impl Opened ===

impl Drop for Opened {
    /// nvml-wrapper panics where a library has no call to close it.
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|nvml| nvml.lib().nvmlShutdown.is_err()) {
            std::mem::forget(self.0.take());
        }
    }
}

// === impl Driver ===

impl<'n> Driver<'n> {
    /// Looks at what the library shows; none where it is closed.
    #[must_use]
    pub fn new(opened: &'n Opened) -> Option<Self> {
        let mut notes = Notes { calls: 1, faults: vec![] };
        let nvml = opened.0.as_ref()?;
        let versions = Versions {
            driver: notes.take(Call::DriverVersion, nvml.sys_driver_version()).ok(),
            nvml: notes.take(Call::NvmlVersion, nvml.sys_nvml_version()).ok(),
        };
        let cards = notes.take(Call::DeviceCount, nvml.device_count()).unwrap_or_default();
        let mut driver = Self {
            versions,
            cards,
            nvml,
            notes,
            devices: vec![],
            handles: vec![],
            unnamed: vec![],
            events: None,
            listen_again: false,
            more: None,
            listed: vec![],
            support: Support::default(),
        };
        for index in 0..cards.min(MOST_CARDS) {
            if let Err(fault) = driver.add_card(index) {
                driver.unnamed.push(fault);
            }
        }
        driver.events = driver.listen();
        Some(driver)
    }

    /// Versions of what was opened.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The devices that this process can see, in the driver's order; slices follow their card.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Why each of those that are there besides could not be named.
    #[must_use]
    pub fn unnamed(&self) -> &[Fault] {
        &self.unnamed
    }

    /// Whether the device with this UUID is one of them.
    #[must_use]
    pub fn shows(&self, uuid: &str) -> bool {
        self.devices.iter().any(|device| device.uuid == uuid)
    }

    /// A device is missed that ought to be there: it is looked for by opening the library anew.
    pub fn look_for_more(&mut self) {
        self.more.get_or_insert(Fault { call: Call::DeviceHandle, code: Code::NotFound });
    }

    /// Asks whether the driver still answers and shows as many devices.
    ///
    /// # Errors
    /// Fails where it does not.
    pub fn check(&mut self) -> Result<(), Fault> {
        self.listed.clear();
        self.more = None;
        if std::mem::take(&mut self.listen_again) {
            self.events = self.listen();
        }
        let cards = self.notes.take(Call::DeviceCount, self.nvml.device_count())?;
        if cards == self.cards {
            return Ok(());
        }
        // Noted as what it is for the library: it has to be opened anew.
        self.notes.failed(Fault { call: Call::DeviceCount, code: Code::Other })
    }

    /// What failed while the library was opened or in this poll, first to last.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.notes.faults
    }

    /// Reads the device at `place` of [`Self::devices`]; `since` is the time of the newest sample that is known.
    ///
    /// # Errors
    /// Fails where the device or the driver is gone; a single value that cannot be had is only left out.
    pub fn read(&mut self, place: usize, since: u64) -> Result<Reading, Fault> {
        let before = self.notes.faults.len();
        let card = self.card_of(place);
        let utilization = self.ask(place, Call::Utilization, |device| device.utilization_rates())?;
        let encoding = self.ask(place, Call::EncoderStats, |device| device.encoder_stats())?;
        let codecs = match encoding {
            Some(ref stats) if stats.session_count > 0 => {
                self.ask(place, Call::EncoderSessions, raw::codecs)?
            }
            _ => None,
        };
        let reading = Reading {
            samples: self
                .ask(place, Call::Samples, |device| raw::samples(device, since))?
                .unwrap_or_default(),
            utilization: utilization.map(|percent| f64::from(percent.gpu) / 100.0),
            memory: self.ask(place, Call::Memory, memory)?,
            energy: self.ask(card, Call::Energy, |device| device.total_energy_consumption())?,
            power: self.ask(card, Call::Power, |device| device.power_usage())?,
            temperature: self
                .ask(card, Call::Temperature, |device| device.temperature(TemperatureSensor::Gpu))?,
            sm_clock: self.ask(card, Call::SmClock, |device| device.clock_info(Clock::SM))?,
            memory_clock: self.ask(card, Call::MemoryClock, |device| device.clock_info(Clock::Memory))?,
            throttled: self
                .ask(card, Call::Throttled, |device| device.current_throttle_reasons())?
                .map(Throttled::from),
            encoder: self
                .ask(place, Call::Encoder, |device| device.encoder_utilization())?
                .map(|window| f64::from(window.utilization) / 100.0),
            decoder: self
                .ask(place, Call::Decoder, |device| device.decoder_utilization())?
                .map(|window| f64::from(window.utilization) / 100.0),
            encoding: encoding.map(|stats| StreamStats {
                sessions: stats.session_count,
                frames: stats.average_fps,
                latency: stats.average_latency,
            }),
            codecs: codecs.unwrap_or_default(),
            capturing: self.ask(place, Call::FbcStats, |device| device.fbc_stats())?.map(|stats| {
                StreamStats {
                    sessions: stats.sessions_count,
                    frames: stats.average_fps,
                    latency: stats.average_latency,
                }
            }),
        };
        let mut faults = self.notes.faults[before..].iter().filter(|fault| !fault.is_for_good());
        match faults.next().copied() {
            // It answers, and nothing: it may once the library is opened anew.
            Some(fault) if reading == Reading::default() => {
                self.more = Some(fault);
                Err(fault)
            }
            _ => Ok(reading),
        }
    }

    /// The processes on the device at `place`, of both kinds, as they were when first asked for in this poll; none where one
    /// list is not to be had, because half is not all.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn processes(&mut self, place: usize) -> Result<Option<Vec<Process>>, Fault> {
        match self.listed.iter().find(|(known, _)| *known == place) {
            Some((_, listed)) => Ok(listed.clone()),
            None => self.processes_now(place),
        }
    }

    /// The same, asked for anew.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn processes_now(&mut self, place: usize) -> Result<Option<Vec<Process>>, Fault> {
        let compute =
            self.ask(place, Call::ComputeProcesses, |device| raw::processes(device, ProcessKind::Compute))?;
        let graphics =
            self.ask(place, Call::GraphicsProcesses, |device| raw::processes(device, ProcessKind::Graphics))?;
        let listed = compute.zip(graphics).map(|(compute, graphics)| [compute, graphics].concat());
        self.listed.retain(|(known, _)| *known != place);
        self.listed.push((place, listed.clone()));
        Ok(listed)
    }

    /// What each process had of the device at `place` since a time in microseconds; none where that is not to be had.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn shares(&mut self, place: usize, since: u64) -> Result<Option<Vec<ProcessUtilization>>, Fault> {
        self.ask(place, Call::ProcessUtilization, |device| raw::shares(device, since))
    }

    /// Waits for `time` or until `is_over`, whichever is first, and passes on every fault of a card (Xid) that the driver
    /// reports meanwhile: for the card and each of its slices the UUID, and NVIDIA's number if the driver knows it.
    pub fn wait(
        &mut self,
        time: Duration,
        mut is_over: impl FnMut(Duration) -> bool,
        mut report: impl FnMut(&str, Option<u64>),
    ) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let Some(events) = &self.events else {
                is_over(left);
                return;
            };
            let began = Instant::now();
            let look = left.min(LOOK);
            let answer = events.wait(look.as_millis().max(1) as u32);
            self.notes.calls += 1;
            match answer {
                Ok(event) => {
                    let code = match event.event_data {
                        Some(XidError::Value(code)) => Some(code),
                        Some(XidError::Unknown) | None => None,
                    };
                    // Of a card that no place is known of nobody can say whose it is.
                    let place = self.handles.iter().position(|card| raw::are_one(card, &event.device));
                    if let Some(card) = place.and_then(|place| self.devices.get(place)) {
                        for device in self.devices.iter().filter(|device| device.card() == card.uuid) {
                            report(&device.uuid, code);
                        }
                    }
                    thread::sleep(BREATH.min(left));
                }
                Err(NvmlError::Timeout) => thread::sleep(look.saturating_sub(began.elapsed())),
                Err(error) => {
                    let fault = fault(Call::Events, &error);
                    self.notes.faults.push(fault);
                    (self.events, self.listen_again) = (None, !fault.is_for_good());
                }
            }
            if is_over(Duration::ZERO) {
                return;
            }
        }
    }

    fn add_card(&mut self, index: u32) -> Result<(), Fault> {
        let card = self.notes.take(Call::DeviceHandle, self.nvml.device_by_index(index))?;
        let uuid = self.new_uuid(&card)?;
        let mig_enabled = match self.notes.take_if_any(Call::MigMode, card.mig_mode())? {
            Some(mode) => mode.current == MIG_ENABLED,
            // Cards that have no MIG, and drivers that do not know it.
            None => false,
        };
        let compute_mode = self.notes.take_if_any(Call::ComputeMode, card.compute_mode())?;
        // Without it, or the numbers of a slice, only some names do not match.
        let minor = self.notes.take_if_any(Call::MinorNumber, card.minor_number()).ok().flatten();
        let slices = if mig_enabled { self.slices(&card)? } else { vec![] };
        let device = Device {
            uuid,
            index,
            minor,
            model: self.notes.take(Call::Name, card.name()).ok(),
            slice: None,
            mig_enabled,
            exclusive_process: compute_mode == Some(ComputeMode::ExclusiveProcess),
        };
        self.devices.push(device.clone());
        self.handles.push(card);
        for slice in slices {
            if let Err(fault) = self.add_slice(&device, slice) {
                self.unnamed.push(fault);
            }
        }
        Ok(())
    }

    fn add_slice(&mut self, card: &Device, slice: nvml_wrapper::Device<'n>) -> Result<(), Fault> {
        let uuid = self.new_uuid(&slice)?;
        let slice_of = Slice {
            card: card.uuid.clone(),
            gpu_instance: self.notes.take(Call::GpuInstance, raw::gpu_instance(&slice)).ok(),
            compute_instance: self.notes.take(Call::ComputeInstance, raw::compute_instance(&slice)).ok(),
        };
        let model = self.notes.take(Call::Name, slice.name()).ok();
        let (index, minor) = (card.index, card.minor);
        self.devices.push(Device { uuid, index, minor, model, slice: Some(slice_of), ..Device::default() });
        self.handles.push(slice);
        Ok(())
    }

    /// The visible slices of a card. Numbers without one answer `NOT_FOUND`, as do those of other pods' slices.
    fn slices(&mut self, card: &nvml_wrapper::Device<'n>) -> Result<Vec<nvml_wrapper::Device<'n>>, Fault> {
        let most = self.notes.take(Call::Slices, card.mig_device_count())?.min(MOST_SLICES);
        let mut slices = vec![];
        for number in 0..most {
            match card.mig_device_by_index(number) {
                Err(NvmlError::NotFound | NvmlError::InvalidArg) => self.notes.calls += 1,
                answer => match self.notes.take(Call::Slices, answer) {
                    Ok(slice) => slices.push(slice),
                    Err(fault) => self.unnamed.push(fault),
                },
            }
        }
        Ok(slices)
    }

    /// A UUID that no other device has: two with one name would be one series twice.
    fn new_uuid(&mut self, device: &nvml_wrapper::Device<'n>) -> Result<String, Fault> {
        let uuid = self.notes.take(Call::Uuid, device.uuid())?;
        if uuid.is_empty() || self.devices.iter().any(|known| known.uuid == uuid) {
            return self.notes.failed(Fault { call: Call::Uuid, code: Code::Other });
        }
        Ok(uuid)
    }

    fn card_of(&self, place: usize) -> usize {
        let index = self.devices.get(place).map(|device| device.index);
        self.devices.iter().position(|device| Some(device.index) == index).unwrap_or(place)
    }

    /// Listens for faults of all cards that report any. The library wants a new set where one card refuses.
    fn listen(&mut self) -> Option<EventSet<'n>> {
        // nvml-wrapper panics where a library cannot free a set.
        self.nvml.lib().nvmlEventSetFree.as_ref().ok()?;
        let xid = EventTypes::CRITICAL_XID_ERROR;
        let reports = |card: &&nvml_wrapper::Device<'n>| {
            card.supported_event_types().is_ok_and(|kinds| kinds.contains(xid))
        };
        let cards = self.devices.iter().zip(&self.handles).filter(|(device, _)| device.slice.is_none());
        let cards: Vec<_> = cards.map(|(_, card)| card).collect();
        self.notes.calls += cards.len() as u64;
        let cards: Vec<_> = cards.into_iter().filter(reports).collect();
        self.notes.calls += cards.len() as u64;
        if cards.is_empty() {
            return None;
        }
        let set = self.notes.take(Call::Events, self.nvml.create_event_set());
        let listening = set.and_then(|set| {
            let listening = cards.into_iter().try_fold(set, |set, card| card.register_events(xid, set));
            self.notes.take(Call::Events, listening.map_err(|failed| failed.error))
        });
        self.listen_again = listening.as_ref().is_err_and(|fault| !fault.is_for_good());
        listening.ok()
    }

    /// One question to the device at `place`, unless it has answered it with never.
    fn ask<T>(
        &mut self,
        place: usize,
        call: Call,
        question: impl FnOnce(&nvml_wrapper::Device<'n>) -> Result<T, NvmlError>,
    ) -> Result<Option<T>, Fault> {
        let Some(device) = self.handles.get(place).filter(|_| self.support.is_open(place, call)) else {
            return Ok(None);
        };
        match self.notes.take(call, question(device)) {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.is_of_driver() || fault.is_of_device() => Err(fault),
            Err(fault) => {
                self.support.learn(place, fault);
                Ok(None)
            }
        }
    }
}

// === impl Notes ===

impl Notes {
    fn take<T>(&mut self, call: Call, answer: Result<T, NvmlError>) -> Result<T, Fault> {
        self.calls += 1;
        answer.or_else(|error| self.failed(fault(call, &error)))
    }

    /// The same for what not every card has: that one has not is no failure.
    fn take_if_any<T>(&mut self, call: Call, answer: Result<T, NvmlError>) -> Result<Option<T>, Fault> {
        match answer {
            Err(error) if never(&error) => {
                self.calls += 1;
                Ok(None)
            }
            answer => self.take(call, answer).map(Some),
        }
    }

    fn failed<T>(&mut self, fault: Fault) -> Result<T, Fault> {
        self.faults.push(fault);
        Err(fault)
    }
}

// === impl Throttled ===

impl From<ThrottleReasons> for Throttled {
    fn from(reasons: ThrottleReasons) -> Self {
        let any = |of| reasons.intersects(of);
        Self {
            power_cap: any(ThrottleReasons::SW_POWER_CAP),
            thermal: any(ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN),
            power_brake: any(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
        }
    }
}

/// By the newer call, else by the one that every library has.
fn memory(device: &nvml_wrapper::Device<'_>) -> Result<Memory, NvmlError> {
    match device.memory_info() {
        Ok(bytes) => Ok(Memory { used: bytes.used, total: bytes.total }),
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => raw::older_memory(device),
        Err(error) => Err(error),
    }
}

/// Whether a card answers that it has no such mode, or a library that it knows none.
fn never(error: &NvmlError) -> bool {
    use NvmlError::{FailedToLoadSymbol, FunctionNotFound, InvalidArg, NotSupported};

    matches!(error, NotSupported | InvalidArg | FunctionNotFound | FailedToLoadSymbol(_))
}

fn fault(call: Call, error: &NvmlError) -> Fault {
    let fault = Fault { call, code: code(error) };
    tracing::debug!(%fault, %error, "An NVML call failed");
    fault
}

fn code(error: &NvmlError) -> Code {
    match error {
        NvmlError::LibloadingError(_) => Code::LibraryMissing,
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => Code::SymbolMissing,
        NvmlError::Uninitialized => Code::Uninitialized,
        NvmlError::InvalidArg => Code::InvalidArgument,
        NvmlError::NotSupported => Code::NotSupported,
        NvmlError::NoPermission => Code::NoPermission,
        NvmlError::NotFound => Code::NotFound,
        NvmlError::DriverNotLoaded => Code::DriverNotLoaded,
        NvmlError::Timeout => Code::Timeout,
        NvmlError::GpuLost => Code::GpuLost,
        NvmlError::ResetRequired => Code::ResetRequired,
        NvmlError::LibRmVersionMismatch => Code::VersionMismatch,
        NvmlError::Unknown => Code::Unknown,
        _ => Code::Other,
    }
}
