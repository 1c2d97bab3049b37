//! The termination message: the totals of one run of the sidecar as one line of JSON. The sidecar writes it, and the kubelet
//! copies it into the pod's status. The server's `sessions::usage` reads it there.
//!
//! A reader ignores unknown fields, and reads every version of [`READABLE`].

use std::{borrow::Cow, error::Error, fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

/// Version of the format. If the meaning of a field changes or a field is removed, the version must change.
pub const VERSION: u8 = 2;

/// Versions that [`TerminationMessage::parse`] reads. Version 1 has no presence, unsampled time and idle time.
pub const READABLE: RangeInclusive<u8> = 1..=VERSION;

/// The [`DeviceTotal::scope`] of totals that are those of the session alone.
pub const SESSION_SCOPE: &str = "session";

/// The reasons of the parts of [`DeviceTotal::idle`], as the label `reason` has them.
pub const IDLE_REASONS: [&str; 2] = ["nobody_connected", "connected_unused"];

/// The message. All times are Unix times in seconds. The most important fields come first.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TerminationMessage<'m> {
    /// The [`VERSION`] that the sidecar writes.
    pub v: u8,
    /// Start of the session; the same in each run of the sidecar.
    pub session: u64,
    /// Start of this run of the sidecar. The totals begin here.
    pub start: u64,
    /// Time of the last poll. The totals end here.
    pub end: u64,
    /// `true` if the run ended after a request to stop. `false` if the sidecar was killed or still runs.
    pub ended: bool,
    /// Strategy and confidence of the last attribution, or `none` and the reason why no device could be read.
    #[serde(borrow)]
    pub by: [Cow<'m, str>; 2],
    /// Totals of the viewers' connections; none if they were never known, or if the message has no space for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceTotals>,
    /// Totals of the devices. The device that was allocated for the longest time comes first.
    #[serde(borrow)]
    pub gpus: Vec<DeviceTotal<'m>>,
    /// Number of devices that are missing in [`Self::gpus`], because the message has a maximum length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

/// Totals of the viewers' connections in this run of the sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PresenceTotals {
    /// Seconds in which at least one viewer was connected.
    pub connected: u64,
    /// Time at which a viewer was seen first; none if no viewer was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Time at which a viewer was seen last; none if no viewer was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Bytes to the viewers that they acknowledged; none if they are not known, or if the message has no space for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transmitted: Option<u64>,
    /// Bytes from the viewers; none as for [`Self::transmitted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
}

/// Totals of one device in this run of the sidecar. A total that the driver did not give is absent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DeviceTotal<'m> {
    /// UUID of the device.
    #[serde(borrow)]
    pub gpu: Cow<'m, str>,
    /// Scope of [`Self::busy`] and [`Self::peak`]: [`SESSION_SCOPE`], `device` or `node`.
    #[serde(borrow)]
    pub scope: Cow<'m, str>,
    /// Seconds for which the device was allocated to the session.
    pub allocated: u64,
    /// Seconds in which the device was busy, rounded to tenths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Seconds of [`Self::allocated`] of which it is unknown whether the device was busy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsampled: u64,
    /// Seconds of [`Self::allocated`] in which no viewer used the device, by reason in the order of [`IDLE_REASONS`].
    /// None if it was never known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<[u64; 2]>,
    /// Energy in joules that is attributed to the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joules: Option<u64>,
    /// Maximum number of bytes of the frame buffer in use at a poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
}

/// Why a termination message cannot be read.
#[derive(Debug)]
pub enum UnreadableMessage {
    /// The text is no message, for example because it was truncated.
    Malformed(serde_json::Error),
    /// A newer version of the sidecar wrote the message.
    Version(u8),
}

// === impl TerminationMessage ===

impl<'m> TerminationMessage<'m> {
    /// Reads the text of a message, with the spaces at its end.
    ///
    /// # Errors
    /// Fails if the text is not valid JSON, if a field is missing, or if the version is not in [`READABLE`].
    pub fn parse(text: &'m str) -> Result<Self, UnreadableMessage> {
        let message: Self = serde_json::from_str(text).map_err(UnreadableMessage::Malformed)?;
        if READABLE.contains(&message.v) { Ok(message) } else { Err(UnreadableMessage::Version(message.v)) }
    }
}

// === impl UnreadableMessage ===

impl fmt::Display for UnreadableMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(_) => write!(f, "the termination message is not valid; it may be truncated"),
            Self::Version(version) => write!(
                f,
                "the termination message has version {version}, and this program reads {} to {}; update this program",
                READABLE.start(),
                READABLE.end()
            ),
        }
    }
}

impl Error for UnreadableMessage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Version(_) => None,
        }
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> TerminationMessage<'static> {
        let full = DeviceTotal {
            gpu: "GPU-1".into(),
            scope: "session".into(),
            allocated: 28_800,
            busy: Some(0.1),
            unsampled: 3,
            idle: Some([9, 1]),
            joules: Some(7),
            peak: Some(1 << 33),
        };
        let bare = DeviceTotal {
            gpu: "GPU-2".into(),
            busy: None,
            unsampled: 0,
            idle: None,
            joules: None,
            peak: None,
            ..full.clone()
        };
        let by = ["single_device".into(), "good".into()];
        TerminationMessage {
            v: VERSION,
            session: 1,
            start: 2,
            end: 3,
            ended: true,
            by,
            presence: Some(PresenceTotals {
                connected: 8,
                first: Some(4),
                last: Some(5),
                transmitted: Some(6),
                received: Some(7),
            }),
            gpus: vec![full, bare],
            more: 4,
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let nobody = Some(PresenceTotals::default());
        for presence in [message().presence, nobody, None] {
            for more in [0, 4] {
                let message = TerminationMessage { presence, more, ..message() };
                let text = serde_json::to_string(&message).unwrap();
                assert_eq!(TerminationMessage::parse(&text).unwrap(), message);
            }
        }
    }

    #[test]
    fn the_format_is_stable() {
        let text = serde_json::to_string(&message()).unwrap();
        assert_eq!(
            text,
            r#"{"v":2,"session":1,"start":2,"end":3,"ended":true,"by":["single_device","good"],"presence":{"connected":8,"first":4,"last":5,"transmitted":6,"received":7},"gpus":[{"gpu":"GPU-1","scope":"session","allocated":28800,"busy":0.1,"unsampled":3,"idle":[9,1],"joules":7,"peak":8589934592},{"gpu":"GPU-2","scope":"session","allocated":28800}],"more":4}"#
        );
    }

    /// The text that version 1 wrote.
    #[test]
    fn a_message_of_version_1_is_read_without_presence() {
        let text = r#"{"v":1,"session":1,"start":2,"end":3,"ended":true,"by":["single_device","good"],"gpus":[{"gpu":"GPU-1","scope":"session","allocated":28800,"busy":0.1,"joules":7,"peak":8589934592},{"gpu":"GPU-2","scope":"session","allocated":28800}],"more":4}"#;
        let read = TerminationMessage::parse(text).unwrap();
        let mut expected = TerminationMessage { v: 1, presence: None, ..message() };
        (expected.gpus[0].unsampled, expected.gpus[0].idle) = (0, None);
        assert_eq!(read, expected);
    }

    #[test]
    fn messages_of_other_versions_and_truncated_messages_are_rejected_with_the_reason() {
        let text = |v| serde_json::to_string(&TerminationMessage { v, ..message() }).unwrap();
        let error = |text: &str| TerminationMessage::parse(text).unwrap_err().to_string();
        for version in [0, 3] {
            assert!(
                error(&text(version))
                    .contains(&format!("has version {version}, and this program reads 1 to 2"))
            );
        }
        assert!(error(&text(2)[..100]).contains("may be truncated"));
    }

    #[test]
    fn unknown_fields_and_padding_are_ignored() {
        let text = r#"{"v":1,"new":{},"session":1,"start":2,"end":3,"ended":false,"by":["none","starting"],"gpus":[{"gpu":"GPU-1","scope":"new","allocated":1,"new":[]}]}   "#;
        let message = TerminationMessage::parse(text).unwrap();
        assert_eq!((message.more, message.gpus[0].busy), (0, None));
    }
}
