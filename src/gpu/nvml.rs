//! The door to the driver: the only file that names nvml_wrapper. Blocking; a call may hang for as long as the driver
//! does, so everything here belongs to the polling thread.

use std::path::PathBuf;

use nvml_wrapper::{Device, Nvml, error::NvmlError};

use super::{Call, Code, Fault, Memory, Sample, Versions, Visible, backoff::Backoff};

/// `libnvidia-ml.so.1`, opened when first asked and again, with back-off, after it was missing or lost.
#[derive(Debug)]
pub struct Library {
    path: Option<PathBuf>,
    open: Option<(Nvml, Versions)>,
    backoff: Backoff,
    faults: Vec<Fault>,
}

/// The opened library during one poll.
#[derive(Debug)]
pub struct Driver<'a> {
    nvml: &'a Nvml,
    versions: &'a Versions,
    faults: &'a mut Vec<Fault>,
}

/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

// === impl Library ===

impl Library {
    /// The library at `path`, or where the loader finds it.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, open: None, backoff: Backoff::default(), faults: Vec::new() }
    }

    /// The opened library; opens it where necessary.
    ///
    /// # Errors
    /// The failure to open it, also at the polls at which the back-off makes no attempt.
    pub fn driver(&mut self) -> Result<Driver<'_>, Fault> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.try_open()?,
        };
        let (nvml, versions) = self.open.insert(open);
        Ok(Driver { nvml, versions, faults: &mut self.faults })
    }

    /// Ends a poll: returns what failed in it, and closes the library where that is the only way on.
    pub fn settle(&mut self) -> Vec<Fault> {
        match self.faults.iter().find(|fault| fault.is_fatal()) {
            Some(fault) => {
                self.backoff.failed(*fault);
                self.open = None;
            }
            None if self.open.is_some() => self.backoff.succeeded(),
            None => {}
        }
        std::mem::take(&mut self.faults)
    }

    fn try_open(&mut self) -> Result<(Nvml, Versions), Fault> {
        if let Some(fault) = self.backoff.pause() {
            return Err(fault);
        }
        let mut builder = Nvml::builder();
        if let Some(path) = &self.path {
            builder.lib_path(path.as_os_str());
        }
        let nvml = noted(&mut self.faults, Call::Init, builder.init())?;
        let versions = Versions {
            driver: noted(&mut self.faults, Call::DriverVersion, nvml.sys_driver_version()).ok(),
            nvml: noted(&mut self.faults, Call::NvmlVersion, nvml.sys_nvml_version()).ok(),
        };
        Ok((nvml, versions))
    }
}

// === impl Driver ===

impl<'a> Driver<'a> {
    /// Versions of what was opened.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        self.versions
    }

    /// The devices that this process can see, in the driver's order.
    ///
    /// # Errors
    /// Fails as a whole: with one device unnamed nobody can say which is whose.
    pub fn visible(&mut self) -> Result<Vec<Visible>, Fault> {
        let count = noted(self.faults, Call::DeviceCount, self.nvml.device_count())?;
        let visible = |index| {
            let device = self.device(index)?;
            let uuid = noted(self.faults, Call::Uuid, device.uuid())?;
            // Not noted: cards that have no MIG, and drivers that do not know it, say so by failing.
            let in_slices = device.mig_mode().is_ok_and(|mode| mode.current == MIG_ENABLED);
            Ok(Visible { uuid, in_slices })
        };
        (0..count as usize).map(visible).collect()
    }

    /// Reads the device at `index` of [`Self::visible`].
    ///
    /// # Errors
    /// Fails where the device or the driver is gone; a single value that cannot be had is only left out.
    pub fn sample(&mut self, index: usize) -> Result<Sample, Fault> {
        let device = self.device(index)?;
        let utilization = self.value(Call::Utilization, device.utilization_rates())?;
        let memory = self.value(Call::Memory, device.memory_info())?;
        Ok(Sample {
            model: self.value(Call::Name, device.name())?,
            // Drivers have reported more than 100 % (HAMi#555).
            utilization: utilization.map(|percent| f64::from(percent.gpu.min(100)) / 100.0),
            memory: memory.map(|bytes| Memory { used: bytes.used, total: bytes.total }),
        })
    }

    fn device(&mut self, index: usize) -> Result<Device<'a>, Fault> {
        noted(self.faults, Call::DeviceHandle, self.nvml.device_by_index(index as u32))
    }

    fn value<T>(&mut self, call: Call, answer: Result<T, NvmlError>) -> Result<Option<T>, Fault> {
        match noted(self.faults, call, answer) {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.is_fatal() => Err(fault),
            Err(_) => Ok(None),
        }
    }
}

fn noted<T>(faults: &mut Vec<Fault>, call: Call, answer: Result<T, NvmlError>) -> Result<T, Fault> {
    answer.map_err(|error| {
        let fault = Fault { call, code: code(&error) };
        tracing::debug!(%fault, %error, "An NVML call failed");
        faults.push(fault);
        fault
    })
}

fn code(error: &NvmlError) -> Code {
    match error {
        NvmlError::LibloadingError(_) => Code::LibraryMissing,
        NvmlError::FailedToLoadSymbol(_) => Code::SymbolMissing,
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
