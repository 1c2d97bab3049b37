//! The file that the node agent writes for a session at each poll, and that the session's sidecar reads. Pure.

use std::{collections::HashSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{observation::DeviceValues, processes::OwnUsage, sharing::Sharing};
use crate::gpu::{Codec, Device, Fault, Versions};

/// Version of the format. A new field does not change the version, because a reader ignores unknown fields. A field with another
/// meaning and a new value of a vocabulary change it.
pub const VERSION: u32 = 1;

/// Maximum number of bytes of the file. A card with a full buffer of samples needs about 8 KiB, and a session has at most 64
/// devices.
pub const MAX_BYTES: usize = 1 << 20;

/// The devices of a session at one poll of the node agent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SessionReport {
    /// The [`VERSION`] that the agent writes.
    pub version: u32,
    /// Time of the poll in microseconds since the start of the node (`CLOCK_BOOTTIME`), which is the same clock in all containers.
    pub at_us: u64,
    /// Time between two polls of the agent in microseconds.
    pub interval_us: u64,
    /// Versions of the driver and its library.
    pub versions: Versions,
    /// The session's devices; empty if the session has none.
    pub devices: Vec<DeviceReport>,
}

/// One device of a session.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DeviceReport {
    /// The device.
    pub device: Device,
    /// How the device is shared.
    pub sharing: Sharing,
    /// Whether a process of the session is on the device although other devices, or none, are assigned to the session.
    #[serde(default)]
    pub is_unassigned: bool,
    /// The values of the device, or the fault because of which it could not be read.
    pub values: Result<DeviceValues, Fault>,
    /// The latest Xid faults of the device, oldest first. The same fault is in several reports.
    #[serde(default)]
    pub xids: Vec<XidReport>,
}

/// An Xid fault of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct XidReport {
    /// Time at which the agent received the fault, in microseconds since the start of the node.
    pub at_us: u64,
    /// Xid number of the fault; none if the driver gives no number.
    pub code: Option<u64>,
}

/// Why a report cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// The file is larger than [`MAX_BYTES`].
    TooLarge,
    /// The file has another version.
    Version(u32),
    /// The file is not a report, or a field has an impossible value.
    Malformed(String),
    /// The report is older than two intervals of the agent, or its time is in the future.
    Stale(Duration),
}

/// Maximum number of bytes of a UUID (`NVML_DEVICE_UUID_V2_BUFFER_SIZE`).
const MAX_UUID_BYTES: usize = 96;

/// Maximum number of utilisations of processes outside 0 to 1. A sidecar counts each of them.
const MAX_OUT_OF_RANGE: usize = 10_000;

/// Maximum number of characters of the reason why a report is malformed. The reason can quote the file.
const MAX_REASON: usize = 200;

/// Maximum time between two polls of an agent.
const MAX_INTERVAL: Duration = Duration::from_secs(600);

/// Time that a write and a read of the file can take.
const TOLERANCE: Duration = Duration::from_secs(1);

// === impl SessionReport ===

impl SessionReport {
    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the bytes of the file. `now_us` is the time since the start of the node.
    ///
    /// # Errors
    /// Fails if the bytes are no report of this version, or if the report is too old.
    pub fn read(bytes: &[u8], now_us: u64) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct AnyVersion {
            version: u32,
        }

        if bytes.len() > MAX_BYTES {
            return Err(ReportError::TooLarge);
        }
        let malformed = |error: serde_json::Error| {
            ReportError::Malformed(error.to_string().chars().take(MAX_REASON).collect())
        };
        let AnyVersion { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version != VERSION {
            return Err(ReportError::Version(version));
        }
        let report: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        report.check(now_us)?;
        Ok(report)
    }

    fn check(&self, now_us: u64) -> Result<(), ReportError> {
        let interval = Duration::from_micros(self.interval_us);
        if interval.is_zero() || interval > MAX_INTERVAL {
            return Err(ReportError::Malformed(format!("interval_us is {}", self.interval_us)));
        }
        let age = Duration::from_micros(now_us.saturating_sub(self.at_us));
        let ahead = Duration::from_micros(self.at_us.saturating_sub(now_us));
        if age > 2 * interval + TOLERANCE || ahead > TOLERANCE {
            return Err(ReportError::Stale(age.max(ahead)));
        }
        self.check_devices().map_err(|why| ReportError::Malformed(why.to_owned()))
    }

    /// Fails if the sidecar would expose a series twice, or a value that is impossible. It removes the other impossible values, which
    /// the driver can give too.
    fn check_devices(&self) -> Result<(), &'static str> {
        let mut uuids = HashSet::new();
        for DeviceReport { device, values, .. } in &self.devices {
            if !(1..=MAX_UUID_BYTES).contains(&device.uuid.len()) {
                return Err("the UUID of a device is empty or has more than 96 bytes");
            }
            if !uuids.insert(&device.uuid) {
                return Err("two devices have the same UUID");
            }
            let Ok(DeviceValues { reading, own, .. }) = values else { continue };
            let own_codecs = own.as_ref().map_or(&[][..], |own| &own.streams.codecs);
            if is_listed_twice(&reading.codecs) || is_listed_twice(own_codecs) {
                return Err("a codec of a device is listed twice");
            }
            if own.as_ref().is_some_and(|own| !is_possible(own)) {
                return Err("the use of a device by the session is impossible");
            }
        }
        Ok(())
    }
}

fn is_listed_twice(codecs: &[(Codec, u32)]) -> bool {
    let distinct: HashSet<_> = codecs.iter().map(|(codec, _)| codec).collect();
    distinct.len() < codecs.len()
}

/// Whether the parts are not negative. Each is a sum, so it can be more than 1.
fn is_possible(own: &OwnUsage) -> bool {
    let parts = [own.sm, own.encoder, own.decoder, Some(own.all_sm)];
    own.out_of_range <= MAX_OUT_OF_RANGE && parts.iter().flatten().all(|part| *part >= 0.0)
}

// === impl ReportError ===

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the file has more than {MAX_BYTES} bytes"),
            Self::Version(version) => {
                write!(f, "the file has version {version}, and this program reads version {VERSION}")?;
                f.write_str("; install the same release of the node agent and the sidecar")
            }
            Self::Malformed(why) => write!(
                f,
                "the file is not a report of the node agent: {why}; install the same release of both"
            ),
            Self::Stale(age) => write!(
                f,
                "the time of the report differs from the present by {} s; check the node agent",
                age.as_secs()
            ),
        }
    }
}

impl std::error::Error for ReportError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gpu::{Call, Code, Reading, Sample, StreamStats},
        sampling::{bounds, streams::OwnStreams},
    };

    const NOW: u64 = 1_000_000_000;

    fn own() -> OwnUsage {
        let encoding = Some(StreamStats { sessions: 1, frames: 60, latency: 4000 });
        let streams = OwnStreams { encoding, codecs: vec![(Codec::Av1, 1)], capturing: None };
        OwnUsage { sm: Some(0.25), memory: Some(1), streams, ..OwnUsage::default() }
    }

    fn report() -> SessionReport {
        let samples = Some(vec![Sample { at: 7, ratio: 0.5 }]);
        let values = DeviceValues {
            reading: Reading { samples, energy: Some(3), ..Reading::default() },
            own: Some(own()),
            is_incomplete: false,
        };
        let device = |uuid: &str, values| DeviceReport {
            device: Device { uuid: uuid.into(), ..Device::default() },
            sharing: Sharing::TimeSlicing,
            is_unassigned: true,
            values,
            xids: vec![XidReport { at_us: 3, code: Some(79) }],
        };
        let lost = Fault { call: Call::Memory, code: Code::GpuLost };
        SessionReport {
            version: VERSION,
            at_us: NOW,
            interval_us: 15_000_000,
            versions: Versions { driver: Some("580.95".into()), nvml: None },
            devices: vec![device("GPU-1", Ok(values)), device("GPU-2", Err(lost))],
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let bytes = report().to_bytes();
        assert_eq!(SessionReport::read(&bytes, NOW), Ok(report()));
        // A later release can add fields.
        let text = String::from_utf8(bytes).unwrap().replacen('{', r#"{"added": [1], "#, 1);
        assert_eq!(SessionReport::read(text.as_bytes(), NOW), Ok(report()));
    }

    #[test]
    fn a_report_of_a_release_without_streams_is_read() {
        let mut written = serde_json::to_value(report()).unwrap();
        let fields = written["devices"][0]["values"]["Ok"]["own"].as_object_mut().unwrap();
        assert!(fields.remove("streams").is_some(), "{fields:?}");
        let read = SessionReport::read(written.to_string().as_bytes(), NOW).unwrap();
        let values = read.devices[0].values.as_ref().unwrap();
        assert_eq!(values.own, Some(OwnUsage { streams: OwnStreams::default(), ..own() }));
    }

    /// JSON has no NaN.
    #[test]
    fn a_sample_that_is_not_a_number_makes_no_report_malformed() {
        let mut report = report();
        let values = |report: &SessionReport| report.devices[0].values.clone().unwrap();
        let samples = Some(vec![Sample { at: 7, ratio: f64::NAN }]);
        let reading = Reading { samples, ..Reading::default() };
        report.devices[0].values = Ok(DeviceValues { reading, ..values(&report) });
        let read = SessionReport::read(&report.to_bytes(), NOW).unwrap();
        let samples = values(&read).reading.samples.unwrap();
        assert_eq!((samples[0].at, bounds::ratio(samples[0].ratio)), (7, None));
    }

    #[test]
    fn a_report_is_stale_after_two_intervals_and_before_its_time() {
        let read = |now: u64| SessionReport::read(&report().to_bytes(), now);
        assert!(read(NOW + 30_900_000).is_ok() && read(NOW - 900_000).is_ok());
        assert_eq!(read(NOW + 31_100_000), Err(ReportError::Stale(Duration::from_micros(31_100_000))));
        assert!(matches!(read(NOW - 1_100_000), Err(ReportError::Stale(_))));
        assert!(matches!(read(0), Err(ReportError::Stale(_))));
    }

    #[test]
    fn other_versions_and_other_files_are_refused() {
        let read = |bytes: &[u8]| SessionReport::read(bytes, NOW).unwrap_err();
        let other = SessionReport { version: 2, ..report() };
        assert_eq!(read(&other.to_bytes()), ReportError::Version(2));
        assert_eq!(read(br#"{"version": 0}"#), ReportError::Version(0));
        assert_eq!(read(&vec![b' '; MAX_BYTES + 1]), ReportError::TooLarge);
        for text in ["", "{", "null", "[]", r#"{"version": 1}"#, r#"{"version": -1}"#, "\u{0}"] {
            assert!(matches!(read(text.as_bytes()), ReportError::Malformed(_)), "{text}");
        }
        for interval_us in [0, u64::MAX] {
            let other = SessionReport { interval_us, ..report() };
            assert!(matches!(read(&other.to_bytes()), ReportError::Malformed(_)));
        }
        let half = report().to_bytes();
        assert!(matches!(read(&half[..half.len() / 2]), ReportError::Malformed(_)));
    }

    /// A device twice would be two equal series, and a part below 0 a counter that falls.
    #[test]
    fn devices_that_cannot_be_exposed_are_refused() {
        let is_refused = |change: fn(&mut DeviceValues, &mut OwnUsage)| {
            let mut report = report();
            let values = report.devices[0].values.as_mut().unwrap();
            let mut own = values.own.take().unwrap();
            change(values, &mut own);
            values.own = Some(own);
            matches!(SessionReport::read(&report.to_bytes(), NOW), Err(ReportError::Malformed(_)))
        };
        assert!(!is_refused(|_, _| {}));
        assert!(is_refused(|values, _| values.reading.codecs = vec![(Codec::Hevc, 1), (Codec::Hevc, 2)]));
        assert!(is_refused(|_, own| own.streams.codecs = vec![(Codec::Av1, 1), (Codec::Av1, 1)]));
        assert!(is_refused(|_, own| own.sm = Some(-0.1)));
        assert!(is_refused(|_, own| own.all_sm = -0.1));
        assert!(is_refused(|_, own| own.encoder = Some(-0.1)));
        assert!(is_refused(|_, own| own.decoder = Some(-0.1)));
        assert!(is_refused(|_, own| own.out_of_range = usize::MAX));
        for uuid in ["", "GPU-2", &"a".repeat(97)] {
            let mut report = report();
            report.devices[0].device.uuid = uuid.to_owned();
            assert!(SessionReport::read(&report.to_bytes(), NOW).is_err(), "{uuid}");
        }
    }

    #[test]
    fn every_prefix_and_every_changed_byte_gives_a_report_or_an_error() {
        let bytes = report().to_bytes();
        for index in 0..bytes.len() {
            let _ = SessionReport::read(&bytes[..index], NOW);
            for byte in [0, b'"', b'9', b'}', 0xff] {
                let mut changed = bytes.clone();
                changed[index] = byte;
                let _ = SessionReport::read(&changed, NOW);
            }
        }
    }
}
