//! Attribution: decides from evidence which devices belong to the session, or why none does. Pure: `sidecar::evidence`
//! collects the evidence.

mod decide;
mod evidence;
mod result;
mod strategies;
mod vocabulary;

pub use self::{
    decide::{AttributionStep, Undecided, by_node_agent, decide},
    evidence::{Annotations, ClaimKind, EnvironmentDevices, Evidence, ProcessEvidence, Processes},
    result::{Attribution, AttributionResult, SessionDevice},
    vocabulary::{Confidence, EvidenceSource, NotApplicable, Strategy, UnavailableReason},
};
pub use crate::sampling::{scope::Scope, sharing::Sharing};

#[cfg(test)]
mod tests;
