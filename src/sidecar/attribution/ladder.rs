//! The ladder, one function for each rung.

use super::{Confidence, Evidence, NotApplicable, Processes, Strategy};
use crate::gpu::id::{self, Id};

/// What a rung has found: places in what is visible, and whether each is one of several parts of a shared card.
#[derive(Debug)]
pub struct Found {
    pub(super) devices: Vec<(usize, bool)>,
    pub(super) confidence: Confidence,
}

type StrategyFn = fn(&Evidence<'_>) -> Result<Found, NotApplicable>;

/// The rungs from the surest down.
pub const STRATEGIES: [(Strategy, StrategyFn); 6] = [
    (Strategy::Claim, claim),
    (Strategy::Annotation, annotation),
    (Strategy::SingleDevice, single_device),
    (Strategy::Processes, processes),
    (Strategy::Environment, environment),
    (Strategy::Node, node),
];

/// What is visible by a claim is ours; the metadata files, where there are any, say which of it is of the claim.
fn claim(evidence: &Evidence<'_>) -> Result<Found, NotApplicable> {
    if evidence.claim.is_none() {
        return Err(NotApplicable::NotGiven);
    }
    let whole = whole(evidence)?;
    // A claim can stand for other devices besides, and their drivers give them other names.
    let named: Vec<Id> = evidence.metadata.iter().filter_map(|uuid| Id::uuid(uuid)).collect();
    let is_named = |place: &usize| named.iter().any(|id| id.is(&evidence.visible[*place]));
    exact(whole.into_iter().filter(|place| named.is_empty() || is_named(place)).collect())
}

fn annotation(evidence: &Evidence<'_>) -> Result<Found, NotApplicable> {
    let text = evidence.annotation.as_deref().ok_or(NotApplicable::NotGiven)?.trim();
    // Written by somebody who will know later.
    if text.is_empty() || text == "pending" {
        return Err(NotApplicable::Pending);
    }
    named(evidence, text, Confidence::Exact)
}

/// A device that is alone, not cut into slices, and has no nameless one beside it.
fn single_device(evidence: &Evidence<'_>) -> Result<Found, NotApplicable> {
    match whole(evidence)?[..] {
        [place] if evidence.unnamed == 0 => {
            Ok(Found { devices: vec![(place, false)], confidence: Confidence::Good })
        }
        _ => Err(NotApplicable::SeveralDevices),
    }
}

fn processes(evidence: &Evidence<'_>) -> Result<Found, NotApplicable> {
    match &evidence.processes {
        Processes::Unasked => Err(NotApplicable::Unasked),
        Processes::Unknown(pass) => Err(*pass),
        Processes::Seen { places, .. } if places.is_empty() => Err(NotApplicable::NoProcess),
        Processes::Seen { places, now } => Ok(Found {
            devices: places.iter().map(|place| (*place, false)).collect(),
            confidence: if *now { Confidence::Exact } else { Confidence::Remembered },
        }),
    }
}

fn environment(evidence: &Evidence<'_>) -> Result<Found, NotApplicable> {
    let hint = evidence.hint.clone().unwrap_or(Err(NotApplicable::NotGiven))?;
    named(evidence, &hint.devices, if hint.now { Confidence::Good } else { Confidence::Remembered })
}

fn node(evidence: &Evidence<'_>) -> Result<Found, NotApplicable> {
    if !evidence.node {
        return Err(NotApplicable::Off);
    }
    let devices = whole(evidence)?.into_iter().map(|place| (place, false)).collect();
    Ok(Found { devices, confidence: Confidence::None })
}

/// The devices that could be somebody's as a whole: slices, and cards that are not cut into any.
fn whole(evidence: &Evidence<'_>) -> Result<Vec<usize>, NotApplicable> {
    let is_whole = |place: &usize| !evidence.visible[*place].mig_enabled;
    let places: Vec<usize> = (0..evidence.visible.len()).filter(is_whole).collect();
    if places.is_empty() { Err(NotApplicable::NothingVisible) } else { Ok(places) }
}

/// The visible ones of those that a list names.
fn named(evidence: &Evidence<'_>, text: &str, confidence: Confidence) -> Result<Found, NotApplicable> {
    let ids = id::list(text).map_err(|_| NotApplicable::NotUnderstood)?;
    let of = |place: usize| {
        let named = ids.iter().find(|id| id.is(&evidence.visible[place]))?;
        Some((place, named.is_replica))
    };
    let devices: Vec<_> = (0..evidence.visible.len()).filter_map(of).collect();
    if devices.is_empty() { Err(NotApplicable::NotVisible) } else { Ok(Found { devices, confidence }) }
}

fn exact(places: Vec<usize>) -> Result<Found, NotApplicable> {
    if places.is_empty() {
        return Err(NotApplicable::NotVisible);
    }
    let devices = places.into_iter().map(|place| (place, false)).collect();
    Ok(Found { devices, confidence: Confidence::Exact })
}
