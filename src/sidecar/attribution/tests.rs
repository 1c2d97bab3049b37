use super::{decide::MAX_DEVICES, *};
use crate::{
    contract::GpuRequest,
    gpu::{
        Call, Code, Device, Fault, Slice,
        id::{self, Id},
    },
};

const UUIDS: [&str; 3] = [
    "GPU-00000000-0000-0000-0000-000000000000",
    "GPU-11111111-1111-1111-1111-111111111111",
    "GPU-22222222-2222-2222-2222-222222222222",
];

fn cards(count: usize) -> Vec<Device> {
    (0..count)
        .map(|index| Device { uuid: UUIDS[index].into(), index: index as u32, ..Device::default() })
        .collect()
}

/// A card with MIG enabled, and a slice of it.
fn card_and_slice() -> Vec<Device> {
    let mut devices = cards(1);
    devices[0].mig_enabled = true;
    let slice = Slice { card: UUIDS[0].into(), index: 1, gpu_instance: Some(7), compute_instance: Some(0) };
    let uuid = "MIG-33333333-3333-3333-3333-333333333333".into();
    devices.push(Device { uuid, slice: Some(slice), ..Device::default() });
    devices
}

/// A pod that requests a device.
fn requested() -> Evidence<'static> {
    Evidence { request: Some(GpuRequest::Device), ..Evidence::default() }
}

fn ids(text: &str) -> Vec<Id> {
    id::list(text).unwrap()
}

/// Process evidence to which no strategy applies.
fn no_processes() -> ProcessEvidence {
    let processes = Processes::Seen { indices: vec![], now: false };
    ProcessEvidence { processes, environment: Err(NotApplicable::NotGiven) }
}

/// Process evidence: processes of the pod on the device with the index 1.
fn processes_on_1(now: bool) -> ProcessEvidence {
    ProcessEvidence { processes: Processes::Seen { indices: vec![1], now }, ..no_processes() }
}

fn environment(devices: &str, now: bool) -> ProcessEvidence {
    let environment = Ok(EnvironmentDevices { ids: ids(devices), now });
    ProcessEvidence { environment, ..no_processes() }
}

fn result(evidence: &Evidence<'_>, processes: &ProcessEvidence) -> AttributionResult {
    match decide(evidence) {
        AttributionStep::Final(result) => result,
        AttributionStep::NeedsProcesses(undecided) => undecided.decide(evidence, processes),
    }
}

type Summary = (Strategy, Confidence, Vec<(usize, Scope)>);

fn summary(evidence: &Evidence<'_>, processes: &ProcessEvidence) -> Result<Summary, UnavailableReason> {
    result(evidence, processes).outcome.map(|attribution| {
        let devices = attribution.devices.iter().map(|device| (device.index, device.scope)).collect();
        (attribution.strategy, attribution.confidence, devices)
    })
}

fn reason(evidence: &Evidence<'_>, processes: &ProcessEvidence, strategy: Strategy) -> Option<NotApplicable> {
    let not_applicable = result(evidence, processes).not_applicable;
    not_applicable.iter().find(|(tried, _)| *tried == strategy).map(|(_, reason)| *reason)
}

#[test]
fn strategies_without_process_evidence_apply_in_order() {
    use {Confidence::*, Scope::*};
    let visible = &cards(3)[..];
    let metadata = ids(UUIDS[2]);
    let annotation = format!("{}::2,GPU-99999999-9999-9999-9999-999999999999", UUIDS[1]);
    let several = Evidence { visible, ..requested() };
    let claim = Some(ClaimKind::Own);
    for (evidence, expected) in [
        (
            Evidence { claim, ..several },
            (Strategy::Claim, Exact, vec![(0, Session), (1, Session), (2, Session)]),
        ),
        (Evidence { claim, metadata: &metadata, ..several }, (Strategy::Claim, Exact, vec![(2, Session)])),
        (
            Evidence { annotation: Some(&annotation), ..several },
            (Strategy::Annotation, Exact, vec![(1, Device)]),
        ),
        (Evidence { visible: &visible[..1], ..several }, (Strategy::SingleDevice, Good, vec![(0, Session)])),
    ] {
        assert!(matches!(decide(&evidence), AttributionStep::Final(_)), "{evidence:?}");
        assert_eq!(summary(&evidence, &processes_on_1(true)), Ok(expected), "{evidence:?}");
    }
}

#[test]
fn strategies_with_process_evidence_apply_in_order() {
    use {Confidence::*, Scope::*};
    let visible = &cards(3)[..];
    let several = Evidence { visible, ..requested() };
    let node_totals = Evidence { node_totals: true, ..several };
    for (evidence, processes, expected) in [
        (several, processes_on_1(true), Ok((Strategy::Processes, Exact, vec![(1, Device)]))),
        (several, processes_on_1(false), Ok((Strategy::Processes, Remembered, vec![(1, Device)]))),
        (several, environment("2", true), Ok((Strategy::Environment, Good, vec![(2, Device)]))),
        (several, environment("2", false), Ok((Strategy::Environment, Remembered, vec![(2, Device)]))),
        (node_totals, no_processes(), Ok((Strategy::Node, None, vec![(0, Node), (1, Node), (2, Node)]))),
        (several, no_processes(), Err(UnavailableReason::SeveralDevices)),
        (Evidence::default(), no_processes(), Err(UnavailableReason::NoDevice)),
    ] {
        assert!(matches!(decide(&evidence), AttributionStep::NeedsProcesses(_)), "{evidence:?}");
        assert_eq!(summary(&evidence, &processes), expected, "{evidence:?} {processes:?}");
    }
}

#[test]
fn every_strategy_that_does_not_apply_has_a_reason() {
    let visible = &cards(2)[..];
    let several = Evidence { visible, ..requested() };
    let claim = Some(ClaimKind::Own);
    let metadata = ids(&UUIDS[2].to_uppercase());
    for (evidence, strategy, expected) in [
        (several, Strategy::Claim, NotApplicable::NotGiven),
        (Evidence { claim, ..Evidence::default() }, Strategy::Claim, NotApplicable::NothingVisible),
        (Evidence { claim, metadata: &metadata, ..several }, Strategy::Claim, NotApplicable::NotVisible),
        (several, Strategy::Annotation, NotApplicable::NotGiven),
        (Evidence { annotation: Some(" "), ..several }, Strategy::Annotation, NotApplicable::Pending),
        (Evidence { annotation: Some("pending"), ..several }, Strategy::Annotation, NotApplicable::Pending),
        (
            Evidence { annotation: Some("the big one"), ..several },
            Strategy::Annotation,
            NotApplicable::NotUnderstood,
        ),
        (Evidence { annotation: Some(UUIDS[2]), ..several }, Strategy::Annotation, NotApplicable::NotVisible),
        (several, Strategy::SingleDevice, NotApplicable::SeveralDevices),
        (
            Evidence { visible: &visible[..1], unidentified: 1, ..several },
            Strategy::SingleDevice,
            NotApplicable::SeveralDevices,
        ),
        (several, Strategy::Processes, NotApplicable::NoProcess),
        (several, Strategy::Environment, NotApplicable::NotGiven),
        (several, Strategy::Node, NotApplicable::Off),
    ] {
        assert_eq!(reason(&evidence, &no_processes(), strategy), Some(expected), "{evidence:?}");
    }
    let too_old = Processes::Unknown(NotApplicable::DriverTooOld);
    let unreadable = Err(NotApplicable::NoPermission);
    for (processes, strategy, expected) in [
        (
            ProcessEvidence { processes: too_old, ..no_processes() },
            Strategy::Processes,
            NotApplicable::DriverTooOld,
        ),
        (
            ProcessEvidence { environment: unreadable, ..no_processes() },
            Strategy::Environment,
            NotApplicable::NoPermission,
        ),
    ] {
        assert_eq!(reason(&several, &processes, strategy), Some(expected), "{processes:?}");
    }
    let claimed = Evidence { claim, ..several };
    assert_eq!(result(&claimed, &no_processes()).not_applicable, [], "no strategy comes before the first");
}

#[test]
fn a_single_device_is_not_attributed_if_another_device_is_named() {
    let visible = &cards(1)[..];
    let metadata = ids(UUIDS[1]);
    for evidence in [
        Evidence { visible, annotation: Some(UUIDS[1]), ..requested() },
        Evidence { visible, claim: Some(ClaimKind::Own), metadata: &metadata, ..requested() },
    ] {
        assert_eq!(summary(&evidence, &no_processes()), Err(UnavailableReason::NotVisible));
    }
}

#[test]
fn a_slice_is_attributed_and_its_card_is_not() {
    let devices = card_and_slice();
    let claimed = Evidence { visible: &devices, claim: Some(ClaimKind::Own), ..requested() };
    let expected = |strategy, confidence| Ok((strategy, confidence, vec![(1, Scope::Session)]));
    assert_eq!(summary(&claimed, &no_processes()), expected(Strategy::Claim, Confidence::Exact));
    assert_eq!(result(&claimed, &no_processes()).outcome.unwrap().devices[0].sharing, Sharing::Mig);
    let single = Evidence { claim: None, ..claimed };
    assert_eq!(summary(&single, &no_processes()), expected(Strategy::SingleDevice, Confidence::Good));
    let card = Evidence { visible: &devices[..1], ..Evidence::default() };
    assert_eq!(summary(&card, &no_processes()), Err(UnavailableReason::InSlices));
}

#[test]
fn sharing_comes_from_the_annotation_or_the_evidence() {
    let mut visible = cards(1);
    let replica = format!("{}::0", UUIDS[0]);
    let sharing = |visible: &[Device], annotation: &str, sharing| {
        let evidence = Evidence { visible, annotation: Some(annotation), sharing, ..Evidence::default() };
        let device = result(&evidence, &no_processes()).outcome.unwrap().devices[0];
        (device.sharing, device.scope)
    };
    assert_eq!(sharing(&visible, UUIDS[0], None), (Sharing::Exclusive, Scope::Session));
    assert_eq!(sharing(&visible, &replica, None), (Sharing::TimeSlicing, Scope::Device));
    assert_eq!(sharing(&visible, UUIDS[0], Some(Sharing::Mps)), (Sharing::Mps, Scope::Device));
    visible[0].exclusive_process = true;
    assert_eq!(sharing(&visible, &replica, None), (Sharing::Mps, Scope::Device));
    assert_eq!(sharing(&visible, UUIDS[0], None), (Sharing::Exclusive, Scope::Session));
}

/// One device is visible. The first value of a row is what the pod requests, the others are the results of the strategies.
#[test]
fn a_visible_device_is_attributed_only_with_a_request_or_an_annotation() {
    use GpuRequest::{Claims, Device, None as Nothing, Part};
    const NOT: &str = "not_requested";
    let visible = &cards(1)[..];
    let base = Evidence { visible, ..Evidence::default() };
    let claimed = Evidence { claim: Some(ClaimKind::Own), ..base };
    let named = Evidence { annotation: Some(UUIDS[0]), ..base };
    let not_understood = Evidence { annotation: Some("yes"), ..base };
    let pending = Evidence { annotation: Some("pending"), ..base };
    let exclusive = Evidence { sharing: Some(Sharing::Exclusive), ..base };
    let time_slicing = Evidence { sharing: Some(Sharing::TimeSlicing), ..base };
    let process =
        ProcessEvidence { processes: Processes::Seen { indices: vec![0], now: true }, ..no_processes() };
    let in_environment = environment(UUIDS[0], true);
    let columns = [
        ("claim", claimed, no_processes()),
        ("annotation", named, no_processes()),
        ("annotation in another form", not_understood, no_processes()),
        ("pending", pending, no_processes()),
        ("exclusive", exclusive, no_processes()),
        ("time-slicing", time_slicing, no_processes()),
        ("processes", base, process),
        ("environment", base, in_environment),
        ("nothing", base, no_processes()),
    ];
    let single = ("single_device session", "single_device device");
    let no_device_requested = [
        "claim session",
        "handed_over session",
        single.0,
        NOT,
        single.0,
        single.1,
        "processes device",
        "environment device",
        NOT,
    ];
    for (request, expected) in [
        (
            Some(Device),
            [
                "claim session",
                "handed_over session",
                single.0,
                single.0,
                single.0,
                single.1,
                single.0,
                single.0,
                single.0,
            ],
        ),
        (
            Some(Part),
            [
                "claim session",
                "handed_over device",
                single.1,
                single.1,
                single.0,
                single.1,
                single.1,
                single.1,
                single.1,
            ],
        ),
        (Some(Claims), no_device_requested),
        (Some(Nothing), no_device_requested),
        (None, no_device_requested),
    ] {
        for ((name, evidence, processes), expected) in columns.iter().zip(expected) {
            let evidence = Evidence { request, ..*evidence };
            let seen = match summary(&evidence, processes) {
                Ok((strategy, _, devices)) => format!("{} {}", strategy.as_str(), devices[0].1.as_str()),
                Err(reason) => reason.as_str().to_owned(),
            };
            assert_eq!(seen, expected, "{request:?}, {name}");
        }
    }
}

#[test]
fn held_evidence_applies_and_is_remembered() {
    let visible = &cards(2)[..];
    let claim = Some(ClaimKind::Own);
    let metadata = ids(UUIDS[1]);
    for (evidence, strategy) in [
        (
            Evidence { annotation: Some(UUIDS[1]), are_annotations_stale: true, ..requested() },
            Strategy::Annotation,
        ),
        (Evidence { claim, metadata: &metadata, is_metadata_stale: true, ..requested() }, Strategy::Claim),
    ] {
        let evidence = Evidence { visible, ..evidence };
        let expected = (strategy, Confidence::Remembered, vec![(1, Scope::Session)]);
        assert_eq!(summary(&evidence, &no_processes()), Ok(expected));
    }
    // At the last readable poll the pod had no annotation.
    let absent = Evidence { visible: &visible[..1], are_annotations_stale: true, ..requested() };
    let expected = (Strategy::SingleDevice, Confidence::Good, vec![(0, Scope::Session)]);
    assert_eq!(summary(&absent, &no_processes()), Ok(expected));
    assert_eq!(reason(&absent, &no_processes(), Strategy::Annotation), Some(NotApplicable::Unreadable));
}

#[test]
fn no_strategy_comes_after_evidence_that_was_never_readable() {
    let visible = &cards(2)[..];
    let several = Evidence { visible, node_totals: true, ..requested() };
    let processes = Processes::Unknown(NotApplicable::Unreadable);
    for evidence in [
        ProcessEvidence { processes, ..environment(UUIDS[0], true) },
        ProcessEvidence { environment: Err(NotApplicable::Unreadable), ..no_processes() },
    ] {
        assert_eq!(summary(&several, &evidence), Err(UnavailableReason::Unreadable), "{evidence:?}");
    }
}

#[test]
fn a_session_has_at_most_max_devices_and_says_if_there_are_more() {
    let visible: Vec<Device> =
        (0..MAX_DEVICES as u32 + 1).map(|index| Device { index, ..Device::default() }).collect();
    let attribution = |visible| {
        let evidence = Evidence { visible, node_totals: true, ..Evidence::default() };
        result(&evidence, &no_processes()).outcome.unwrap()
    };
    let (all, most) = (attribution(&visible), attribution(&visible[1..]));
    assert_eq!((all.devices.len(), all.has_more), (MAX_DEVICES, true));
    assert_eq!((most.devices.len(), most.has_more), (MAX_DEVICES, false));
}

#[test]
fn every_fault_has_an_unavailable_reason() {
    let reason = |code| UnavailableReason::from(Fault { call: Call::Init, code }).as_str();
    assert_eq!(reason(Code::LibraryMissing), "library_missing");
    assert_eq!(reason(Code::DriverNotLoaded), "driver_not_loaded");
    assert_eq!(reason(Code::GpuLost), "gpu_lost");
    assert_eq!(reason(Code::VersionMismatch), "driver_error");
}
