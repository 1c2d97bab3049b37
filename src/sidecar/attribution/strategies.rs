//! The strategies in order of confidence, one function for each.

use super::{
    evidence::{Evidence, ProcessEvidence, Processes},
    vocabulary::{Confidence, NotApplicable, Strategy},
};
use crate::gpu::id::{self, Id};

/// The devices that a strategy finds.
#[derive(Debug)]
pub(super) struct Match {
    /// Index in the visible devices, and whether the evidence names a replica of a shared card.
    pub(super) devices: Vec<(usize, bool)>,
    pub(super) confidence: Confidence,
}

type StrategyFn = fn(&Evidence<'_>) -> Result<Match, NotApplicable>;
type ProcessStrategyFn = fn(&Evidence<'_>, &ProcessEvidence) -> Result<Match, NotApplicable>;

/// The first strategies; they need no process evidence.
pub(super) const WITHOUT_PROCESSES: [(Strategy, StrategyFn); 3] =
    [(Strategy::Claim, claim), (Strategy::Annotation, annotation), (Strategy::SingleDevice, single_device)];

/// The strategies after [`WITHOUT_PROCESSES`].
pub(super) const WITH_PROCESSES: [(Strategy, ProcessStrategyFn); 3] = [
    (Strategy::Processes, processes),
    (Strategy::Environment, environment),
    (Strategy::Node, |evidence, _| node(evidence)),
];

/// With a claim the visible devices are the session's; if there are metadata files, only the devices that they name.
fn claim(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    if evidence.claim.is_none() {
        return Err(NotApplicable::NotGiven);
    }
    let assignable = assignable(evidence)?;
    // A claim can include devices of other DRA drivers, which have no UUID in this form.
    let named: Vec<Id> = evidence.metadata.iter().filter_map(|uuid| Id::uuid(uuid)).collect();
    let is_named = |index: &usize| named.iter().any(|id| id.is(&evidence.visible[*index]));
    exact(assignable.into_iter().filter(|index| named.is_empty() || is_named(index)).collect())
}

fn annotation(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    let text = evidence.annotation.ok_or(NotApplicable::NotGiven)?.trim();
    // The device is not assigned yet.
    if text.is_empty() || text == "pending" {
        return Err(NotApplicable::Pending);
    }
    named(evidence, text, Confidence::Exact)
}

/// Applies if one device is visible, MIG is not enabled on it, and the driver counts no device that it cannot name.
fn single_device(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    match assignable(evidence)?[..] {
        [index] if evidence.unnamed == 0 => {
            Ok(Match { devices: vec![(index, false)], confidence: Confidence::Good })
        }
        _ => Err(NotApplicable::SeveralDevices),
    }
}

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

fn environment(evidence: &Evidence<'_>, processes: &ProcessEvidence) -> Result<Match, NotApplicable> {
    let environment = processes.environment.as_ref().map_err(|reason| *reason)?;
    let confidence = if environment.now { Confidence::Good } else { Confidence::Remembered };
    named(evidence, &environment.devices, confidence)
}

fn node(evidence: &Evidence<'_>) -> Result<Match, NotApplicable> {
    if !evidence.node_totals {
        return Err(NotApplicable::Off);
    }
    let devices = assignable(evidence)?.into_iter().map(|index| (index, false)).collect();
    Ok(Match { devices, confidence: Confidence::None })
}

/// Visible devices that a container can be given: slices, and cards without MIG. A card with MIG enabled is given only in
/// slices.
fn assignable(evidence: &Evidence<'_>) -> Result<Vec<usize>, NotApplicable> {
    let is_assignable = |index: &usize| !evidence.visible[*index].mig_enabled;
    let indices: Vec<usize> = (0..evidence.visible.len()).filter(is_assignable).collect();
    if indices.is_empty() { Err(NotApplicable::NothingVisible) } else { Ok(indices) }
}

/// The visible devices that the list `text` names.
fn named(evidence: &Evidence<'_>, text: &str, confidence: Confidence) -> Result<Match, NotApplicable> {
    let ids = id::list(text).map_err(|_| NotApplicable::NotUnderstood)?;
    let find = |index: usize| {
        let named = ids.iter().find(|id| id.is(&evidence.visible[index]))?;
        Some((index, named.is_replica))
    };
    let devices: Vec<_> = (0..evidence.visible.len()).filter_map(find).collect();
    if devices.is_empty() { Err(NotApplicable::NotVisible) } else { Ok(Match { devices, confidence }) }
}

fn exact(indices: Vec<usize>) -> Result<Match, NotApplicable> {
    if indices.is_empty() {
        return Err(NotApplicable::NotVisible);
    }
    let devices = indices.into_iter().map(|index| (index, false)).collect();
    Ok(Match { devices, confidence: Confidence::Exact })
}
