//! Devices that the session should have and the driver does not show.

use super::*;

/// A poll in which no device is visible, so no strategy applies.
fn nothing_visible() -> Poll {
    visible(&[])
}

/// A poll in which no device is visible, and the driver has a device without a UUID.
fn without_uuid() -> Poll {
    Poll { without_uuid: vec![NO_UUID], ..nothing_visible() }
}

#[test]
fn a_lost_device_is_missing_until_it_is_back() {
    let poll = attributed(Strategy::SingleDevice, &[A]);
    let mut session = Session::after(std::slice::from_ref(&poll));
    session.poll(&without_uuid());
    let publication = session.poll(&without_uuid());
    assert_eq!(session.state(A), Some(DeviceState::Missing(UnavailableReason::GpuLost)));
    assert_eq!(session.seconds(A), (Some(30.0), 30.0));
    assert_eq!(publication.attribution, Err(UnavailableReason::GpuLost));
    assert_eq!(publication.not_applicable, [], "attribution did not fail, the device is missing");
    assert_eq!((publication.lost, publication.reopen), (vec![], Some(ReopenReason::NotVisible)));

    let back = session.poll(&poll);
    assert_eq!((session.state(A), uuids(&back)), (Some(DeviceState::Read), vec![A]));
    assert_eq!((session.seconds(A).0, back.reopen), (Some(45.0), None));
}

#[test]
fn a_device_that_nothing_expects_is_released_when_it_is_not_visible() {
    let mut session = Session::after(&[attributed(Strategy::SingleDevice, &[A])]);
    let publication = session.poll(&nothing_visible());
    assert_eq!(session.state(A), Some(DeviceState::Released));
    assert_eq!(publication.attribution, Err(UnavailableReason::NoDevice));
    assert_eq!((publication.reopen, session.seconds(A)), (None, (Some(0.0), 0.0)));
}

#[test]
fn each_kind_of_evidence_keeps_a_device_that_is_not_visible() {
    for poll in [
        Poll { has_claim: true, ..nothing_visible() },
        Poll { named: A.to_owned(), ..nothing_visible() },
        Poll { named: A.to_lowercase().replace("gpu", "GPU"), ..nothing_visible() },
        Poll { named: "nvidia0".to_owned(), ..nothing_visible() },
        Poll { with_processes: vec![A.to_owned()], ..nothing_visible() },
        without_uuid(),
    ] {
        let mut session = Session::after(&[attributed(Strategy::Processes, &[A])]);
        session.poll(&poll);
        assert!(matches!(session.state(A), Some(DeviceState::Missing(_))), "{poll:?}");
        assert_eq!(session.seconds(A), (Some(15.0), 15.0), "{poll:?}");
    }
}

#[test]
fn a_missing_device_is_released_when_another_device_is_named() {
    let named = |name: &str| Poll { named: name.to_owned(), ..nothing_visible() };
    for (name, is_kept) in [(B.to_owned(), false), (format!("{A},{B}"), true)] {
        let mut session = Session::after(&[attributed(Strategy::Annotation, &[A]), named(A)]);
        session.poll(&Poll { without_uuid: vec![NO_UUID], ..named(&name) });
        let expected =
            if is_kept { DeviceState::Missing(UnavailableReason::GpuLost) } else { DeviceState::Released };
        assert_eq!(session.state(A), Some(expected), "{name}");
    }
}

/// GKE names devices by the number of the device file.
#[test]
fn a_device_number_that_matches_a_visible_device_releases_the_missing_device() {
    let other =
        Poll { named: "nvidia0".to_owned(), without_uuid: vec![NO_UUID], ..visible(&[]) }.also_shows(B);
    let other = Poll { outcome: Ok((Strategy::Annotation, Scope::Session, vec![B])), ..other };
    let mut session = Session::after(&[attributed(Strategy::Annotation, &[A])]);
    let publication = session.poll(&other);
    assert_eq!((session.state(A), session.state(B)), (Some(DeviceState::Released), Some(DeviceState::Read)));
    assert_eq!((publication.lost, publication.reopen, publication.is_complete), (vec![], None, true));
}

#[test]
fn a_missing_device_is_published_together_with_a_read_device() {
    let both = attributed(Strategy::Claim, &[A, B]);
    let one = Poll { has_claim: true, without_uuid: vec![NO_UUID], ..attributed(Strategy::Claim, &[A]) };
    let mut session = Session::after(&[both]);
    let publication = session.poll(&one);
    assert_eq!(uuids(&publication), [A]);
    assert_eq!(publication.lost, [(B.to_owned(), UnavailableReason::GpuLost)]);
    assert_eq!(publication.reopen, Some(ReopenReason::NotVisible));
    assert!(!publication.is_complete && publication.attribution.is_ok());
}

#[test]
fn a_lost_device_of_another_pod_changes_nothing_for_the_session() {
    let own = attributed(Strategy::Annotation, &[A]);
    let other_pods_device_lost = Poll { named: A.to_owned(), without_uuid: vec![NO_UUID], ..own.clone() };
    let mut session = Session::after(&[own.also_shows(B)]);
    let publication = session.poll(&other_pods_device_lost);
    assert_eq!((session.state(A), session.state(B)), (Some(DeviceState::Read), None));
    assert!(publication.is_complete && publication.lost.is_empty());
}

#[test]
fn a_visible_device_of_another_pod_does_not_replace_the_missing_device() {
    let mut session = Session::after(&[attributed(Strategy::Processes, &[A]).also_shows(B)]);
    let only_other_pods_device = Poll {
        with_processes: vec![A.to_owned()],
        outcome: Err(UnavailableReason::SeveralDevices),
        ..visible(&[B])
    };
    let publication = session.poll(&only_other_pods_device);
    assert_eq!(session.state(A), Some(DeviceState::Missing(UnavailableReason::NotVisible)));
    assert_eq!(publication.attribution, Err(UnavailableReason::NotVisible));
    assert_eq!(session.state(B), None);
}

#[test]
fn a_named_device_that_was_never_visible_is_published_together_with_a_read_device() {
    for strategy in [Strategy::Claim, Strategy::Annotation] {
        // The same UUID in two notations is one device.
        let named = format!("{A},{B},{}", B.replace("bbbbbbbb", "BBBBBBBB"));
        let mut session = Session::new();
        let publication = session.poll(&Poll { named: named.clone(), ..attributed(strategy, &[A]) });
        assert_eq!(session.state(B), Some(DeviceState::NeverVisible(UnavailableReason::NotVisible)));
        assert_eq!(publication.lost, [(B.to_owned(), UnavailableReason::NotVisible)]);
        assert_eq!((publication.reopen, publication.is_complete), (Some(ReopenReason::NotVisible), false));
        assert_eq!(session.track.accounts().len(), 1, "no time counts for the device that was never visible");

        session.poll(&Poll { named: A.to_owned(), ..attributed(strategy, &[A]) });
        assert_eq!(session.state(B), None, "the device is not named any more");
        session.poll(&Poll { named, ..attributed(strategy, &[A, B]) });
        assert_eq!((session.state(B), session.seconds(B).0), (Some(DeviceState::Read), Some(0.0)));
    }
}

#[test]
fn a_named_device_that_is_missing_is_published_once() {
    let named = Poll { named: format!("{A},{B}"), ..attributed(Strategy::Annotation, &[A]) };
    let mut session = Session::after(&[attributed(Strategy::Annotation, &[A, B])]);
    let publication = session.poll(&named);
    assert_eq!(publication.lost, [(B.to_owned(), UnavailableReason::NotVisible)]);
    assert_eq!(session.state(B), Some(DeviceState::Missing(UnavailableReason::NotVisible)));
}

#[test]
fn a_named_device_that_is_not_visible_is_a_reason_to_reopen() {
    let named = Poll { outcome: Err(UnavailableReason::NotVisible), named: A.to_owned(), ..visible(&[B]) };
    let publication = Session::new().poll(&named);
    assert_eq!(publication.attribution, Err(UnavailableReason::NotVisible));
    assert_eq!(publication.reopen, Some(ReopenReason::NotVisible));
    let lost = Session::new().poll(&Poll { without_uuid: vec![NO_UUID], ..named });
    assert_eq!(
        lost.attribution,
        Err(UnavailableReason::GpuLost),
        "the named device may be the device without a UUID"
    );
}

#[test]
fn a_claim_without_metadata_expects_the_device_without_a_uuid() {
    let claim = Poll { has_claim: true, without_uuid: vec![NO_UUID], ..attributed(Strategy::Claim, &[A]) };
    let mut session = Session::new();
    let publication = session.poll(&claim);
    assert_eq!(session.state(""), Some(DeviceState::NeverVisible(UnavailableReason::GpuLost)));
    assert_eq!(publication.lost, [(String::new(), UnavailableReason::GpuLost)]);
    for strategy in [Strategy::SingleDevice, Strategy::Processes, Strategy::Annotation] {
        let other =
            Poll { has_claim: false, outcome: Ok((strategy, Scope::Session, vec![A])), ..claim.clone() };
        assert_eq!(Session::new().poll(&other).lost, [], "{strategy:?}");
    }
}

#[test]
fn the_reason_of_a_missing_device_is_published_before_the_reason_of_an_unread_device() {
    let both = attributed(Strategy::Claim, &[A, B]);
    let mut session = Session::after(&[both]);
    let poll = Poll { has_claim: true, unreadable: vec![A], ..attributed(Strategy::Claim, &[A]) };
    let publication = session.poll(&poll);
    assert_eq!(publication.attribution, Err(UnavailableReason::NotVisible));
    assert_eq!(session.state(A), Some(DeviceState::Unread(UnavailableReason::GpuLost)));
}

#[test]
fn a_missing_device_stays_allocated_while_the_driver_does_not_answer() {
    let poll = attributed(Strategy::SingleDevice, &[A]);
    let mut session = Session::after(&[poll, without_uuid()]);
    session.driver_unavailable();
    session.poll(&without_uuid());
    assert_eq!(session.state(A), Some(DeviceState::Missing(UnavailableReason::GpuLost)));
    assert_eq!(session.seconds(A), (Some(45.0), 45.0));
}

#[test]
fn a_slice_that_is_deleted_is_missing_until_it_is_created_again() {
    let mut sliced = visible(&[A, SLICE]);
    sliced.visible[0].mig_enabled = true;
    sliced.visible[1].slice = Some(Slice { card: A.into(), ..Slice::default() });
    sliced.named = SLICE.to_owned();
    sliced.outcome = Ok((Strategy::Annotation, Scope::Session, vec![SLICE]));
    let mut reset = sliced.clone();
    reset.visible.pop();
    reset.outcome = Err(UnavailableReason::NotVisible);
    let mut session = Session::after(&[sliced.clone(), reset.clone()]);
    let publication = session.poll(&reset);
    assert_eq!(session.state(SLICE), Some(DeviceState::Missing(UnavailableReason::NotVisible)));
    assert_eq!(publication.reopen, Some(ReopenReason::NotVisible));
    session.poll(&sliced);
    assert_eq!((session.state(SLICE), session.seconds(SLICE).0), (Some(DeviceState::Read), Some(45.0)));
}

/// Only visibility shows that the device is the session's, and the visible device changes.
#[test]
fn a_device_that_replaces_the_sessions_device_is_not_the_sessions() {
    for (strategy, has_claim) in [(Strategy::SingleDevice, false), (Strategy::Claim, true)] {
        let poll = |uuid| Poll { has_claim, ..attributed(strategy, &[uuid]) };
        let none = Poll { has_claim, ..nothing_visible() };
        let mut session = Session::after(&[poll(A), none]);
        for _ in 0..2 {
            let publication = session.poll(&poll(B));
            assert_eq!((uuids(&publication), session.state(B)), (vec![], None), "{strategy:?}");
            assert_eq!(publication.attribution, Err(UnavailableReason::NotVisible));
            assert_eq!(publication.reopen, Some(ReopenReason::NotVisible));
        }
        assert_eq!(uuids(&session.poll(&poll(A))), [A]);
    }
    let by_metadata =
        |uuid: &'static str| Poll { named: uuid.to_owned(), ..attributed(Strategy::Claim, &[uuid]) };
    let mut session = Session::after(&[by_metadata(A)]);
    assert_eq!(uuids(&session.poll(&by_metadata(B))), [B], "the claim names the new device");
}

#[test]
fn the_number_of_missing_devices_is_limited_if_the_driver_gives_new_uuids_at_every_opening() {
    let mut session = Session::new();
    for number in 0..2 * MAX_ACCOUNTS {
        let uuid: &'static str = Box::leak(format!("GPU-{number}").into_boxed_str());
        let poll = Poll { has_claim: true, ..attributed(Strategy::Processes, &[uuid]) };
        let publication = session.poll(&poll);
        // One more entry says that devices are left out.
        assert!(publication.lost.len() <= MAX_ACCOUNTS + 1, "{} missing devices", publication.lost.len());
    }
    assert_eq!(session.track.states().len(), MAX_ACCOUNTS + 1, "missing devices and the visible one");
}

/// A broken device of another pod must not close the library, because reopening it can fail.
#[test]
fn another_device_is_a_reason_to_reopen_only_if_it_may_be_the_sessions() {
    let reason = Some(ReopenReason::NoUuid);
    let reopen = |poll: &Poll| Session::new().poll(&Poll { reopen: reason, ..poll.clone() }).reopen;
    let named = |strategy, named: &str| {
        let (named, in_environments) = (named.to_owned(), named.to_owned());
        Poll { named, in_environments, ..attributed(strategy, &[A]) }
    };
    for strategy in [Strategy::Claim, Strategy::Annotation, Strategy::Environment] {
        assert_eq!(reopen(&named(strategy, A)), None, "{strategy:?}");
        assert_eq!(reopen(&named(strategy, &format!("{A},9"))), reason, "{strategy:?}");
    }
    assert_eq!(reopen(&attributed(Strategy::Claim, &[A])), reason, "every device is the session's");
    assert_eq!(reopen(&attributed(Strategy::Node, &[A])), reason);
    assert_eq!(reopen(&attributed(Strategy::Processes, &[A])), None);
    assert_eq!(reopen(&attributed(Strategy::SingleDevice, &[A])), None);
    let without = |reason| Poll { outcome: Err(reason), ..visible(&[A]) };
    assert_eq!(reopen(&without(UnavailableReason::SeveralDevices)), reason);
    assert_eq!(reopen(&without(UnavailableReason::NotRequested)), None);
}

#[test]
fn a_device_of_the_session_that_cannot_be_read_is_a_reason_to_reopen() {
    let poll = Poll { unreadable: vec![A], ..attributed(Strategy::Processes, &[A, B]) };
    assert_eq!(Session::new().poll(&poll).reopen, Some(ReopenReason::DeviceLost));
}
