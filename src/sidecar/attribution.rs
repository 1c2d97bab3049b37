//! Whose GPU is it: evidence -> the devices that are this session's, or why there are none. Pure; what is gathered where
//! is `evidence`'s business.

mod ladder;
mod vocabulary;

pub use self::{
    ladder::STRATEGIES,
    vocabulary::{Confidence, NotApplicable, Scope, Sharing, Strategy, UnavailableReason},
};
use crate::gpu::Device;

/// Everything that the ladder looks at.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// What the driver shows in this container.
    pub visible: &'a [Device],
    /// How many more are there, or have been and were the session's, that the driver does not name.
    pub unnamed: usize,
    /// The desktop's resource claims, where this container was given them: what it sees then is the desktop's.
    pub claim: Option<ClaimKind>,
    /// UUIDs in the claims' metadata files (KEP-5304); empty where the DRA driver writes none.
    pub metadata: Vec<String>,
    /// What somebody who knows has written into the pod's annotation.
    pub annotation: Option<String>,
    /// How the desktop's GPU is shared, where somebody has written that.
    pub sharing: Option<Sharing>,
    /// What can be said of processes.
    pub processes: Processes,
    /// `NVIDIA_VISIBLE_DEVICES` of the desktop's processes, or why it is not known.
    pub hint: Option<Result<EnvironmentDevices, NotApplicable>>,
    /// Whether the whole node's devices are shown where no rung holds.
    pub node: bool,
}

/// What kind of claims the desktop has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// Made for this pod alone, from a template.
    Own,
    /// Made by somebody, and other pods may name it as well.
    Named,
}

/// Which devices have processes of this pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Processes {
    /// Nobody has asked: the rungs above have to be tried first, because the lists are the dearest of all calls.
    #[default]
    Unasked,
    /// They cannot be told from others'.
    Unknown(NotApplicable),
    /// Places in `visible` with processes of this pod, now or at an earlier poll; and whether there are any now.
    Seen {
        /// In the driver's order.
        places: Vec<usize>,
        /// A session that is idle holds its device all the same, but we only remember it.
        now: bool,
    },
}

/// What the environment of the desktop's processes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentDevices {
    /// A list of devices.
    pub devices: String,
    /// Whether a process says it now, or one did that has ended.
    pub now: bool,
}

/// The devices that are ours, and how surely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Which rung of the ladder found them.
    pub strategy: Strategy,
    /// How far the strategy can be trusted.
    pub confidence: Confidence,
    /// In the driver's order.
    pub ours: Vec<SessionDevice>,
}

/// One device that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionDevice {
    /// Place in what is visible.
    pub place: usize,
    /// With whom.
    pub sharing: Sharing,
    /// What the values of the device stand for.
    pub scope: Scope,
}

/// What the ladder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributionResult {
    /// The rung that holds, or why none does.
    pub outcome: Result<Attribution, UnavailableReason>,
    /// The rungs above it, each with why it does not hold.
    pub passed: Vec<(Strategy, NotApplicable)>,
}

/// Most devices of one session; no machine gives one more.
const MOST: usize = 16;

/// Climbs down the ladder to the first rung that holds.
#[must_use]
pub fn decide(evidence: &Evidence<'_>) -> AttributionResult {
    let mut passed = vec![];
    for (strategy, rung) in STRATEGIES {
        match rung(evidence) {
            Ok(found) => {
                let ours = found.devices.into_iter().take(MOST).map(|(place, is_replica)| {
                    let sharing = sharing(evidence, strategy, place, is_replica);
                    SessionDevice { place, sharing, scope: scope(strategy, sharing) }
                });
                let ours = ours.collect();
                let attribution = Attribution { strategy, confidence: found.confidence, ours };
                return AttributionResult { outcome: Ok(attribution), passed };
            }
            Err(pass) => passed.push((strategy, pass)),
        }
        // Somebody knows better than any rung below: what is visible is another's.
        if let Some((Strategy::Claim | Strategy::Annotation, NotApplicable::NotVisible)) = passed.last() {
            return AttributionResult { outcome: Err(UnavailableReason::NotVisible), passed };
        }
    }
    AttributionResult { outcome: Err(nothing(evidence)), passed }
}

/// Why no device is ours although the driver works.
fn nothing(evidence: &Evidence<'_>) -> UnavailableReason {
    match evidence.visible {
        [] => UnavailableReason::NoDevice,
        visible if visible.iter().all(|device| device.mig_enabled) => UnavailableReason::InSlices,
        _ => UnavailableReason::SeveralDevices,
    }
}

/// With whom a device is shared: by what somebody has written, else by what can be seen. Where neither says it, strategies
/// that see no sharing leave it open.
fn sharing(evidence: &Evidence<'_>, strategy: Strategy, place: usize, is_replica: bool) -> Sharing {
    let device = evidence.visible.get(place);
    let is_for_mps = device.is_some_and(|device| device.exclusive_process);
    match (evidence.sharing, strategy) {
        (Some(sharing), _) => sharing,
        (None, _) if is_for_mps && (is_replica || strategy != Strategy::Annotation) => Sharing::Mps,
        (None, _) if is_replica => Sharing::TimeSlicing,
        // The device plugin leaves the number of the replica out of this variable (`deviceIDsFromAnnotatedDeviceIDs`).
        (None, Strategy::Processes | Strategy::Environment | Strategy::Node) => Sharing::Unknown,
        (None, Strategy::Claim) if evidence.claim == Some(ClaimKind::Named) => Sharing::Unknown,
        (None, _) if device.is_some_and(|device| device.slice.is_some()) => Sharing::Mig,
        (None, _) => Sharing::Exclusive,
    }
}

fn scope(strategy: Strategy, sharing: Sharing) -> Scope {
    match sharing {
        _ if strategy == Strategy::Node => Scope::Node,
        Sharing::Exclusive | Sharing::Mig => Scope::Session,
        Sharing::TimeSlicing | Sharing::Mps | Sharing::Unknown => Scope::Device,
    }
}

// === impl SessionDevice, Attribution ===

impl SessionDevice {
    /// What a value of its whole card stands for: a slice's neighbours have their part in it.
    #[must_use]
    pub fn card_scope(&self, device: &Device) -> Scope {
        if device.slice.is_some() { self.scope.max(Scope::Device) } else { self.scope }
    }
}

impl Attribution {
    /// What all of its devices' values stand for: the widest of their scopes.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.ours.iter().map(|ours| ours.scope).max().unwrap_or(Scope::Session)
    }
}

#[cfg(test)]
mod tests;
