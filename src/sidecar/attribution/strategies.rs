//! The strategies in order of confidence, one function for each.

use super::{
    evidence::{Evidence, ProcessEvidence, Processes},
    vocabulary::{Confidence, NotApplicable, Strategy},
};
use crate::{
    contract::GpuRequest,
    gpu::id::{self, Id},
};

/// The devices that a strategy finds.
#[derive(Debug)]
pub(super) struct Match {
    /// Index in the list of visible devices, and whether the evidence names a replica of a shared card.
    pub(super) devices: Vec<(usize, bool)>,
    pub(super) confidence: Confidence,
}

type StrategyFn = fn(&Evidence<'_>) -> Result<Match, NotApplicable>;
type ProcessStrategyFn = fn(&Evidence<'_>, &ProcessEvidence) -> Result<Match, NotApplicable>;

/// The strategies that are tried first. They need no process evidence.
pub(super) const WITHOUT_PROCESSES: [(Strategy, StrategyFn); 3] =
    [(Strategy::Claim, claim), (Strategy::Annotation, annotation), (Strategy::SingleDevice, single_device)];

/// The strategies that are tried after [`WITHOUT_PROCESSES`].
pub(super) const WITH_PROCESSES: [(Strategy, ProcessStrategyFn); 3] = [
    (Strategy::Processes, processes),
    (Strategy::Environment, environment),
    (Strategy::Node, |evidence, _| node(evidence)),
];

/// Applies if the sidecar shares the desktop's claim: the visible devices are the session's. If the DRA driver wrote metadata
/// files, only the devices that the files name are the session's.
fn claim(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    if evidence.claim.is_none() {
        return Err(NotApplicable::NotGiven);
    }
    let assignable = assignable(evidence)?;
    let named = evidence.metadata;
    let is_named = |index: &usize| named.iter().any(|id| id.names(evidence.visible, *index));
    let devices = assignable.into_iter().filter(|index| named.is_empty() || is_named(index));
    matched(devices.map(|index| (index, false)).collect(), exact(evidence.is_metadata_stale))
}

/// Applies if the annotation names visible devices.
fn annotation(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    let are_stale = evidence.are_annotations_stale;
    let absent = if are_stale { NotApplicable::Unreadable } else { NotApplicable::NotGiven };
    let text = evidence.annotation.ok_or(absent)?;
    if is_pending(text) {
        return Err(NotApplicable::Pending);
    }
    let ids = id::list(text).map_err(|_| NotApplicable::NotUnderstood)?;
    named(evidence, &ids, exact(are_stale))
}

/// Whether the annotation says that the device is not assigned yet.
fn is_pending(annotation: &str) -> bool {
    matches!(annotation.trim(), "" | "pending")
}

/// Applies if the pod has a device by its request or an annotation, and only one device can be it: exactly one slice or card
/// without MIG is visible, and no other device may be the session's ([`Evidence::unidentified`]).
fn single_device(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    match assignable(evidence)?[..] {
        [_] if !has_device(evidence) => Err(NotApplicable::NotRequested),
        [index] if evidence.unidentified == 0 => {
            Ok(Match { devices: vec![(index, false)], confidence: Confidence::Good })
        }
        _ => Err(NotApplicable::SeveralDevices),
    }
}

/// Whether the pod requests a device, or has an annotation about its device. A visible device alone does not prove that the pod
/// has it, because the vendor's container runtime can show every device of the node. A claim that the sidecar does not share does
/// not prove it either, because the claim can be for a device that is not a GPU.
fn has_device(evidence: &Evidence<'_>) -> bool {
    let is_requested = matches!(evidence.request, Some(GpuRequest::Device | GpuRequest::Part));
    let is_handed_over = evidence.annotation.is_some_and(|text| !is_pending(text));
    is_requested || is_handed_over || evidence.sharing.is_some()
}

/// Applies if processes of the pod are or were on a device.
fn processes(_: &Evidence<'_>, processes: &ProcessEvidence) -> Result<Match, NotApplicable> {
    match &processes.processes {
        Processes::Unknown(reason) => Err(*reason),
        Processes::Seen { indices, .. } if indices.is_empty() => Err(NotApplicable::NoProcess),
        Processes::Seen { indices, now } => Ok(Match {
            devices: indices.iter().map(|index| (*index, false)).collect(),
            confidence: if *now { Confidence::Exact } else { Confidence::Remembered },
        }),
    }
}

/// Applies if the environments of the pod's processes name visible devices.
fn environment(evidence: &Evidence<'_>, processes: &ProcessEvidence) -> Result<Match, NotApplicable> {
    let environment = processes.environment.as_ref().map_err(|reason| *reason)?;
    let confidence = if environment.now { Confidence::Good } else { Confidence::Remembered };
    named(evidence, &environment.ids, confidence)
}

/// Applies if the totals of the node are switched on: all visible devices, although they may belong to other pods.
fn node(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    if !evidence.node_totals {
        return Err(NotApplicable::Off);
    }
    let devices = assignable(evidence)?.into_iter().map(|index| (index, false)).collect();
    Ok(Match { devices, confidence: Confidence::None })
}

/// Indices of the visible devices that can be assigned to a container: slices, and cards without MIG. Of a card with MIG
/// enabled, only slices can be assigned. Fails if there is none.
fn assignable(evidence: &Evidence<'_>) -> Result<Vec<usize>, NotApplicable> {
    let is_assignable = |index: &usize| !evidence.visible[*index].mig_enabled;
    let indices: Vec<usize> = (0..evidence.visible.len()).filter(is_assignable).collect();
    if indices.is_empty() { Err(NotApplicable::NothingVisible) } else { Ok(indices) }
}

/// The visible devices that the IDs name. Fails if none of them is visible.
fn named(evidence: &Evidence<'_>, ids: &[Id], confidence: Confidence) -> Result<Match, NotApplicable> {
    let find = |index: usize| {
        let named = ids.iter().find(|id| id.names(evidence.visible, index))?;
        Some((index, named.is_replica))
    };
    matched((0..evidence.visible.len()).filter_map(find).collect(), confidence)
}

/// A match of these devices. Fails without a device.
fn matched(devices: Vec<(usize, bool)>, confidence: Confidence) -> Result<Match, NotApplicable> {
    if devices.is_empty() { Err(NotApplicable::NotVisible) } else { Ok(Match { devices, confidence }) }
}

/// The confidence of evidence that names the device. The evidence is stale if it is from an earlier poll.
fn exact(is_stale: bool) -> Confidence {
    if is_stale { Confidence::Remembered } else { Confidence::Exact }
}
