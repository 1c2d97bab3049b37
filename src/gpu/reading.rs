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
    fault::{Call, Fault},
    raw,
    values::{
        Codec, Memory, Process, ProcessKind, ProcessUtilization, Reading, Sample, StreamStats, Throttled,
    },
};

// === impl Driver ===

impl<'n> Driver<'n> {
    /// Reads the values of the device at `index` of [`Self::devices`].
    ///
    /// # Errors
    /// Fails if the device or the driver is lost. Also fails if no value can be read and one of the failures is not permanent.
    /// If only some values fail, these are none.
    pub fn read(&mut self, index: usize) -> Result<Reading, Fault> {
        let earlier_faults = self.log.faults.len();
        let reading = self.values(index)?;
        let mut faults = self.log.faults[earlier_faults..].iter().filter(|fault| !fault.is_permanent());
        match faults.next().copied() {
            // The device may return values after the library is reopened.
            Some(fault) if reading.is_empty() => {
                self.has_device_without_values = true;
                Err(fault)
            }
            _ => Ok(reading),
        }
    }

    /// All utilisation samples in the driver's buffer for the device at `index`. None if the call fails or if the device does not
    /// support it.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub fn samples(&mut self, index: usize) -> Result<Option<Vec<Sample>>, Fault> {
        self.call(index, Call::Samples, raw::samples)
    }

    fn values(&mut self, index: usize) -> Result<Reading, Fault> {
        let card = self.card_index(index);
        let utilization = self.call(index, Call::Utilization, |device| device.utilization_rates())?;
        let encoding = self.call(index, Call::EncoderStats, |device| device.encoder_stats())?;
        let codecs = self.codecs(index, encoding.as_ref())?;
        Ok(Reading {
            samples: self.samples(index)?,
            utilization: utilization.map(|percent| f64::from(percent.gpu) / 100.0),
            memory: self.call(index, Call::Memory, memory)?,
            energy: self.call(card, Call::Energy, |card| card.total_energy_consumption())?,
            power: self.call(card, Call::Power, |card| card.power_usage())?,
            temperature: self
                .call(card, Call::Temperature, |card| card.temperature(TemperatureSensor::Gpu))?,
            sm_clock: self.call(card, Call::SmClock, |card| card.clock_info(Clock::SM))?,
            memory_clock: self.call(card, Call::MemoryClock, |card| card.clock_info(Clock::Memory))?,
            throttled: self
                .call(card, Call::Throttled, |card| card.current_throttle_reasons())?
                .map(Throttled::from),
            encoder: self
                .call(index, Call::Encoder, |device| device.encoder_utilization())?
                .map(|window| f64::from(window.utilization) / 100.0),
            decoder: self
                .call(index, Call::Decoder, |device| device.decoder_utilization())?
                .map(|window| f64::from(window.utilization) / 100.0),
            encoding: encoding.map(StreamStats::from),
            codecs,
            capturing: self.call(index, Call::FbcStats, |device| device.fbc_stats())?.map(StreamStats::from),
        })
    }

    /// Encoder sessions by codec. The call is made only if the device has encoder sessions.
    fn codecs(&mut self, index: usize, encoding: Option<&EncoderStats>) -> Result<Vec<(Codec, u32)>, Fault> {
        if encoding.is_none_or(|stats| stats.session_count == 0) {
            return Ok(vec![]);
        }
        Ok(self.call(index, Call::EncoderSessions, raw::codecs)?.unwrap_or_default())
    }

    /// The compute and graphics processes on the device at `index`. The driver is called once in a poll. Returns none if one of
    /// the two lists cannot be read, because the other list alone is not complete.
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
        let compute =
            self.call(index, Call::ComputeProcesses, |device| raw::processes(device, ProcessKind::Compute))?;
        let graphics = self
            .call(index, Call::GraphicsProcesses, |device| raw::processes(device, ProcessKind::Graphics))?;
        let processes = compute.zip(graphics).map(|(compute, graphics)| [compute, graphics].concat());
        self.process_lists.retain(|(listed, _)| *listed != index);
        self.process_lists.push((index, processes.clone()));
        Ok(processes)
    }

    /// Utilisation samples of each process on the device at `index`, after `since` in microseconds of the node's wall clock.
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

    /// Makes a call for the device at `index`. Returns none if the call fails or if the device does not support it. Fails if
    /// the device or the driver is lost.
    fn call<T>(
        &mut self,
        index: usize,
        call: Call,
        function: impl FnOnce(&nvml_wrapper::Device<'n>) -> Result<T, NvmlError>,
    ) -> Result<Option<T>, Fault> {
        let Some(device) = self.handles.get(index).filter(|_| self.support.may_support(index, call)) else {
            return Ok(None);
        };
        match self.log.record(call, function(device)) {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.is_driver_lost() || fault.is_device_lost() => Err(fault),
            Err(fault) => {
                self.support.record(index, fault);
                Ok(None)
            }
        }
    }
}

/// The frame buffer in bytes. The older call is made only if the library does not have the newer call.
fn memory(device: &nvml_wrapper::Device<'_>) -> Result<Memory, NvmlError> {
    match device.memory_info() {
        Ok(bytes) => Ok(Memory { used: bytes.used, total: bytes.total }),
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => raw::older_memory(device),
        Err(error) => Err(error),
    }
}

// === impl Throttled, StreamStats ===

impl From<ThrottleReasons> for Throttled {
    fn from(reasons: ThrottleReasons) -> Self {
        let has = |reason| reasons.intersects(reason);
        Self {
            power_cap: has(ThrottleReasons::SW_POWER_CAP),
            thermal: has(ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN),
            power_brake: has(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
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
