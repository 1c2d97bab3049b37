//! `struct tcp_info`. The kernel only ever adds fields at its end, so an older kernel gives a shorter structure.

use std::time::Duration;

use super::bytes::{u8_at, u32_at, u64_at};
use crate::presence::sockets::{Answers, StreamCounters};

/// Offsets of the fields in bytes, with the first kernel that has them if it is newer than Linux 3.
mod offset {
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const PROBES: usize = 3;
    /// Segments that are not acknowledged.
    pub(super) const UNACKED: usize = 24;
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

/// Whether the peer acknowledges; none if the structure is too short.
pub(super) fn answers(info: &[u8]) -> Option<Answers> {
    let silence = Duration::from_millis(u32_at(info, offset::LAST_ACK_RECV)?.into());
    let unsent = u32_at(info, offset::NOTSENT_BYTES).unwrap_or(0);
    let unacknowledged = u32_at(info, offset::UNACKED)?;
    let unanswered = u8_at(info, offset::RETRANSMITS)? | u8_at(info, offset::PROBES)?;
    let is_complete = unsent == 0 && unacknowledged == 0 && unanswered == 0;
    Some(if is_complete { Answers::Complete } else { Answers::Outstanding(silence) })
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
