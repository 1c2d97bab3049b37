//! Recognises placeholders. If the driver does not have a value, some calls succeed and return a placeholder. Pure.

use super::values::{Memory, Process, ProcessUtilization, Sample, Stream, StreamStats};

/// An answer of the driver. `CallLog::record` passes every answer through [`Self::known`].
pub(super) trait Answer: Sized {
    /// The answer without placeholders. None if the answer itself is a placeholder.
    fn known(self) -> Option<Self>;
}

/// The placeholder `0xFFFFFFFF` percent as a ratio. Every measured ratio is far lower, even a wrong ratio above 100 %.
const MAX_RATIO: f64 = u32::MAX as f64 / 100.0;

// === impl Answer ===

impl Answer for u32 {
    fn known(self) -> Option<Self> {
        (self != Self::MAX).then_some(self)
    }
}

/// `NVML_VALUE_NOT_AVAILABLE` is -1. Some drivers write only 32 bits of it into a field of 64 bits.
impl Answer for u64 {
    fn known(self) -> Option<Self> {
        (self != Self::MAX && self != Self::from(u32::MAX)).then_some(self)
    }
}

/// A ratio that was calculated from percent.
impl Answer for f64 {
    fn known(self) -> Option<Self> {
        (self < MAX_RATIO).then_some(self)
    }
}

/// A property of a device. It has no placeholder.
impl Answer for bool {
    fn known(self) -> Option<Self> {
        Some(self)
    }
}

/// A name, a version or a UUID. A string without a terminating zero is read as an empty string.
impl Answer for String {
    fn known(self) -> Option<Self> {
        (!self.is_empty()).then_some(self)
    }
}

impl Answer for Memory {
    fn known(self) -> Option<Self> {
        self.used.known()?;
        self.total.known().filter(|total| *total > 0)?;
        Some(self)
    }
}

impl Answer for StreamStats {
    fn known(self) -> Option<Self> {
        let Self { sessions, frames, latency } = self;
        Some(Self { sessions: sessions.known()?, frames: frames.known()?, latency: latency.known()? })
    }
}

impl Answer for Sample {
    fn known(self) -> Option<Self> {
        Some(Self { at: time(self.at)?, ratio: self.ratio.known()? })
    }
}

/// A process with unknown memory stays in the list, because it uses the device.
impl Answer for Process {
    fn known(self) -> Option<Self> {
        Some(Self { memory: self.memory.and_then(Answer::known), ..self })
    }
}

impl Answer for ProcessUtilization {
    fn known(self) -> Option<Self> {
        let Self { pid, at, sm, encoder, decoder } = self;
        let (sm, encoder, decoder) = (sm.known()?, encoder.known()?, decoder.known()?);
        Some(Self { pid: pid.known()?, at: time(at)?, sm, encoder, decoder })
    }
}

/// A session without its PID, frames or latency is an entry that the driver has not filled. A session of a virtual machine has no
/// PID here.
impl Answer for Stream {
    fn known(self) -> Option<Self> {
        self.pid.is_none_or(|pid| pid.known().is_some()).then_some(())?;
        Some(Self { frames: self.frames.known()?, latency: self.latency.known()?, ..self })
    }
}

/// A list without the entries that are placeholders.
impl<T: Answer> Answer for Vec<T> {
    fn known(self) -> Option<Self> {
        Some(self.into_iter().filter_map(Answer::known).collect())
    }
}

/// The time of a sample. An entry with the time 0 was not filled by the driver.
fn time(microseconds: u64) -> Option<u64> {
    microseconds.known().filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOT_AVAILABLE: [u64; 2] = [u64::MAX, u32::MAX as u64];

    #[test]
    fn placeholders_are_absent_in_every_value() {
        for bytes in NOT_AVAILABLE {
            assert_eq!(bytes.known(), None);
            assert_eq!(Memory { used: bytes, total: 8 }.known(), None);
            assert_eq!(Memory { used: 1, total: bytes }.known(), None);
            let process = Process { pid: 7, kind: crate::gpu::ProcessKind::Compute, memory: Some(bytes) };
            assert_eq!(vec![process].known(), Some(vec![Process { memory: None, ..process }]));
            assert_eq!(vec![Sample { at: bytes, ratio: 0.5 }].known(), Some(vec![]));
        }
        assert_eq!((u32::MAX.known(), String::new().known()), (None, None));
        assert_eq!(Memory { used: 0, total: 0 }.known(), None);
        for ratio in [f64::NAN, f64::INFINITY, f64::from(u32::MAX) / 100.0, u64::MAX as f64 / 100.0] {
            assert_eq!(ratio.known(), None);
            assert_eq!(vec![Sample { at: 7, ratio }].known(), Some(vec![]));
            let idle = ProcessUtilization { pid: 7, at: 7, sm: 0.0, encoder: 0.0, decoder: 0.0 };
            for sample in [
                ProcessUtilization { sm: ratio, ..idle },
                ProcessUtilization { encoder: ratio, ..idle },
                ProcessUtilization { decoder: ratio, ..idle },
                ProcessUtilization { pid: u32::MAX, ..idle },
                ProcessUtilization { at: 0, ..idle },
            ] {
                assert_eq!(vec![sample, idle].known(), Some(vec![idle]));
            }
        }
        let stats = StreamStats { sessions: 1, frames: 60, latency: 4000 };
        for sample in [
            StreamStats { sessions: u32::MAX, ..stats },
            StreamStats { frames: u32::MAX, ..stats },
            StreamStats { latency: u32::MAX, ..stats },
        ] {
            assert_eq!(sample.known(), None);
        }
        let stream = Stream { pid: Some(7), codec: None, frames: 60, latency: 4000 };
        let of_machine = Stream { pid: None, ..stream };
        for unfilled in [
            Stream { pid: Some(u32::MAX), ..stream },
            Stream { frames: u32::MAX, ..stream },
            Stream { latency: u32::MAX, ..stream },
        ] {
            assert_eq!(vec![unfilled, stream, of_machine].known(), Some(vec![stream, of_machine]));
        }
    }

    proptest! {
        #[test]
        fn every_other_value_is_kept(number: u32, bytes: u64, percent in 0..1_000_000u32, text in ".+") {
            prop_assume!(number != u32::MAX && !NOT_AVAILABLE.contains(&bytes));
            let (used, total) = (bytes, bytes.saturating_add(1).clamp(1, u64::MAX - 1));
            let ratio = f64::from(percent) / 100.0;
            prop_assert_eq!(number.known(), Some(number));
            prop_assert_eq!(bytes.known(), Some(bytes));
            prop_assert_eq!(ratio.known(), Some(ratio));
            prop_assert_eq!(text.clone().known(), Some(text));
            prop_assume!(total != u64::from(u32::MAX));
            prop_assert_eq!(Memory { used, total }.known(), Some(Memory { used, total }));
        }
    }
}
