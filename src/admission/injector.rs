//! The injector: answers reviews, and decides on pods outside of a cluster.

use json_patch::Patch;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    answer::ReviewAnswer,
    container::SidecarContainer,
    decide::{self, Decision, Notice, Plan},
    gate::{InjectionGate, InjectionRequest, OpenGate},
    namespaces::Namespaces,
    outcome::{Outcome, SkipReason},
    patch::{Additions, InjectedContainer, MAX_POD_BYTES, RawPod, RepairedField, TestedPatches},
    pod::{PodView, StrictObject, UnreadableField},
    review::{self, Malformed, Review},
    ruleset::Ruleset,
    settings::{Profile, Settings},
};

/// Decides on pods with one configuration.
#[derive(Debug)]
pub struct Injector {
    ruleset: Ruleset,
    tested: TestedPatches,
}

/// A review and its answer.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The review.
    pub review: Review<'a>,
    /// Result of the admission of the pod.
    pub outcome: Outcome,
    /// Warnings for the client that creates the pod, in addition to the outcome's own.
    pub notices: Vec<Notice>,
    /// The restored parts of the sidecar.
    pub repaired: Vec<RepairedField>,
    /// The AdmissionReview to send back.
    pub reply: Vec<u8>,
}

/// The decision on a pod outside of a cluster.
#[derive(Debug)]
pub struct PodDecision {
    /// Result that the admission of the pod would have.
    pub outcome: Outcome,
    /// Warnings in addition to the outcome's own.
    pub notices: Vec<Notice>,
    /// The change to the pod, if any: `add` operations, in order.
    pub patch: Option<Patch>,
}

/// A pod to decide on.
struct Target<'t, 'p> {
    pod: &'t PodView<'p>,
    /// Length of the pod's JSON; it may include the envelope.
    bytes: usize,
    namespace: &'t str,
}

// === impl Injector ===

impl Injector {
    /// Prepares the settings for decisions.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { ruleset: Ruleset::new(settings), tested: TestedPatches::new() }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.ruleset.settings
    }

    /// The value of the annotation `vdi-metrics.io/config` on every pod that is injected with these settings.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.ruleset.hash
    }

    /// Every active profile, in the order of precedence.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        &self.ruleset.profiles
    }

    /// Answers an AdmissionReview, without pauses of injection.
    ///
    /// # Errors
    /// As [`Injector::admit_through`].
    pub fn admit<'a>(&self, body: &'a [u8], namespaces: &Namespaces) -> Result<Admission<'a>, Malformed> {
        self.admit_through(&OpenGate, body, namespaces)
    }

    /// Answers an AdmissionReview. A pod for which `gate` pauses injection gets no sidecar.
    ///
    /// # Errors
    /// Fails if the envelope cannot be read, because then there is no request to answer. The pod never causes an error.
    pub fn admit_through<'a>(
        &self,
        gate: &dyn InjectionGate,
        body: &'a [u8],
        namespaces: &Namespaces,
    ) -> Result<Admission<'a>, Malformed> {
        let review = Review::read(body)?;
        let answer = if !review.creates_a_pod() {
            ReviewAnswer::skip(SkipReason::NotAPod)
        } else if let Some(pod) = review.pod() {
            let config = &self.ruleset.hash;
            let is_paused = |template: Option<&str>| {
                gate.is_paused(&InjectionRequest { template, config, is_dry_run: review.is_dry_run() })
            };
            let target = Target { pod, bytes: body.len(), namespace: review.namespace() };
            self.answer(&target, namespaces, is_paused, || review::object(body))
        } else {
            let object: Option<&RawValue> = review::object(body);
            let field = object.and_then(|object| UnreadableField::of_pod(object.get().as_bytes()));
            let field = field.unwrap_or_else(UnreadableField::unknown);
            tracing::warn!(uid = %review.uid(), %field, "Cannot read the pod");
            ReviewAnswer::undecodable(&field)
        };
        let reply = review.reply(&answer);
        let ReviewAnswer { outcome, notices, repaired, added: _ } = answer;
        Ok(Admission { review, outcome, notices, repaired, reply })
    }

    /// Decides on one pod, as [`Injector::admit`] would in this namespace. `pod` is a JSON object with metadata and spec.
    #[must_use]
    pub fn consider(&self, pod: &[u8], namespace: &str, namespaces: &Namespaces) -> PodDecision {
        let read_raw = || serde_json::from_slice(pod).ok();
        let mut deserializer = serde_json::Deserializer::from_slice(pod);
        let answer = match StrictObject::<PodView<'_>>::deserialize(&mut deserializer) {
            Ok(object) => {
                let target = Target { pod: &object, bytes: pod.len(), namespace };
                self.answer(&target, namespaces, |_| false, read_raw)
            }
            Err(_) => {
                let field = UnreadableField::of_pod(pod).unwrap_or_else(UnreadableField::unknown);
                ReviewAnswer::undecodable(&field)
            }
        };
        PodDecision { outcome: answer.outcome, notices: answer.notices, patch: answer.added.to_patch() }
    }

    /// A pod that is too large can only be repaired. A repair restores what was in the pod before, and without the repair the desktop may
    /// not start. `is_paused` decides for a template; only an injection calls it. `read_raw` parses the pod a second time; only a
    /// repair calls it.
    fn answer<'a>(
        &self,
        target: &Target<'_, '_>,
        namespaces: &Namespaces,
        is_paused: impl FnOnce(Option<&str>) -> bool,
        read_raw: impl FnOnce() -> Option<RawPod<'a>>,
    ) -> ReviewAnswer {
        let &Target { pod, bytes, namespace } = target;
        let mut notices = vec![];
        let is_too_large = bytes > MAX_POD_BYTES;
        match decide::decide(pod, namespace, namespaces.of(namespace), &self.ruleset, &mut notices) {
            Decision::Inject(_) if is_too_large => ReviewAnswer::skip(SkipReason::TooLarge),
            Decision::Inject(plan) if is_paused(plan.template(pod)) => {
                self.skip(pod, SkipReason::BreakerOpen)
            }
            Decision::Inject(plan) => match Additions::inject(pod, &plan, &self.ruleset) {
                Ok(added) => ReviewAnswer { outcome: Outcome::Injected, notices, repaired: vec![], added }
                    .tested_by(|added| self.tested.test(added, pod)),
                Err(reason) => ReviewAnswer::skip(reason),
            },
            Decision::Inspect(plan) => match read_raw().and_then(|raw| InjectedContainer::find(pod, &raw)) {
                Some(container) => self.inspect(pod, plan.as_ref(), container),
                None => ReviewAnswer::skip(SkipReason::AlreadyInjected),
            },
            Decision::Skip(reason) if is_too_large => ReviewAnswer::skip(reason),
            Decision::Skip(reason) => self.skip(pod, reason),
        }
    }

    fn skip(&self, pod: &PodView<'_>, reason: SkipReason) -> ReviewAnswer {
        ReviewAnswer { added: Additions::skip(pod, reason), ..ReviewAnswer::skip(reason) }
            .tested_by(|added| self.tested.test(added, pod))
    }

    fn inspect(
        &self,
        pod: &PodView<'_>,
        plan: Option<&Plan<'_>>,
        container: InjectedContainer,
    ) -> ReviewAnswer {
        let policy = self.ruleset.settings.sidecar.image_pull_policy;
        let expected = plan.map(|plan| SidecarContainer::new(plan, policy));
        let (repaired, added) = container.repairs(pod, expected.as_ref());
        if repaired.is_empty() {
            return ReviewAnswer::skip(SkipReason::AlreadyInjected);
        }
        ReviewAnswer { outcome: Outcome::Repaired, notices: vec![], repaired, added }
            .tested_by(|added| added.test_apply(container.stub(pod)))
    }
}
