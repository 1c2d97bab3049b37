//! The rate of the datagrams that the pod sends. Pure; time is an argument.

use std::time::Instant;

/// The number of datagrams at the last read.
#[derive(Debug, Default)]
pub(super) struct UdpRate {
    last: Option<(Instant, u64)>,
}

/// Datagrams per second of a stream. A stream has at least one datagram for each frame, and Moonlight's audio alone has 100 to 200 per
/// second (`AudioPacketDuration` 5 or 10 ms in `moonlight-common-c`). DNS and NTP need less than one.
const MIN_RATE: f64 = 20.0;

// === impl UdpRate ===

impl UdpRate {
    /// Adds the number of datagrams since the start of the pod; none if it cannot be read. Returns whether the rate since the read before
    /// is that of a stream.
    pub(super) fn observe(&mut self, sent: Option<u64>, at: Instant) -> bool {
        let last = std::mem::replace(&mut self.last, sent.map(|sent| (at, sent)));
        let (Some(sent), Some((last_at, last_sent))) = (sent, last) else { return false };
        let seconds = at.saturating_duration_since(last_at).as_secs_f64();
        sent.saturating_sub(last_sent) as f64 >= MIN_RATE * seconds.max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stream_has_at_least_20_datagrams_per_second() {
        let (mut rate, start) = (UdpRate::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!rate.observe(Some(1_000_000), at(0)), "the first read");
        assert!(rate.observe(Some(1_000_300), at(15)));
        assert!(!rate.observe(Some(1_000_585), at(30)));
        assert!(!rate.observe(Some(0), at(45)), "the counter is reset");
        assert!(!rate.observe(None, at(60)));
        assert!(!rate.observe(Some(9000), at(75)), "the read before has no value");
    }
}
