//! Viewers far away.

use std::time::Duration;

use kit::{
    network::slow_line::{POD_AT_LINE, SlowLine},
    process::eventually,
};

use super::desktop_pod::*;

#[test]
fn the_round_trip_time_is_that_of_the_line() {
    const TRUTH: f64 = 0.040;
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let _line = SlowLine::create(&pod.network, Duration::from_secs_f64(TRUTH / 2.0), 0);
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD_AT_LINE);
    // On a busy machine the line is late at times. It is never early.
    eventually("a round-trip time within 20 % of the truth", || {
        link.send(20_000);
        let rtt = pod.scrape().value(RTT, &[])?;
        assert!(rtt >= 0.95 * TRUTH, "{rtt} s");
        (rtt <= 1.2 * TRUTH).then_some(())
    });
}

#[test]
fn bytes_are_exact_on_a_line_that_loses_packets() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let _line = SlowLine::create(&pod.network, Duration::from_millis(2), 40);
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD_AT_LINE);
    link.send(1_000_000);
    link.receive(50_000);
    let seen = pod.scrape_until("the bytes", |seen| {
        (seen.value(TRANSMITTED, &[]), seen.value(RECEIVED, &[])) == (Some(1e6), Some(5e4))
    });
    // Of at least 690 packets each fortieth is lost: 17 packets of 1448 bytes.
    let again = seen.value(RETRANSMITTED, &[]).unwrap();
    assert!((20_000.0..300_000.0).contains(&again), "{again} bytes were sent again");
}
