//! Attribution: decides from evidence which devices are the session's, or why none is. Pure: `sidecar::evidence` collects
//! the evidence.

mod decide;
mod evidence;
mod result;
mod strategies;
mod vocabulary;

pub use self::{
    decide::{AttributionStep, Undecided, decide},
    evidence::{ClaimKind, EnvironmentDevices, Evidence, ProcessEvidence, Processes},
    result::{Attribution, AttributionResult, SessionDevice},
    vocabulary::{Confidence, NotApplicable, Sharing, Strategy, UnavailableReason},
};
pub use crate::sampling::scope::Scope;

#[cfg(test)]
mod tests;
