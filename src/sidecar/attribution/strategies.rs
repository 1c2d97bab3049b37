//! The strategies in order of confidence, one function for each.

use super::{
    evidence::{Evidence, ProcessEvidence, Processes},
    vocabulary::{Confidence, NotApplicable, Strategy},
};
use crate::gpu::id::{self, Id};

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
    // A claim can include devices of other DRA drivers. Their UUIDs have another form and are skipped.
    let named: Vec<Id> = evidence.metadata.iter().filter_map(|uuid| Id::uuid(uuid)).collect();
    let is_named = |index: &usize| named.iter().any(|id| id.is(&evidence.visible[*index]));
    exact_match(assignable.into_iter().filter(|index| named.is_empty() || is_named(index)).collect())
}

/// Applies if the annotation names visible devices.
fn annotation(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    let text = evidence.annotation.ok_or(NotApplicable::NotGiven)?.trim();
    // The device is not assigned yet.
    if text.is_empty() || text == "pending" {
        return Err(NotApplicable::Pending);
    }
    named(evidence, text, Confidence::Exact)
}

/// Applies if the container can have only one device: one slice or card without MIG is visible, and no other device may be the
/// session's ([`Evidence::unidentified`]).
fn single_device(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    match assignable(evidence)?[..] {
        [index] if evidence.unidentified == 0 => {
            Ok(Match { devices: vec![(index, false)], confidence: Confidence::Good })
        }
        _ => Err(NotApplicable::SeveralDevices),
    }
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

/// Applies if the environment of the desktop's processes names visible devices.
fn environment(evidence: &Evidence<'_>, processes: &ProcessEvidence) -> Result<Match, NotApplicable> {
    let environment = processes.environment.as_ref().map_err(|reason| *reason)?;
    let confidence = if environment.now { Confidence::Good } else { Confidence::Remembered };
    named(evidence, &environment.devices, confidence)
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

/// The visible devices that the list `text` names. Fails if the list is not valid or if none of its devices is visible.
fn named(evidence: &Evidence<'_>, text: &str, confidence: Confidence) -> Result<Match, NotApplicable> {
    let ids = id::list(text).map_err(|_| NotApplicable::NotUnderstood)?;
    let find = |index: usize| {
        let named = ids.iter().find(|id| id.is(&evidence.visible[index]))?;
        Some((index, named.is_replica))
    };
    let devices: Vec<_> = (0..evidence.visible.len()).filter_map(find).collect();
    if devices.is_empty() { Err(NotApplicable::NotVisible) } else { Ok(Match { devices, confidence }) }
}

/// A match of these devices with the confidence `Exact`. Fails if there is no device.
fn exact_match(indices: Vec<usize>) -> Result<Match, NotApplicable> {
    if indices.is_empty() {
        return Err(NotApplicable::NotVisible);
    }
    let devices = indices.into_iter().map(|index| (index, false)).collect();
    Ok(Match { devices, confidence: Confidence::Exact })
}
