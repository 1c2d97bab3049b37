//! Bounds of the driver's values. A value beyond its bound is impossible. It is removed and counted. Pure.

use crate::{gpu::Reading, runtime::vocabulary::vocabulary};

vocabulary! {
    /// Kind of a value that was out of range; values of the label `value`.
    pub enum Clamp {
        /// A utilisation outside 0 to 1, of a device or of a process.
        Utilization = "utilization",
        /// An energy counter that fell, or that rose faster than a card can use energy.
        Energy = "energy",
        /// Used memory above the total, or a total that no card has.
        Memory = "memory",
        /// More power than a card can use.
        Power = "power",
        /// A temperature at which no card works.
        Temperature = "temperature",
        /// A clock that no card has.
        Clock = "clock",
    }
}

/// Maximum ratio that counts as 100 %. NVML rounds percentages to integers. `dcgm-exporter#418` reports 808,334,905 %.
const MAX_RATIO: f64 = 1.01;

/// Maximum power of a card. The largest boards have a limit of 1,400 W. `MangoHud#2144` reports 3.7 million watts.
pub(super) const MAX_WATTS: f64 = 3000.0;

/// Maximum temperature of a chip. Cards switch off below 120 degrees.
const MAX_CELSIUS: u32 = 150;

/// Maximum clock. The fastest clock of a card is the memory clock: 14,001 MHz with GDDR7.
const MAX_MEGAHERTZ: u32 = 50_000;

/// Maximum frame buffer: 16 TiB. The largest cards have 288 GB.
const MAX_BYTES: u64 = 1 << 44;

/// The ratio, limited to 1. Returns none if the ratio is impossible: not a number, negative, or above [`MAX_RATIO`].
pub(super) fn ratio(measured: f64) -> Option<f64> {
    (0.0..=MAX_RATIO).contains(&measured).then_some(measured.min(1.0))
}

/// Removes impossible values and limits ratios to 1. Does not change the samples. Returns the kinds of the values that were out
/// of range.
#[must_use]
pub fn remove_impossible(reading: &mut Reading) -> Vec<Clamp> {
    let mut clamps = vec![];
    for value in [&mut reading.utilization, &mut reading.encoder, &mut reading.decoder] {
        let possible = value.and_then(ratio);
        if possible != *value {
            clamps.push(Clamp::Utilization);
        }
        *value = possible;
    }
    for (kind, value, max) in [
        (Clamp::Power, &mut reading.power, MAX_WATTS as u32 * 1000),
        (Clamp::Temperature, &mut reading.temperature, MAX_CELSIUS),
        (Clamp::Clock, &mut reading.sm_clock, MAX_MEGAHERTZ),
        (Clamp::Clock, &mut reading.memory_clock, MAX_MEGAHERTZ),
    ] {
        clamps.extend(value.take_if(|value| *value > max).map(|_| kind));
    }
    let impossible_memory = reading.memory.take_if(|memory| memory.total > MAX_BYTES);
    clamps.extend(impossible_memory.map(|_| Clamp::Memory));
    clamps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Memory;

    #[test]
    fn only_a_ratio_that_is_rounded_is_clamped() {
        assert_eq!([0.0, 0.5, 1.0, 1.01].map(ratio), [Some(0.0), Some(0.5), Some(1.0), Some(1.0)]);
        for impossible in [1.02, -0.01, 8_083_349.05, f64::NAN, f64::INFINITY] {
            assert_eq!(ratio(impossible), None);
        }
    }

    #[test]
    fn each_value_is_kept_at_its_bound_and_absent_above() {
        let with = |more: u32| Reading {
            utilization: Some(1.0 + f64::from(more) / 10.0),
            encoder: Some(1.0 + f64::from(more) / 10.0),
            decoder: Some(1.0 + f64::from(more) / 10.0),
            power: Some(3_000_000 + more),
            temperature: Some(MAX_CELSIUS + more),
            sm_clock: Some(MAX_MEGAHERTZ + more),
            memory_clock: Some(MAX_MEGAHERTZ + more),
            memory: Some(Memory { used: 1, total: MAX_BYTES + u64::from(more) }),
            ..Reading::default()
        };
        let mut possible = with(0);
        assert_eq!((remove_impossible(&mut possible), &possible), (vec![], &with(0)));
        let mut impossible = with(1);
        let clamps = remove_impossible(&mut impossible);
        assert_eq!(impossible, Reading::default());
        let labels: Vec<&str> = clamps.into_iter().map(Clamp::as_str).collect();
        assert_eq!(labels[..3], ["utilization"; 3]);
        assert_eq!(labels[3..], ["power", "temperature", "clock", "clock", "memory"]);
    }
}
