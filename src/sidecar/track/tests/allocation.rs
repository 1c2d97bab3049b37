//! Tests of devices that are attributed: read, unread, released, and attributed again.

use super::*;

#[test]
fn first_poll_allocates_and_publishes_the_device_and_counts_no_time() {
    let mut session = Session::new();
    let publication = session.poll(&attributed(Strategy::SingleDevice, &[A]));
    assert_eq!(session.state(A), Some(DeviceState::Read));
    assert_eq!(session.seconds(A), (Some(0.0), 0.0));
    assert_eq!(uuids(&publication), [A]);
    assert!(publication.attribution.is_ok() && publication.is_complete);
    assert_eq!((publication.lost, publication.reopen), (vec![], None));
}

#[test]
fn first_poll_without_a_device_publishes_the_reason_and_the_strategies() {
    let publication = Session::new().poll(&visible(&[]));
    assert_eq!(publication.attribution, Err(UnavailableReason::NoDevice));
    assert_eq!(publication.not_applicable, [(Strategy::Claim, NotApplicable::NotGiven)]);
    assert!(!publication.is_complete && publication.reopen.is_none());
}

#[test]
fn a_failed_value_makes_the_poll_incomplete_and_keeps_the_device() {
    let poll = Poll { is_incomplete: true, ..attributed(Strategy::SingleDevice, &[A]) };
    let publication = Session::new().poll(&poll);
    assert_eq!((uuids(&publication), publication.is_complete), (vec![A], false));
}

/// On a card that is not shared, the card's sessions are the session's.
#[test]
fn own_encoder_sessions_are_published_only_on_a_shared_card() {
    for (scope, own) in [(Scope::Session, None), (Scope::Device, Some(OWN_SESSIONS))] {
        let poll = Poll {
            outcome: Ok((Strategy::NodeAgent, scope, vec![A])),
            ..attributed(Strategy::NodeAgent, &[A])
        };
        let publication = Session::new().poll(&poll);
        assert_eq!(publication.gpus[0].own_streams.encoding, own, "{scope:?}");
    }
}

#[test]
fn an_unread_device_stays_allocated_and_its_time_is_unsampled() {
    let read = attributed(Strategy::SingleDevice, &[A]);
    let unread = Poll { unreadable: vec![A], ..read.clone() };
    let mut session = Session::after(&[read.clone(), unread.clone()]);
    let publication = session.poll(&unread);
    assert_eq!(session.state(A), Some(DeviceState::Unread(UnavailableReason::GpuLost)));
    assert_eq!(session.seconds(A), (Some(30.0), 30.0));
    assert_eq!(publication.attribution, Err(UnavailableReason::GpuLost), "no other device could be read");
    assert_eq!((publication.lost, publication.gpus), (vec![], vec![]));

    let back = session.poll(&read);
    assert_eq!((session.state(A), uuids(&back)), (Some(DeviceState::Read), vec![A]));
    assert_eq!(session.seconds(A), (Some(45.0), 45.0), "without samples the window is unsampled too");
}

#[test]
fn one_unread_device_of_two_is_published_together_with_the_read_device() {
    let both = attributed(Strategy::Claim, &[A, B]);
    let mut session = Session::after(std::slice::from_ref(&both));
    let publication = session.poll(&Poll { unreadable: vec![A], ..both.clone() });
    assert!(publication.attribution.is_ok() && !publication.is_complete);
    assert_eq!(uuids(&publication), [B]);
    assert_eq!(publication.lost, [(A.to_owned(), UnavailableReason::GpuLost)]);
    let neither = session.poll(&Poll { unreadable: vec![A, B], ..both });
    assert_eq!(neither.attribution, Err(UnavailableReason::GpuLost));
    assert_eq!(neither.lost, []);
}

#[test]
fn devices_stay_allocated_and_unsampled_while_the_driver_does_not_answer() {
    let poll = attributed(Strategy::SingleDevice, &[A]);
    let mut session = Session::after(std::slice::from_ref(&poll));
    let publication = session.driver_unavailable();
    session.driver_unavailable();
    assert_eq!(publication, Publication::unavailable(UnavailableReason::DriverNotLoaded));
    assert_eq!(session.state(A), Some(DeviceState::Unread(UnavailableReason::DriverNotLoaded)));
    assert_eq!(session.seconds(A), (Some(30.0), 30.0));

    session.poll(&poll);
    assert_eq!((session.state(A), session.seconds(A).0), (Some(DeviceState::Read), Some(45.0)));
}

#[test]
fn a_driver_that_never_answered_allocates_nothing() {
    let mut session = Session::new();
    session.driver_unavailable();
    assert_eq!((session.track.states().len(), session.track.accounts().len()), (0, 0));
}

#[test]
fn attribution_to_another_device_releases_the_first_one() {
    let first = attributed(Strategy::Processes, &[A]).also_shows(B);
    let second = Poll { outcome: Ok((Strategy::Processes, Scope::Session, vec![B])), ..first.clone() };
    let mut session = Session::after(&[first.clone(), first.clone(), second.clone()]);
    session.poll(&second);
    assert_eq!(session.state(A), Some(DeviceState::Released));
    assert_eq!(session.state(B), Some(DeviceState::Read));
    assert_eq!((session.seconds(A).0, session.seconds(B).0), (Some(15.0), Some(15.0)));
}

#[test]
fn a_released_device_is_counted_again_only_from_its_next_allocation() {
    let allocated = attributed(Strategy::Processes, &[A]);
    let none = Poll { outcome: Err(UnavailableReason::SeveralDevices), ..allocated.clone() };
    let mut session = Session::after(&[allocated.clone(), allocated.clone(), none.clone(), none]);
    assert_eq!(session.state(A), Some(DeviceState::Released));
    assert_eq!(session.track.newest_process_sample(A, Scope::Session), 0);
    session.driver_unavailable();
    assert_eq!(session.state(A), Some(DeviceState::Released), "the driver's absence changes nothing");
    session.poll(&allocated);
    assert_eq!(session.seconds(A).0, Some(15.0));
    session.poll(&allocated);
    assert_eq!(session.seconds(A).0, Some(30.0));
    assert_eq!(session.account(A).busy.get(Scope::Session), Some(30.0), "15 s before and 15 s after");
}

#[test]
fn a_slice_has_its_own_scope_and_its_card_has_the_scope_of_a_device() {
    let mut poll = visible(&[A, SLICE]);
    poll.visible[0].mig_enabled = true;
    poll.visible[1].slice = Some(Slice { card: A.into(), ..Slice::default() });
    poll.outcome = Ok((Strategy::Claim, Scope::Session, vec![SLICE]));
    let mut session = Session::after(std::slice::from_ref(&poll));
    let publication = session.poll(&poll);
    let gpu = &publication.gpus[0];
    assert_eq!((gpu.scopes.device, gpu.scopes.card), (Scope::Session, Scope::Device));
    let account = session.account(SLICE);
    assert_eq!((account.energy.get(Scope::Device), account.energy.get(Scope::Session)), (Some(0.0), None));
    assert_eq!(session.state(A), None, "the card is not the session's");
}

#[test]
fn the_end_of_a_session_counts_the_time_of_an_unread_device() {
    let poll = attributed(Strategy::SingleDevice, &[A]);
    let session = Session::after(&[poll.clone(), Poll { unreadable: vec![A], ..poll }]);
    // The handle of the poller does this when the last poll does not end in time.
    let mut account = session.account(A).clone();
    account.carry_over(session.now + Duration::from_secs(5));
    assert_eq!((account.allocated, account.unsampled), (Some(20.0), 20.0));
}

#[test]
fn faults_of_a_card_count_only_for_allocated_devices() {
    let mut session = Session::after(&[attributed(Strategy::Processes, &[A]).also_shows(B)]);
    session.track.add_xid(&XidEvent { devices: vec![A.into(), B.into()], code: Some(79) });
    assert_eq!(session.account(A).xids, [(Some(79), 1)]);
    session.poll(&attributed(Strategy::Processes, &[B]).also_shows(A));
    session.track.add_xid(&XidEvent { devices: vec![A.into()], code: Some(79) });
    assert_eq!((&session.account(A).xids[..], &session.account(B).xids[..]), (&[(Some(79), 1)][..], &[][..]));
}

#[test]
fn the_number_of_accounts_and_states_is_limited() {
    let mut session = Session::new();
    for number in 0..200 {
        let uuid: &'static str = Box::leak(format!("GPU-{number}").into_boxed_str());
        let publication = session.poll(&attributed(Strategy::Annotation, &[uuid]));
        assert_eq!(uuids(&publication), [uuid]);
        let left_out = [(String::new(), UnavailableReason::TooMany)];
        let is_counted = number < MAX_ACCOUNTS;
        assert_eq!(publication.is_complete, is_counted, "{number}");
        assert_eq!(publication.lost, if is_counted { &[][..] } else { &left_out }, "{number}");
    }
    assert_eq!(session.track.accounts().len(), MAX_ACCOUNTS);
    assert!(session.track.states().len() <= MAX_ACCOUNTS + 1, "{}", session.track.states().len());
}

/// The sidecar reads a report of the node agent again, because there is no later one.
#[test]
fn an_observation_that_is_not_later_than_the_last_one_changes_nothing() {
    let poll = attributed(Strategy::NodeAgent, &[A]);
    let mut session = Session::after(&[poll.clone(), poll.clone()]);
    let earlier = (session.seconds(A), session.account(A).clone());
    for back in [INTERVAL, 2 * INTERVAL] {
        session.now -= back;
        let publication = session.poll(&poll);
        assert_eq!(publication.gpus[0].values.utilization.get(Scope::Session), Some(1.0));
        assert_eq!((session.seconds(A), session.account(A)), (earlier.0, &earlier.1));
        session.now += back - INTERVAL;
    }
    session.poll(&poll);
    assert_eq!(session.seconds(A).0, Some(2.0 * INTERVAL.as_secs_f64()));
}

/// The report of a poll that began before the sidecar saw that the node agent was lost.
#[test]
fn no_time_is_allocated_twice_when_the_node_agent_returns() {
    let poll = attributed(Strategy::NodeAgent, &[A]);
    let mut session = Session::after(std::slice::from_ref(&poll));
    session.driver_unavailable();
    session.now -= INTERVAL + Duration::from_secs(1);
    session.poll(&poll);
    session.poll(&poll);
    assert_eq!(session.seconds(A).0, Some(2.0 * INTERVAL.as_secs_f64() - 1.0));
}

#[test]
fn a_reading_represents_two_intervals_of_its_source() {
    let mut session = Session::after(&[]);
    session.poll_interval = Some(4 * INTERVAL);
    let poll = attributed(Strategy::NodeAgent, &[A]);
    for _ in 0..2 {
        session.now += 3 * INTERVAL;
        session.poll(&poll);
    }
    assert_eq!(session.account(A).busy.get(Scope::Session), Some(4.0 * INTERVAL.as_secs_f64()));
}
