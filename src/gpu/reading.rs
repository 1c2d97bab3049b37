//! Reads the values and the processes of one device.

use nvml_wrapper::{
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Clock, TemperatureSensor},
    error::NvmlError,
    struct_wrappers::device::FbcStats,
    structs::device::EncoderStats,
};

use super::{
    driver::Driver,
    fault::{Call, Code, Fault},
    known::Answer,
    raw,
    values::{
        DeviceStreams, Memory, Process, ProcessUtilization, Reading, Sample, Stream, StreamStats, Throttled,
    },
};

/// The fault of a slice without any value. Every slice has memory.
const NO_MEMORY: Fault = Fault { call: Call::Memory, code: Code::NotSupported };

// === impl Driver ===

impl<'n> Driver<'n> {
    /// Reads the values of the device at `index` of [`Self::devices`].
    ///
    /// # Errors
    /// Fails if the device or the driver is lost, or if the handle belongs to another device. Also fails if no value can be read
    /// and one of the failures is not permanent. If only some values cannot be read, these values are none.
    pub fn read(&mut self, index: usize) -> Result<Reading, Fault> {
        self.verify(index)?;
        let card = self.card_index(index);
        let earlier_faults = self.log.faults.len();
        let own = self.own_values(index)?;
        // A destroyed slice has no value, but its card still has a power and a temperature.
        let is_slice = card != index;
        if is_slice {
            self.require_value(index, &own, earlier_faults, Some(NO_MEMORY))?;
        }
        let reading = self.with_card_values(card, own)?;
        self.require_value(index, &reading, earlier_faults, None)?;
        Ok(reading)
    }

    /// Fails if the reading of the device at `index` has no value. The error is the first fault since `earlier_faults` that is
    /// not permanent. If there is none, it is the refusal of a value, otherwise `otherwise`.
    fn require_value(
        &mut self,
        index: usize,
        reading: &Reading,
        earlier_faults: usize,
        otherwise: Option<Fault>,
    ) -> Result<(), Fault> {
        if !reading.is_empty() {
            return Ok(());
        }
        let mut faults = self.log.faults[earlier_faults..].iter().copied();
        let fault = faults.find(|fault| !fault.is_permanent());
        let fault = fault.or_else(|| self.support.refusal(&self.devices[index].uuid)).or(otherwise);
        let Some(fault) = fault else { return Ok(()) };
        // The device may return values after the library is reopened.
        self.has_device_without_values = true;
        Err(fault)
    }

    /// All utilisation samples in the driver's buffer for the device at `index`, between two polls. None if the call fails or if
    /// the device does not support it. The handle is verified again.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost, or if the handle belongs to another device.
    pub fn samples(&mut self, index: usize) -> Result<Option<Vec<Sample>>, Fault> {
        self.identities.clear();
        self.call(index, Call::Samples, raw::samples)
    }

    /// The values that the driver gives for each device.
    fn own_values(&mut self, index: usize) -> Result<Reading, Fault> {
        let encoding =
            self.call(index, Call::EncoderStats, |device| device.encoder_stats().map(StreamStats::from))?;
        Ok(Reading {
            samples: self.call(index, Call::Samples, raw::samples)?,
            utilization: self
                .call(index, Call::Utilization, |device| Ok(raw::ratio(device.utilization_rates()?.gpu)))?,
            memory: self.memory(index)?,
            encoder: self.call(index, Call::Encoder, |device| {
                Ok(raw::ratio(device.encoder_utilization()?.utilization))
            })?,
            decoder: self.call(index, Call::Decoder, |device| {
                Ok(raw::ratio(device.decoder_utilization()?.utilization))
            })?,
            encoding,
            codecs: Stream::codecs(&self.list_encoder_sessions(index, encoding)?.unwrap_or_default()),
            capturing: self
                .call(index, Call::FbcStats, |device| device.fbc_stats().map(StreamStats::from))?,
            ..Reading::default()
        })
    }

    /// The frame buffer in bytes. The older call is made if the newer call has never succeeded for this device. After it has
    /// succeeded, one failure must not change the call, because `used` of the older call includes the driver's reserve.
    fn memory(&mut self, index: usize) -> Result<Option<Memory>, Fault> {
        let mut is_newer = self.support.has_newer_memory(&self.devices[index].uuid);
        let memory = self.call(index, Call::Memory, |device| {
            let newer = device.memory_info();
            is_newer |= newer.is_ok();
            match newer {
                Ok(bytes) => Ok(Memory { used: bytes.used, total: bytes.total }),
                Err(error) if is_newer || raw::is_lost(&error) => Err(error),
                Err(error) => raw::older_memory(device).or(Err(error)),
            }
        })?;
        if is_newer {
            self.support.record_newer_memory(&self.devices[index].uuid);
        }
        Ok(memory)
    }

    /// Adds the values that the driver gives only for an entire card.
    fn with_card_values(&mut self, card: usize, own: Reading) -> Result<Reading, Fault> {
        Ok(Reading {
            energy: self.call(card, Call::Energy, |card| card.total_energy_consumption())?,
            power: self.call(card, Call::Power, |card| card.power_usage())?,
            temperature: self
                .call(card, Call::Temperature, |card| card.temperature(TemperatureSensor::Gpu))?,
            sm_clock: self.call(card, Call::SmClock, |card| card.clock_info(Clock::SM))?,
            memory_clock: self.call(card, Call::MemoryClock, |card| card.clock_info(Clock::Memory))?,
            throttled: self.call(card, Call::Throttled, raw::throttle_reasons)?.map(Throttled::from),
            ..own
        })
    }

    /// The encoder sessions and captures of the device at `index`, with the PIDs of their processes. `reading` is the reading of
    /// this poll. Only the captures need another call, and only if the device has captures.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub fn streams(&mut self, index: usize, reading: &Reading) -> Result<DeviceStreams, Fault> {
        let sessions = self.encoder_sessions.iter().find(|(listed, _)| *listed == index);
        let sessions = sessions.and_then(|(_, sessions)| sessions.clone());
        let captures = self.listed(index, reading.capturing, Call::FbcSessions, raw::captures)?;
        Ok(DeviceStreams {
            encoding: complete(sessions, reading.encoding),
            capturing: complete(captures, reading.capturing),
        })
    }

    /// Lists the encoder sessions for [`Self::streams`].
    fn list_encoder_sessions(
        &mut self,
        index: usize,
        encoding: Option<StreamStats>,
    ) -> Result<Option<Vec<Stream>>, Fault> {
        let sessions = self.listed(index, encoding, Call::EncoderSessions, raw::encoder_sessions)?;
        self.encoder_sessions.push((index, sessions.clone()));
        Ok(sessions)
    }

    /// The sessions that `stats` counts. The call is made only if there are any. None if it fails.
    fn listed(
        &mut self,
        index: usize,
        stats: Option<StreamStats>,
        call: Call,
        function: impl FnOnce(&nvml_wrapper::Device<'n>) -> Result<Vec<Stream>, NvmlError>,
    ) -> Result<Option<Vec<Stream>>, Fault> {
        match stats {
            Some(stats) if stats.sessions > 0 => self.call(index, call, function),
            stats => Ok(stats.map(|_| vec![])),
        }
    }

    /// The processes on the device at `index`. The driver is called once in a poll. Returns none if one of the lists cannot be
    /// read, because the other lists alone are not complete. The driver has a separate list of MPS processes.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub fn processes(&mut self, index: usize) -> Result<Option<Vec<Process>>, Fault> {
        match self.process_lists.iter().find(|(listed, _)| *listed == index) {
            Some((_, processes)) => Ok(processes.clone()),
            None => self.reread_processes(index),
        }
    }

    /// Like [`Self::processes`], but calls the driver again even if this poll has read the lists.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub fn reread_processes(&mut self, index: usize) -> Result<Option<Vec<Process>>, Fault> {
        let mut processes = Some(vec![]);
        for list in [Call::ComputeProcesses, Call::GraphicsProcesses, Call::MpsProcesses] {
            if list == Call::MpsProcesses && !self.devices()[index].exclusive_process {
                continue;
            }
            let listed = self.call(index, list, |device| raw::processes(device, list))?;
            processes = processes.zip(listed).map(|(processes, listed)| [processes, listed].concat());
        }
        self.process_lists.retain(|(listed, _)| *listed != index);
        self.process_lists.push((index, processes.clone()));
        Ok(processes)
    }

    /// Utilisation samples of each process on the device at `index`, after `since` in microseconds of the driver's clock.
    /// Returns none if the driver does not support them.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub fn process_utilization(
        &mut self,
        index: usize,
        since: u64,
    ) -> Result<Option<Vec<ProcessUtilization>>, Fault> {
        self.call(index, Call::ProcessUtilization, |device| raw::process_utilization(device, since))
    }

    /// Makes a call for the device at `index`. Returns none if the call fails or has failed permanently before. Fails if
    /// the device or the driver is lost.
    fn call<T: Answer>(
        &mut self,
        index: usize,
        call: Call,
        function: impl FnOnce(&nvml_wrapper::Device<'n>) -> Result<T, NvmlError>,
    ) -> Result<Option<T>, Fault> {
        if !self.support.may_support(&self.devices[index].uuid, call) {
            return Ok(None);
        }
        self.verify(index)?;
        match self.log.record(call, function(&self.handles[index])) {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.is_driver_lost() || fault.is_device_lost() => Err(fault),
            Err(fault) => {
                self.support.record(&self.devices[index].uuid, fault);
                Ok(None)
            }
        }
    }
}

/// The list, unless the driver counts more sessions than it has listed.
fn complete(listed: Option<Vec<Stream>>, stats: Option<StreamStats>) -> Option<Vec<Stream>> {
    let count = stats?.sessions as usize;
    listed.filter(|sessions| sessions.len() >= count)
}

// === impl Throttled, StreamStats ===

/// The reasons for reduced clocks, from `nvmlClocksThrottleReason*` bits. The other bits do not mean a problem: the card is idle,
/// or an operator, the display or another card of a sync boost group limits its clocks.
impl From<u64> for Throttled {
    fn from(bits: u64) -> Self {
        let has = |reasons: ThrottleReasons| bits & reasons.bits() != 0;
        let thermal = has(ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN);
        Self {
            power_cap: has(ThrottleReasons::SW_POWER_CAP),
            thermal,
            // The hardware slows the card down because of heat, a power brake, or too much power. The driver does not always
            // say which: without heat, power is the cause.
            power_brake: has(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN)
                || has(ThrottleReasons::HW_SLOWDOWN) && !thermal,
        }
    }
}

impl From<EncoderStats> for StreamStats {
    fn from(stats: EncoderStats) -> Self {
        Self { sessions: stats.session_count, frames: stats.average_fps, latency: stats.average_latency }
    }
}

impl From<FbcStats> for StreamStats {
    fn from(stats: FbcStats) -> Self {
        Self { sessions: stats.sessions_count, frames: stats.average_fps, latency: stats.average_latency }
    }
}
