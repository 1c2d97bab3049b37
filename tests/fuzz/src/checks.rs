//! What holds for every input.

use std::{path::Path, sync::Arc};

use kit::answer::{Answer, OwnedFields};
use serde_json::Value;
use vdi_metrics::{
    admission::{
        Injector, Namespaces, Settings,
        namespaces::{Bounds, Namespace, Resource},
        quantity::Quantity,
    },
    contract::{CONTAINER, key},
};

/// How an input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Patched,
    Answered,
    Refused,
}

#[derive(Debug)]
pub(crate) struct Checks {
    injectors: [Injector; 2],
    namespaces: Namespaces,
}

/// A namespace with a LimitRange.
pub(crate) const LIMITED: &str = "limited";

const OTHERWISE: &str = "{sidecar: {mode: container, imagePullSecrets: [ours]}, gpuAccess: runtime, scrapeAnnotations: auto, showUser: true}";

const OURS: OwnedFields<'_> = OwnedFields {
    keys: &[
        key::INJECTED,
        key::STATUS,
        key::CONFIG,
        "prometheus.io/scrape",
        "prometheus.io/port",
        "prometheus.io/path",
    ],
    container: CONTAINER,
};

// === impl Checks ===

impl Checks {
    pub(crate) fn new() -> Self {
        let otherwise = Settings::parse(OTHERWISE, Path::new("otherwise")).unwrap();
        let mut limited = Namespace::default();
        *limited.container.of_mut(Resource::Cpu) = Bounds {
            min: Some(Quantity::thousandths(50)),
            ratio: Some(Quantity::thousandths(1000)),
            ..Bounds::default()
        };
        let namespaces = Namespaces([(LIMITED.to_owned(), Arc::new(limited))].into());
        Self { injectors: [Settings::default(), otherwise].map(Injector::new), namespaces }
    }

    /// # Panics
    /// Where the answer is none that an API server takes.
    pub(crate) fn judge(&self, body: &[u8]) -> Ending {
        match self.answer(self.injector(body), body) {
            None => Ending::Refused,
            Some(answer) if answer.patch.is_none() => Ending::Answered,
            Some(_) => Ending::Patched,
        }
    }

    /// To the API server the last of two equal keys counts, as to `Value`: the same document without doubles has the same
    /// answer, its patch applies to the whole pod, and what comes of that is not changed again.
    ///
    /// # Panics
    /// Where that does not hold.
    pub(crate) fn judge_whole(&self, body: &[u8]) {
        let injector = self.injector(body);
        let answer = self.answer(injector, body).filter(|answer| answer.patch.is_some());
        // A document deeper than this reader goes, or with numbers that it does not hold, is not looked at further.
        let (Some(answer), Ok(review)) = (answer, serde_json::from_slice::<Value>(body)) else { return };
        let again = |review: &Value| self.answer(injector, &serde_json::to_vec(review).unwrap()).unwrap();
        let plain = again(&review);
        assert_eq!((&plain.decision, &plain.patch), (&answer.decision, &answer.patch));
        let mut once = review.clone();
        once["request"]["object"] = answer.applied(&review["request"]["object"], &OURS);
        assert_eq!(again(&once).patch, None, "{} again", answer.decision);
    }

    fn injector(&self, body: &[u8]) -> &Injector {
        &self.injectors[body.len() % 2]
    }

    fn answer(&self, injector: &Injector, body: &[u8]) -> Option<Answer> {
        match injector.admit(body, &self.namespaces) {
            Ok(admission) => Some(Answer::read(&admission.reply, admission.review.uid())),
            Err(error) => {
                let message = error.to_string();
                assert!((10..10_000).contains(&message.len()), "{message}");
                None
            }
        }
    }

    /// A pod as it is after its first call.
    pub(crate) fn injected(&self, review: &Value) -> Option<Value> {
        let body = serde_json::to_vec(review).unwrap();
        let answer = self.answer(&self.injectors[0], &body)?;
        Some(answer.applied(&review["request"]["object"], &OURS))
    }
}
