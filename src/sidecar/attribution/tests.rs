use super::*;
use crate::gpu::{Call, Code, Fault, Slice};

const UUIDS: [&str; 3] = [
    "GPU-00000000-0000-0000-0000-000000000000",
    "GPU-11111111-1111-1111-1111-111111111111",
    "GPU-22222222-2222-2222-2222-222222222222",
];

fn cards(count: usize) -> Vec<Device> {
    (0..count)
        .map(|place| Device { uuid: UUIDS[place].into(), index: place as u32, ..Device::default() })
        .collect()
}

/// One card that is cut, and a slice of it.
fn cut() -> Vec<Device> {
    let mut cut = cards(1);
    cut[0].mig_enabled = true;
    let slice = Slice { card: UUIDS[0].into(), gpu_instance: Some(7), compute_instance: Some(0) };
    let uuid = "MIG-33333333-3333-3333-3333-333333333333".into();
    cut.push(Device { uuid, slice: Some(slice), ..Device::default() });
    cut
}

type At = (Strategy, Confidence, Vec<(usize, Scope)>);

fn at(evidence: &Evidence<'_>) -> Result<At, UnavailableReason> {
    decide(evidence).outcome.map(|found| {
        let ours = found.ours.iter().map(|ours| (ours.place, ours.scope)).collect();
        (found.strategy, found.confidence, ours)
    })
}

fn why(evidence: &Evidence<'_>, strategy: Strategy) -> Option<NotApplicable> {
    decide(evidence).passed.iter().find(|(passed, _)| *passed == strategy).map(|(_, pass)| *pass)
}

#[test]
fn each_rung_holds_where_those_above_do_not() {
    use {Confidence::*, Scope::*};
    let visible = &cards(3)[..];
    let seen = |now| Processes::Seen { places: vec![1], now };
    let several = Evidence { visible, ..Evidence::default() };
    for (evidence, expected) in [
        (
            Evidence { claim: Some(ClaimKind::Own), ..several.clone() },
            Ok((Strategy::Claim, Exact, vec![(0, Session), (1, Session), (2, Session)])),
        ),
        (
            Evidence { claim: Some(ClaimKind::Own), metadata: vec![UUIDS[2].into()], ..several.clone() },
            Ok((Strategy::Claim, Exact, vec![(2, Session)])),
        ),
        (
            Evidence {
                annotation: Some(format!("{}::2,GPU-99999999-9999-9999-9999-999999999999", UUIDS[1])),
                ..several.clone()
            },
            Ok((Strategy::Annotation, Exact, vec![(1, Device)])),
        ),
        (
            Evidence { visible: &visible[..1], ..several.clone() },
            Ok((Strategy::SingleDevice, Good, vec![(0, Session)])),
        ),
        (
            Evidence { processes: seen(true), ..several.clone() },
            Ok((Strategy::Processes, Exact, vec![(1, Device)])),
        ),
        (
            Evidence { processes: seen(false), ..several.clone() },
            Ok((Strategy::Processes, Remembered, vec![(1, Device)])),
        ),
        (
            Evidence {
                hint: Some(Ok(EnvironmentDevices { devices: "2".into(), now: true })),
                ..several.clone()
            },
            Ok((Strategy::Environment, Good, vec![(2, Device)])),
        ),
        (
            Evidence {
                hint: Some(Ok(EnvironmentDevices { devices: "2".into(), now: false })),
                ..several.clone()
            },
            Ok((Strategy::Environment, Remembered, vec![(2, Device)])),
        ),
        (
            Evidence { node: true, ..several.clone() },
            Ok((Strategy::Node, None, vec![(0, Node), (1, Node), (2, Node)])),
        ),
        (several, Err(UnavailableReason::SeveralDevices)),
        (Evidence::default(), Err(UnavailableReason::NoDevice)),
    ] {
        assert_eq!(at(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn every_rung_that_is_passed_over_says_why() {
    let visible = &cards(2)[..];
    let several = Evidence { visible, ..Evidence::default() };
    let text = |text: &str| Some(text.to_owned());
    for (evidence, strategy, pass) in [
        (several.clone(), Strategy::Claim, NotApplicable::NotGiven),
        (
            Evidence { claim: Some(ClaimKind::Own), ..Evidence::default() },
            Strategy::Claim,
            NotApplicable::NothingVisible,
        ),
        (
            Evidence {
                claim: Some(ClaimKind::Own),
                metadata: vec![UUIDS[2].to_uppercase()],
                ..several.clone()
            },
            Strategy::Claim,
            NotApplicable::NotVisible,
        ),
        (several.clone(), Strategy::Annotation, NotApplicable::NotGiven),
        (Evidence { annotation: text(" "), ..several.clone() }, Strategy::Annotation, NotApplicable::Pending),
        (
            Evidence { annotation: text("pending"), ..several.clone() },
            Strategy::Annotation,
            NotApplicable::Pending,
        ),
        (
            Evidence { annotation: text("the big one"), ..several.clone() },
            Strategy::Annotation,
            NotApplicable::NotUnderstood,
        ),
        (
            Evidence { annotation: text(UUIDS[2]), ..several.clone() },
            Strategy::Annotation,
            NotApplicable::NotVisible,
        ),
        (several.clone(), Strategy::SingleDevice, NotApplicable::SeveralDevices),
        (
            Evidence { visible: &visible[..1], unnamed: 1, ..several.clone() },
            Strategy::SingleDevice,
            NotApplicable::SeveralDevices,
        ),
        (several.clone(), Strategy::Processes, NotApplicable::Unasked),
        (
            Evidence { processes: Processes::Unknown(NotApplicable::DriverTooOld), ..several.clone() },
            Strategy::Processes,
            NotApplicable::DriverTooOld,
        ),
        (
            Evidence { processes: Processes::Seen { places: vec![], now: false }, ..several.clone() },
            Strategy::Processes,
            NotApplicable::NoProcess,
        ),
        (
            Evidence { hint: Some(Err(NotApplicable::NoPermission)), ..several.clone() },
            Strategy::Environment,
            NotApplicable::NoPermission,
        ),
        (
            Evidence {
                hint: Some(Ok(EnvironmentDevices { devices: "void".into(), now: true })),
                ..several.clone()
            },
            Strategy::Environment,
            NotApplicable::NotUnderstood,
        ),
        (several.clone(), Strategy::Node, NotApplicable::Off),
    ] {
        assert_eq!(why(&evidence, strategy), Some(pass), "{evidence:?}");
    }
    let claimed = Evidence { claim: Some(ClaimKind::Own), ..several };
    assert_eq!(decide(&claimed).passed, [], "nothing is above the first rung");
}

#[test]
fn a_lone_device_is_not_ours_where_somebody_knows_of_another() {
    let visible = &cards(1)[..];
    let elsewhere = Evidence { visible, annotation: Some(UUIDS[1].into()), ..Evidence::default() };
    assert_eq!(at(&elsewhere), Err(UnavailableReason::NotVisible));
    let claimed = Evidence {
        visible,
        claim: Some(ClaimKind::Own),
        metadata: vec![UUIDS[1].into()],
        ..Evidence::default()
    };
    assert_eq!(at(&claimed), Err(UnavailableReason::NotVisible));
}

#[test]
fn a_slice_is_ours_and_its_card_is_not() {
    let cut = cut();
    let slice = Evidence { visible: &cut, claim: Some(ClaimKind::Own), ..Evidence::default() };
    assert_eq!(at(&slice), Ok((Strategy::Claim, Confidence::Exact, vec![(1, Scope::Session)])));
    assert_eq!(decide(&slice).outcome.unwrap().ours[0].sharing, Sharing::Mig);
    assert_eq!(
        at(&Evidence { claim: None, ..slice }),
        Ok((Strategy::SingleDevice, Confidence::Good, vec![(1, Scope::Session)]))
    );
    let card = Evidence { visible: &cut[..1], ..Evidence::default() };
    assert_eq!(at(&card), Err(UnavailableReason::InSlices));
}

#[test]
fn the_kinds_of_sharing_are_told_apart() {
    let mut visible = cards(1);
    let replica = format!("{}::0", UUIDS[0]);
    let sharing = |visible: &[Device], id: &str, told| {
        let evidence =
            Evidence { visible, annotation: Some(id.into()), sharing: told, ..Evidence::default() };
        let ours = decide(&evidence).outcome.unwrap().ours[0];
        (ours.sharing, ours.scope)
    };
    assert_eq!(sharing(&visible, UUIDS[0], None), (Sharing::Exclusive, Scope::Session));
    assert_eq!(sharing(&visible, &replica, None), (Sharing::TimeSlicing, Scope::Device));
    assert_eq!(sharing(&visible, UUIDS[0], Some(Sharing::Mps)), (Sharing::Mps, Scope::Device));
    visible[0].exclusive_process = true;
    assert_eq!(sharing(&visible, &replica, None), (Sharing::Mps, Scope::Device));
    assert_eq!(sharing(&visible, UUIDS[0], None), (Sharing::Exclusive, Scope::Session));
}

#[test]
fn no_more_devices_than_a_machine_has() {
    let many: Vec<Device> = (0..40).map(|index| Device { index, ..Device::default() }).collect();
    let evidence = Evidence { visible: &many, node: true, ..Evidence::default() };
    assert_eq!(decide(&evidence).outcome.unwrap().ours.len(), MOST);
}

#[test]
fn a_fault_is_a_reason() {
    let reason = |code| UnavailableReason::from(Fault { call: Call::Init, code }).as_str();
    assert_eq!(reason(Code::LibraryMissing), "library_missing");
    assert_eq!(reason(Code::DriverNotLoaded), "driver_not_loaded");
    assert_eq!(reason(Code::GpuLost), "gpu_lost");
    assert_eq!(reason(Code::VersionMismatch), "driver_error");
}
