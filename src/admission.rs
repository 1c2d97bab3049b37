//! Admission: the bytes of an AdmissionReview in, the bytes of its answer out.
//!
//! Everything but [`edge`], its [`metrics`] and the [`configuration`] is pure: no await, no lock, no clock, no API call. The
//! pod is decided on through a view that borrows from the request and is changed by a patch on the raw document, so that
//! fields we do not know survive. A metric is never worth a desktop: every doubt ends in "allowed, no patch, and here is why".

pub mod configuration;
mod container;
mod decide;
pub mod edge;
mod identity;
pub mod metrics;
pub mod namespaces;
mod overrides;
mod patch;
mod pod;
pub mod policy;
pub mod quantity;
mod reason;
mod repair;
mod resources;
mod review;
pub mod settings;

use json_patch::{Patch, PatchError};
use serde::Deserialize;

pub use namespaces::Namespaces;
pub use overrides::Notice;
pub use reason::{Outcome, SkipReason};
pub use repair::Part;
pub use review::{Malformed, Review};
pub use settings::Settings;

use container::Container;
use decide::{Decision, Plan};
use patch::{Additions, Proofs};
use pod::{Object, Pod};
use repair::{Found, Whole};
use settings::Profile;

/// Settings made ready to decide on pods.
#[derive(Debug)]
pub struct Injector {
    settings: Settings,
    profiles: Vec<Profile>,
    hash: String,
    proofs: Proofs,
}

/// One review and its answer.
#[derive(Debug)]
pub struct Admission<'a> {
    /// What was asked.
    pub review: Review<'a>,
    /// What was decided.
    pub outcome: Outcome,
    /// What the creator of the pod is told about it beside that.
    pub notices: Vec<Notice>,
    /// What others had broken.
    pub repaired: Vec<Part>,
    /// The AdmissionReview to send back.
    pub reply: Vec<u8>,
}

/// What is decided about a pod outside of a cluster.
#[derive(Debug)]
pub struct Verdict {
    /// What was decided.
    pub outcome: Outcome,
    /// What is to be told about it beside that.
    pub notices: Vec<Notice>,
    /// The change to the pod, if there is one: `add` operations, in order.
    pub patch: Option<Patch>,
}

/// What is decided about a pod, and the change to it.
#[derive(Debug)]
struct Answer {
    outcome: Outcome,
    notices: Vec<Notice>,
    repaired: Vec<Part>,
    added: Additions,
}

// === impl Injector ===

impl Injector {
    /// Makes settings ready.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let profiles = settings.all_profiles();
        let hash = fingerprint(&settings, &profiles);
        Self { settings, profiles, hash, proofs: Proofs::new() }
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What `vdi-metrics.io/config` says of every pod that is injected under these settings.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Answers one AdmissionReview.
    ///
    /// # Errors
    /// Only where there is no request to answer, because its envelope cannot be read; never because of the pod in it.
    pub fn admit<'a>(&self, body: &'a [u8], known: &Namespaces) -> Result<Admission<'a>, Malformed> {
        let review = Review::read(body)?;
        let answer = if !review.creates_a_pod() {
            Answer::skip(SkipReason::NotAPod)
        } else if let Some(pod) = review.pod() {
            self.answer(pod, review.namespace(), known, || review::object(body))
        } else {
            Answer::skip(SkipReason::Undecodable)
        };
        let reply = review.reply(&answer);
        let Answer { outcome, notices, repaired, added: _ } = answer;
        Ok(Admission { review, outcome, notices, repaired, reply })
    }

    /// Decides on one pod, an object with metadata and spec as JSON, as [`Injector::admit`] would in this namespace.
    #[must_use]
    pub fn consider(&self, pod: &[u8], namespace: &str, known: &Namespaces) -> Verdict {
        let whole = || serde_json::from_slice(pod).ok();
        let answer = match Object::<Pod<'_>>::deserialize(&mut serde_json::Deserializer::from_slice(pod)) {
            Ok(pod) => self.answer(&pod, namespace, known, whole),
            Err(_) => Answer::skip(SkipReason::Undecodable),
        };
        Verdict { outcome: answer.outcome, notices: answer.notices, patch: answer.added.to_patch() }
    }

    /// `whole` reads the pod once more, which only a repair needs.
    fn answer<'a>(
        &self,
        pod: &Pod<'_>,
        namespace: &str,
        known: &Namespaces,
        whole: impl FnOnce() -> Option<Whole<'a>>,
    ) -> Answer {
        let mut notices = vec![];
        match decide::decide(pod, namespace, known.of(namespace), self, &mut notices) {
            Decision::Inject(plan) => {
                let added = Additions::inject(pod, &plan, self);
                Answer { outcome: Outcome::Injected, notices, repaired: vec![], added }
                    .proven_by(|added| self.proofs.hold(added, pod))
            }
            Decision::Inspect(plan) => match whole().and_then(|whole| Found::of(pod, &whole)) {
                Some(found) => self.inspect(pod, plan.as_ref(), found),
                None => Answer::skip(SkipReason::AlreadyInjected),
            },
            Decision::Skip(reason) => Answer { added: Additions::skip(pod, reason), ..Answer::skip(reason) }
                .proven_by(|added| self.proofs.hold(added, pod)),
        }
    }

    fn inspect(&self, pod: &Pod<'_>, plan: Option<&Plan<'_>>, found: Found) -> Answer {
        let expected = plan.map(|plan| Container::of(plan, self.settings.sidecar.image_pull_policy));
        let (repaired, added) = found.repairs(pod, expected.as_ref());
        if repaired.is_empty() {
            return Answer::skip(SkipReason::AlreadyInjected);
        }
        Answer { outcome: Outcome::Repaired, notices: vec![], repaired, added }
            .proven_by(|added| added.prove(found.skeleton(pod)))
    }
}

/// 64-bit FNV-1a over the settings and this version, so that pods of equal making have equal hashes. It tells
/// configurations apart and protects nothing.
fn fingerprint(settings: &Settings, profiles: &[Profile]) -> String {
    let making = serde_json::json!([crate::runtime::VERSION, settings, profiles, container::volume()]);
    let hash = making.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

// === impl Answer ===

impl Answer {
    fn skip(reason: SkipReason) -> Self {
        Self {
            outcome: Outcome::Skipped(reason),
            notices: vec![],
            repaired: vec![],
            added: Additions::default(),
        }
    }

    /// Keeps a patch back that does not apply: the API server would refuse the pod for it.
    fn proven_by(self, applies: impl FnOnce(&Additions) -> Result<(), PatchError>) -> Self {
        match applies(&self.added) {
            Ok(()) => self,
            Err(error) => {
                tracing::error!(%error, "Kept back a patch that does not apply");
                Self::skip(SkipReason::PatchRejected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_does_not_apply_is_kept_back_and_said() {
        let mut added = Additions::default();
        added.add("/metadata/labels/a", "b");
        let answer = Answer { outcome: Outcome::Injected, added, ..Answer::skip(SkipReason::OptedOut) }
            .proven_by(|added| added.prove(serde_json::json!({"spec": {}})));
        assert_eq!(answer.outcome, Outcome::Skipped(SkipReason::PatchRejected));
        assert!(answer.added.is_empty() && answer.outcome.warning().is_some(), "{answer:?}");
    }
}
