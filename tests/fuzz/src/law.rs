//! What holds for every input.

use kit::answer::{Answer, Ours};
use serde_json::Value;
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    contract::{CONTAINER, key},
};

/// How an input ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Patched,
    Answered,
    Refused,
}

#[derive(Debug)]
pub(crate) struct Law {
    injector: Injector,
    namespaces: Namespaces,
}

const OURS: Ours<'_> = Ours { keys: &[key::INJECTED, key::STATUS, key::CONFIG], container: CONTAINER };

// === impl Law ===

impl Law {
    pub(crate) fn new() -> Self {
        Self { injector: Injector::new(Settings::default()), namespaces: Namespaces::default() }
    }

    /// # Panics
    /// Where the input breaks it.
    pub(crate) fn judge(&self, body: &[u8]) -> Ending {
        let admission = match self.injector.admit(body, &self.namespaces) {
            Ok(admission) => admission,
            Err(error) => {
                let message = error.to_string();
                assert!((10..10_000).contains(&message.len()), "{message}");
                return Ending::Refused;
            }
        };
        let answer = Answer::read(&admission.reply, admission.review.uid());
        if answer.patch.is_none() {
            return Ending::Answered;
        }
        // A document deeper than this reader goes, or with numbers that it does not hold, is not looked at further.
        if let Ok(review) = serde_json::from_slice(body) {
            self.is_read_as_the_api_server_does(&answer, &review);
        }
        Ending::Patched
    }

    /// To whom the last of two equal keys counts, as to `Value`: the same document without doubles has the same answer,
    /// its patch applies to the whole pod, and what comes of that is not changed again.
    fn is_read_as_the_api_server_does(&self, answer: &Answer, review: &Value) {
        let plain = self.answer(review);
        assert_eq!((&plain.decision, &plain.patch), (&answer.decision, &answer.patch));
        let once = answer.applied(&review["request"]["object"], &OURS);
        let mut again = review.clone();
        again["request"]["object"] = once.clone();
        assert_eq!(self.answer(&again).applied(&once, &OURS), once);
    }

    fn answer(&self, review: &Value) -> Answer {
        let body = serde_json::to_vec(review).unwrap();
        let admission = self.injector.admit(&body, &self.namespaces).expect("it was answered before");
        Answer::read(&admission.reply, admission.review.uid())
    }
}
