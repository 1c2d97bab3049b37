//! Tries the strategies in order and describes the devices of the first one that applies.

use super::{
    evidence::{ClaimKind, Evidence, ProcessEvidence},
    result::{Attribution, AttributionResult, SessionDevice},
    strategies::{self, Match},
    vocabulary::{Confidence, NotApplicable, Strategy, UnavailableReason},
};
use crate::{
    contract::GpuRequest,
    sampling::{scope::Scope, sharing::Sharing},
};

/// Maximum number of devices of one session, because each device has about 30 series. Eight cards with seven slices each are 56
/// devices.
pub(super) const MAX_DEVICES: usize = 64;

/// Result of the strategies that need no process evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributionStep {
    /// The result is final; process evidence is not necessary.
    Final(AttributionResult),
    /// No strategy applies without process evidence.
    NeedsProcesses(Undecided),
}

/// The strategies that were tried and do not apply. [`Undecided::decide`] tries the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    not_applicable: Vec<(Strategy, NotApplicable)>,
}

/// Tries the strategies that need no process evidence, in order.
#[must_use]
pub fn decide(evidence: &Evidence<'_>) -> AttributionStep {
    let mut not_applicable = vec![];
    for (strategy, apply) in strategies::WITHOUT_PROCESSES {
        match apply(evidence) {
            Ok(matched) => {
                return AttributionStep::Final(attributed(evidence, strategy, matched, not_applicable));
            }
            Err(reason) => not_applicable.push((strategy, reason)),
        }
        // The claim's metadata or the annotation names a device that is not visible, so the visible devices belong to other pods.
        if let Some((Strategy::Claim | Strategy::Annotation, NotApplicable::NotVisible)) =
            not_applicable.last()
        {
            let outcome = Err(UnavailableReason::NotVisible);
            return AttributionStep::Final(AttributionResult { outcome, not_applicable });
        }
    }
    AttributionStep::NeedsProcesses(Undecided { not_applicable })
}

/// The result for the devices that the node agent has reported, with at most 64 devices.
#[must_use]
pub fn by_node_agent(reported: &[Sharing]) -> AttributionResult {
    let device =
        |(index, &sharing)| SessionDevice { index, sharing, scope: scope(Strategy::NodeAgent, sharing) };
    let devices: Vec<_> = reported.iter().enumerate().take(MAX_DEVICES).map(device).collect();
    let attribution = Attribution {
        strategy: Strategy::NodeAgent,
        confidence: Confidence::Exact,
        devices,
        has_more: reported.len() > MAX_DEVICES,
    };
    let has_device = !attribution.devices.is_empty();
    let outcome = if has_device { Ok(attribution) } else { Err(UnavailableReason::NotAllocated) };
    AttributionResult { outcome, not_applicable: vec![] }
}

/// The result for the strategy that applies, with at most [`MAX_DEVICES`] devices.
fn attributed(
    evidence: &Evidence<'_>,
    strategy: Strategy,
    matched: Match,
    not_applicable: Vec<(Strategy, NotApplicable)>,
) -> AttributionResult {
    let has_more = matched.devices.len() > MAX_DEVICES;
    let devices = matched.devices.into_iter().take(MAX_DEVICES).map(|(index, is_replica)| {
        let sharing = sharing(evidence, strategy, index, is_replica);
        SessionDevice { index, sharing, scope: scope(strategy, sharing) }
    });
    let devices = devices.collect();
    let attribution = Attribution { strategy, confidence: matched.confidence, devices, has_more };
    AttributionResult { outcome: Ok(attribution), not_applicable }
}

/// Why no strategy applies although the driver works.
fn unavailable(evidence: &Evidence<'_>, not_applicable: &[(Strategy, NotApplicable)]) -> UnavailableReason {
    match evidence.visible {
        [] => UnavailableReason::NoDevice,
        visible if visible.iter().all(|device| device.mig_enabled) => UnavailableReason::InSlices,
        _ if not_applicable.contains(&(Strategy::SingleDevice, NotApplicable::NotRequested)) => {
            UnavailableReason::NotRequested
        }
        _ => UnavailableReason::SeveralDevices,
    }
}

/// How a device is shared: the annotation decides, otherwise the evidence. `Unknown` if the evidence of the strategy does not
/// show whether the device is shared.
fn sharing(evidence: &Evidence<'_>, strategy: Strategy, index: usize, is_replica: bool) -> Sharing {
    let device = evidence.visible.get(index);
    let is_for_mps = device.is_some_and(|device| device.exclusive_process);
    match (evidence.sharing, strategy) {
        (Some(sharing), _) => sharing,
        // The compute mode `exclusive process` means MPS, except for an annotation without a replica number: such an annotation
        // names the entire card, and then the mode means nothing.
        (None, _) if is_for_mps && (is_replica || strategy != Strategy::Annotation) => Sharing::Mps,
        (None, _) if is_replica => Sharing::TimeSlicing,
        // Process lists contain no replica number. `NVIDIA_VISIBLE_DEVICES` contains none either, because the NVIDIA device
        // plugin removes it (`deviceIDsFromAnnotatedDeviceIDs`). So the device may be shared.
        (None, Strategy::Processes | Strategy::Environment | Strategy::Node) => Sharing::Unknown,
        (None, Strategy::Annotation | Strategy::SingleDevice)
            if evidence.request == Some(GpuRequest::Part) =>
        {
            Sharing::Unknown
        }
        (None, Strategy::Claim) if evidence.claim == Some(ClaimKind::Named) => Sharing::Unknown,
        (None, _) if device.is_some_and(|device| device.slice.is_some()) => Sharing::Mig,
        (None, _) => Sharing::Exclusive,
    }
}

/// Scope of the values of a device.
fn scope(strategy: Strategy, sharing: Sharing) -> Scope {
    match sharing {
        _ if strategy == Strategy::Node => Scope::Node,
        Sharing::Exclusive | Sharing::Mig => Scope::Session,
        Sharing::TimeSlicing | Sharing::Mps | Sharing::Unknown => Scope::Device,
    }
}

// === impl Undecided ===

impl Undecided {
    /// Tries the strategies that need process evidence, then the totals of the node.
    #[must_use]
    pub fn decide(self, evidence: &Evidence<'_>, processes: &ProcessEvidence) -> AttributionResult {
        let mut not_applicable = self.not_applicable;
        for (strategy, apply) in strategies::WITH_PROCESSES {
            match apply(evidence, processes) {
                Ok(matched) => return attributed(evidence, strategy, matched, not_applicable),
                Err(reason) => not_applicable.push((strategy, reason)),
            }
            // The unreadable evidence may name a device. A later strategy must not attribute another device.
            if let Some((_, NotApplicable::Unreadable)) = not_applicable.last() {
                return AttributionResult { outcome: Err(UnavailableReason::Unreadable), not_applicable };
            }
        }
        let reason = unavailable(evidence, &not_applicable);
        AttributionResult { outcome: Err(reason), not_applicable }
    }
}
