//! Admission: the bytes of an AdmissionReview in, the bytes of its answer out.
//!
//! Everything but [`edge`] and its [`metrics`] is pure: no await, no lock, no clock, no API call. The pod is decided on
//! through a view that borrows from the request and is changed by a patch on the raw document, so that fields we do not
//! know survive. A metric is never worth a desktop: every doubt ends in "allowed, no patch, and here is why".

mod container;
mod decide;
pub mod edge;
pub mod metrics;
mod patch;
mod pod;
mod review;
pub mod settings;

use json_patch::Patch;

pub use decide::Reason;
pub use review::{Malformed, Review};
pub use settings::Settings;

use decide::Decision;

/// What is answered about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is given the sidecar.
    Injected,
    /// It goes without us.
    Skipped(Reason),
}

/// One review and its answer.
#[derive(Debug)]
pub struct Admission<'a> {
    /// What was asked.
    pub review: Review<'a>,
    /// What was decided.
    pub outcome: Outcome,
    /// The AdmissionReview to send back.
    pub reply: Vec<u8>,
}

/// Answers one AdmissionReview.
///
/// # Errors
/// Only where there is no request to answer, because its envelope cannot be read; never because of the pod in it.
pub fn admit<'a>(body: &'a [u8], settings: &Settings) -> Result<Admission<'a>, Malformed> {
    let review = Review::read(body)?;
    let (outcome, patch) = answer(&review, settings);
    let reply = review.reply(outcome, patch.as_ref());
    Ok(Admission { review, outcome, reply })
}

fn answer(review: &Review<'_>, settings: &Settings) -> (Outcome, Option<Patch>) {
    if !review.creates_a_pod() {
        return (Outcome::Skipped(Reason::NotAPod), None);
    }
    let Some(pod) = review.pod() else { return (Outcome::Skipped(Reason::Undecodable), None) };
    let (outcome, changes) = match decide::decide(pod, settings) {
        Decision::Inject(plan) => {
            (Outcome::Injected, patch::Changes::inject(container::sidecar(&plan, settings)))
        }
        Decision::Skip(reason) => (Outcome::Skipped(reason), patch::Changes::skip(reason)),
    };
    match changes.on(pod) {
        Ok(patch) => (outcome, patch),
        Err(error) => {
            tracing::error!(uid = %review.uid(), %error, "Kept back a patch that does not apply");
            (Outcome::Skipped(Reason::PatchRejected), None)
        }
    }
}
