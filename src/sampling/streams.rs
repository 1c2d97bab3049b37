//! Encoder sessions and frame-buffer captures of the session's own processes. Pure.

use serde::{Deserialize, Serialize};

use crate::gpu::{Codec, DeviceStreams, Stream, StreamStats};

/// Encoder sessions and frame-buffer captures of the session's own processes on a device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OwnStreams {
    /// Encoder sessions; none if it is not known which ones are the session's.
    pub encoding: Option<StreamStats>,
    /// Number of encoder sessions by codec; empty if there are none.
    pub codecs: Vec<(Codec, u32)>,
    /// Frame-buffer captures; none as for `encoding`.
    pub capturing: Option<StreamStats>,
}

// === impl OwnStreams ===

impl OwnStreams {
    /// The sums and means of `own`, which contains the streams of the session's processes only.
    #[must_use]
    pub fn of(own: &DeviceStreams) -> Self {
        let stats = |streams: &Option<Vec<Stream>>| streams.as_deref().map(StreamStats::of);
        Self {
            encoding: stats(&own.encoding),
            codecs: Stream::codecs(own.encoding.as_deref().unwrap_or_default()),
            capturing: stats(&own.capturing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(codec: Option<Codec>, frames: u32, latency: u32) -> Stream {
        Stream { pid: Some(7), codec, frames, latency }
    }

    #[test]
    fn sessions_are_counted_by_codec_and_their_frames_and_latencies_are_means() {
        let session = |codec, frames, latency| stream(Some(codec), frames, latency);
        let encoding = vec![
            session(Codec::Other, 60, 1000),
            session(Codec::Av1, 30, 3000),
            session(Codec::Av1, 30, 5001),
        ];
        let own = OwnStreams::of(&DeviceStreams { encoding: Some(encoding), capturing: None });
        assert_eq!(own.encoding, Some(StreamStats { sessions: 3, frames: 40, latency: 3000 }));
        assert_eq!((own.codecs, own.capturing), (vec![(Codec::Av1, 2), (Codec::Other, 1)], None));
    }

    #[test]
    fn no_session_is_zero_and_an_unknown_list_is_not() {
        let own = OwnStreams::of(&DeviceStreams { encoding: Some(vec![]), capturing: None });
        assert_eq!((own.encoding, own.capturing), (Some(StreamStats::default()), None));
        assert_eq!(own.codecs, []);
    }

    #[test]
    fn large_values_have_a_mean() {
        let captures = vec![stream(None, u32::MAX - 1, u32::MAX - 1); 3];
        let own = OwnStreams::of(&DeviceStreams { encoding: None, capturing: Some(captures) });
        let mean = StreamStats { sessions: 3, frames: u32::MAX - 1, latency: u32::MAX - 1 };
        assert_eq!(own.capturing, Some(mean));
    }
}
