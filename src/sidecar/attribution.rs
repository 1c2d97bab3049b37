//! Whose GPU is it: what is visible -> the device that is this session's, or why there is none. Pure.
//!
//! One rung of the ladder so far: exactly one visible device is ours.

use crate::gpu::{Code, Fault, Visible};

/// The device that is ours, and how surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Which rung of the ladder found it.
    pub strategy: Strategy,
    /// What the values of the device stand for.
    pub scope: Scope,
    /// How far the strategy can be trusted.
    pub confidence: Confidence,
}

/// The rungs of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Exactly one device is visible.
    SingleDevice,
}

/// Whose use a value measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This session's alone: may be summed over sessions.
    Session,
}

/// How far an attribution can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Right unless the node shares its cards, which a container cannot see.
    Good,
}

/// Why no device is this session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first read has not ended yet.
    Starting,
    /// No `libnvidia-ml.so.1` in this container.
    LibraryMissing,
    /// The library is there and the kernel driver is not.
    DriverNotLoaded,
    /// The driver or its library does not work.
    DriverError,
    /// The driver works and shows no device.
    NoDevice,
    /// The one visible device is cut into MIG slices: its values are those of all who hold one.
    InSlices,
    /// More than one device is visible, and nothing says which is ours.
    SeveralDevices,
    /// The device fell off the bus.
    GpuLost,
}

/// Finds our device among the visible ones: its place in the list.
///
/// # Errors
/// The reason why none of them is known to be ours.
pub fn decide(visible: &[Visible]) -> Result<(usize, Attribution), Reason> {
    match visible {
        [] => Err(Reason::NoDevice),
        [device] if device.in_slices => Err(Reason::InSlices),
        [_] => Ok((
            0,
            Attribution {
                strategy: Strategy::SingleDevice,
                scope: Scope::Session,
                confidence: Confidence::Good,
            },
        )),
        _ => Err(Reason::SeveralDevices),
    }
}

// === impl Reason ===

impl Reason {
    /// Value of the label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::LibraryMissing => "library_missing",
            Self::DriverNotLoaded => "driver_not_loaded",
            Self::DriverError => "driver_error",
            Self::NoDevice => "no_device",
            Self::InSlices => "in_slices",
            Self::SeveralDevices => "several_devices",
            Self::GpuLost => "gpu_lost",
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault.code {
            Code::LibraryMissing => Self::LibraryMissing,
            Code::DriverNotLoaded => Self::DriverNotLoaded,
            Code::GpuLost => Self::GpuLost,
            _ => Self::DriverError,
        }
    }
}

// === impl Strategy, Scope, Confidence ===

impl Strategy {
    /// Value of the label `strategy`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleDevice => "single_device",
        }
    }
}

impl Scope {
    /// Value of the label `scope`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
        }
    }
}

impl Confidence {
    /// Value of the label `confidence`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Call;

    #[test]
    fn only_a_device_that_is_alone_is_ours() {
        let device = |uuid: &str, in_slices| Visible { uuid: uuid.to_owned(), in_slices };
        let visible = [device("GPU-1", false), device("GPU-2", true)];
        assert_eq!(decide(&[]), Err(Reason::NoDevice));
        assert_eq!(decide(&visible[..1]).unwrap().0, 0);
        assert_eq!(decide(&visible[1..]), Err(Reason::InSlices));
        assert_eq!(decide(&visible), Err(Reason::SeveralDevices));
    }

    #[test]
    fn a_fault_is_a_reason() {
        let reason = |code| Reason::from(Fault { call: Call::Init, code }).as_str();
        assert_eq!(reason(Code::LibraryMissing), "library_missing");
        assert_eq!(reason(Code::DriverNotLoaded), "driver_not_loaded");
        assert_eq!(reason(Code::GpuLost), "gpu_lost");
        assert_eq!(reason(Code::VersionMismatch), "driver_error");
    }
}
