//! The answer to a review: the outcome and the changes to the pod.

use json_patch::PatchError;

use super::{
    decide::Notice,
    outcome::{Outcome, SkipReason},
    patch::{Additions, RepairedField},
    pod::UnreadableField,
};

/// The answer to a review.
#[derive(Debug)]
pub(super) struct ReviewAnswer {
    pub(super) outcome: Outcome,
    pub(super) notices: Vec<Notice>,
    pub(super) repaired: Vec<RepairedField>,
    pub(super) added: Additions,
}

// === impl ReviewAnswer ===

impl ReviewAnswer {
    /// An answer that changes nothing.
    pub(super) fn skip(reason: SkipReason) -> Self {
        Self {
            outcome: Outcome::Skipped(reason),
            notices: vec![],
            repaired: vec![],
            added: Additions::default(),
        }
    }

    /// The answer for a pod that cannot be read.
    pub(super) fn undecodable(field: &UnreadableField) -> Self {
        Self { notices: vec![Notice::unreadable(field)], ..Self::skip(SkipReason::Undecodable) }
    }

    /// Replaces the answer with a skip if `test` fails: the API server rejects a pod whose patch does not apply.
    pub(super) fn tested_by(self, test: impl FnOnce(&Additions) -> Result<(), PatchError>) -> Self {
        match test(&self.added) {
            Ok(()) => self,
            Err(error) => {
                tracing::error!(%error, "Discarded a patch that does not apply to the pod");
                Self::skip(SkipReason::PatchRejected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_does_not_apply_is_discarded_and_the_client_is_warned() {
        let mut added = Additions::default();
        added.add("/metadata/labels/a", "b");
        let answer =
            ReviewAnswer { outcome: Outcome::Injected, added, ..ReviewAnswer::skip(SkipReason::OptedOut) }
                .tested_by(|added| added.test_apply(serde_json::json!({"spec": {}})));
        assert_eq!(answer.outcome, Outcome::Skipped(SkipReason::PatchRejected));
        assert!(answer.added.is_empty() && answer.outcome.warning().is_some(), "{answer:?}");
    }
}
