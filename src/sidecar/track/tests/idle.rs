//! The time in which no viewer used an allocated device.

use super::*;
use crate::sampling::counters::IdleReason;

#[test]
fn time_without_a_viewer_counts_for_each_read_device_of_the_session() {
    let both = attributed(Strategy::Claim, &[A, B]);
    let mut session = Session { has_viewer: Some(false), ..Session::new() };
    session.poll(&both);
    session.poll(&both);
    session.poll(&Poll { unreadable: vec![B], ..both.clone() });
    session.has_viewer = None;
    session.poll(&both);
    let nobody = session.track.accounts().iter().map(|account| {
        let idle = account.idle.unwrap();
        (account.gpu.as_str(), idle.get(IdleReason::NobodyConnected))
    });
    assert_eq!(nobody.collect::<Vec<_>>(), [(A, 30.0), (B, 15.0)]);
}
