//! `struct tcp_info`. The kernel only ever adds fields at its end, so an older kernel gives a shorter structure.

use std::time::Duration;

use super::bytes::{u8_at, u32_at, u64_at};
use crate::presence::sockets::{Answers, StreamCounters};

/// Offsets of the fields in bytes, with the first kernel that has them if it is newer than Linux 3.
mod offset {
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const PROBES: usize = 3;
    /// Milliseconds since the last acknowledgement.
    pub(super) const LAST_ACK_RECV: usize = 56;
    pub(super) const RTT: usize = 68;
    /// Linux 4.1.
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const BYTES_RECEIVED: usize = 128;
    /// Bytes in the send buffer that were never sent. Linux 4.6.
    pub(super) const NOTSENT_BYTES: usize = 144;
    /// Microseconds. Linux 4.10.
    pub(super) const BUSY_TIME: usize = 168;
    pub(super) const RWND_LIMITED: usize = 176;
    pub(super) const SNDBUF_LIMITED: usize = 184;
    /// Linux 4.19.
    pub(super) const BYTES_RETRANS: usize = 208;
}

/// The first retransmission, or the first probe, can be on the way at the poll. The second one means that no answer came for a round
/// trip: retransmissions begin after 0.2 s, and their intervals double.
const MIN_UNANSWERED: u8 = 2;

/// Whether the peer acknowledges; none if the structure is too short.
pub(super) fn answers(info: &[u8]) -> Option<Answers> {
    let silence = Duration::from_millis(u32_at(info, offset::LAST_ACK_RECV)?.into());
    let unanswered = u8_at(info, offset::RETRANSMITS)?.max(u8_at(info, offset::PROBES)?);
    Some(if unanswered < MIN_UNANSWERED { Answers::InTime } else { Answers::Outstanding(silence) })
}

/// The counters; none if the kernel does not count bytes.
pub(super) fn stream(info: &[u8]) -> Option<StreamCounters> {
    let newer = |offset| u64_at(info, offset).unwrap_or(0);
    Some(StreamCounters {
        transmitted: u64_at(info, offset::BYTES_ACKED)?,
        received: u64_at(info, offset::BYTES_RECEIVED)?,
        retransmitted: newer(offset::BYTES_RETRANS),
        rtt_us: u32_at(info, offset::RTT)?,
        busy_us: newer(offset::BUSY_TIME),
        receiver_limited_us: newer(offset::RWND_LIMITED),
        buffer_limited_us: newer(offset::SNDBUF_LIMITED),
        unsent: u32_at(info, offset::NOTSENT_BYTES).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(retransmits: u8, probes: u8, silence_ms: u32) -> Vec<u8> {
        let mut info = vec![0; 232];
        (info[offset::RETRANSMITS], info[offset::PROBES]) = (retransmits, probes);
        info[offset::LAST_ACK_RECV..][..4].copy_from_slice(&silence_ms.to_ne_bytes());
        info
    }

    /// A silent viewer can have fresh data on the way.
    #[test]
    fn only_a_repeated_request_without_an_answer_is_outstanding() {
        for (retransmits, probes) in [(0, 0), (1, 0), (0, 1)] {
            assert_eq!(answers(&info(retransmits, probes, 70_000)), Some(Answers::InTime));
        }
        for (retransmits, probes) in [(2, 0), (0, 2), (9, 1)] {
            let outstanding = Answers::Outstanding(Duration::from_secs(70));
            assert_eq!(answers(&info(retransmits, probes, 70_000)), Some(outstanding));
        }
        assert_eq!(answers(&[0; 59]), None);
    }
}
