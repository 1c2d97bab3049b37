//! The termination message: the totals of one run of the sidecar as one line of JSON. The sidecar writes it, and the kubelet
//! copies it into the pod's status. The server will read it there; this version does not.
//!
//! A new field does not change [`VERSION`], because a reader ignores unknown fields.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Version of the format. If the meaning of a field changes or a field is removed, the version must change.
pub const VERSION: u8 = 1;

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
    /// Totals of the devices. The device that was allocated for the longest time comes first.
    #[serde(borrow)]
    pub gpus: Vec<DeviceTotal<'m>>,
    /// Number of devices that are missing in [`Self::gpus`], because the message has a maximum length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

/// Totals of one device in this run of the sidecar. A total that the driver did not give is absent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DeviceTotal<'m> {
    /// UUID of the device.
    #[serde(borrow)]
    pub gpu: Cow<'m, str>,
    /// Scope of [`Self::busy`] and [`Self::peak`]: `session`, `device` or `node`.
    #[serde(borrow)]
    pub scope: Cow<'m, str>,
    /// Seconds for which the device was allocated to the session.
    pub allocated: u64,
    /// Seconds in which the device was busy, rounded to tenths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Energy in joules that is attributed to the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joules: Option<u64>,
    /// Maximum number of bytes of the frame buffer in use at a poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
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
            joules: Some(7),
            peak: Some(1 << 33),
        };
        let bare = DeviceTotal { gpu: "GPU-2".into(), busy: None, joules: None, peak: None, ..full.clone() };
        let by = ["single_device".into(), "good".into()];
        TerminationMessage {
            v: VERSION,
            session: 1,
            start: 2,
            end: 3,
            ended: true,
            by,
            gpus: vec![full, bare],
            more: 4,
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for message in [message(), TerminationMessage { more: 0, ..message() }] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<TerminationMessage<'_>>(&text).unwrap(), message);
        }
    }

    #[test]
    fn the_format_is_stable() {
        let text = serde_json::to_string(&message()).unwrap();
        assert_eq!(
            text,
            r#"{"v":1,"session":1,"start":2,"end":3,"ended":true,"by":["single_device","good"],"gpus":[{"gpu":"GPU-1","scope":"session","allocated":28800,"busy":0.1,"joules":7,"peak":8589934592},{"gpu":"GPU-2","scope":"session","allocated":28800}],"more":4}"#
        );
    }

    #[test]
    fn unknown_fields_and_padding_are_ignored() {
        let text = r#"{"v":1,"new":{},"session":1,"start":2,"end":3,"ended":false,"by":["none","starting"],"gpus":[{"gpu":"GPU-1","scope":"new","allocated":1,"new":[]}]}   "#;
        let message: TerminationMessage<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((message.more, message.gpus[0].busy), (0, None));
    }
}
