//! Tests of devices that are shown for the totals of the node. No evidence attributes them to the session.

use super::*;

fn node(uuids: &[&'static str]) -> Poll {
    Poll { outcome: Ok((Strategy::Node, Scope::Node, uuids.to_vec())), ..visible(uuids) }
}

#[test]
fn shown_devices_have_values_and_no_allocated_time() {
    let mut session = Session::after(&[node(&[A, B])]);
    let publication = session.poll(&node(&[A, B]));
    assert_eq!(session.state(A), Some(DeviceState::ShownOnly { unread: None }));
    assert_eq!((uuids(&publication), publication.is_complete), (vec![A, B], true));
    let account = session.account(A);
    assert_eq!((account.allocated, account.busy.get(Scope::Node)), (None, Some(15.0)));
}

#[test]
fn an_unread_shown_device_is_published_with_its_reason() {
    let mut session = Session::after(&[node(&[A, B])]);
    let publication = session.poll(&Poll { unreadable: vec![B], ..node(&[A, B]) });
    assert_eq!(publication.lost, [(B.to_owned(), UnavailableReason::GpuLost)]);
    assert_eq!(session.state(B), Some(DeviceState::ShownOnly { unread: Some(UnavailableReason::GpuLost) }));
    assert_eq!(session.seconds(B), (None, 0.0));
}

#[test]
fn a_shown_device_that_is_not_visible_is_released() {
    let mut session = Session::after(&[node(&[A, B])]);
    let publication = session.poll(&Poll { without_uuid: vec![NO_UUID], ..node(&[A]) });
    assert_eq!((session.state(B), publication.lost), (Some(DeviceState::Released), vec![]));
}

#[test]
fn a_shown_device_counts_from_its_attribution_and_its_earlier_reading_is_discarded() {
    let own = attributed(Strategy::Processes, &[A]);
    let mut session = Session::after(&[node(&[A]), node(&[A])]);
    session.poll(&own);
    assert_eq!((session.state(A), session.seconds(A)), (Some(DeviceState::Read), (Some(0.0), 0.0)));
    session.poll(&own);
    let account = session.account(A);
    assert_eq!((account.allocated, account.busy.get(Scope::Session)), (Some(15.0), Some(15.0)));
}

#[test]
fn allocated_time_of_a_device_stops_when_the_device_is_only_shown() {
    let own = attributed(Strategy::Processes, &[A]);
    let mut session = Session::after(&[own.clone(), own, node(&[A])]);
    session.poll(&node(&[A]));
    assert_eq!(session.state(A), Some(DeviceState::ShownOnly { unread: None }));
    assert_eq!(session.seconds(A).0, Some(15.0));
    assert_eq!(session.account(A).busy.get(Scope::Node), Some(30.0));
}

#[test]
fn shown_devices_stay_shown_while_the_driver_does_not_answer() {
    let mut session = Session::after(&[node(&[A])]);
    let publication = session.driver_unavailable();
    let unread = Some(UnavailableReason::DriverNotLoaded);
    assert_eq!(session.state(A), Some(DeviceState::ShownOnly { unread }));
    assert_eq!((publication.gpus.len(), session.seconds(A).0), (0, None));
    session.poll(&node(&[A]));
    assert_eq!(session.account(A).busy.get(Scope::Node), Some(30.0), "the gap is within two intervals");
}

#[test]
fn a_shown_device_that_is_named_and_not_visible_starts_again_when_it_is_back() {
    let named = Poll { named: format!("{A},{B}"), ..attributed(Strategy::Annotation, &[A]) };
    let mut session = Session::after(&[node(&[A, B]), node(&[A, B]), named]);
    assert_eq!(session.state(B), Some(DeviceState::NeverVisible(UnavailableReason::NotVisible)));
    let both = attributed(Strategy::Annotation, &[A, B]);
    session.poll(&both);
    session.poll(&both);
    let account = session.account(B);
    assert_eq!((account.allocated, account.busy.get(Scope::Session)), (Some(15.0), Some(15.0)));
}

#[test]
fn samples_from_before_an_allocation_do_not_belong_to_the_session() {
    let mut session = Session::after(&[node(&[A])]);
    let newest = |session: &Session, scope| session.track.newest_process_sample(A, scope);
    assert_eq!((newest(&session, Scope::Node), newest(&session, Scope::Session)), (7, 0));
    session.poll(&attributed(Strategy::Processes, &[A]));
    assert_eq!(newest(&session, Scope::Session), 7);
    assert_eq!(session.track.newest_process_sample(B, Scope::Node), 0);
}
