//! Admission with mutated reviews of the golden pods and of random pods. Admission must give an answer that the API server accepts,
//! or an error.

mod seeds;

use std::{path::Path, sync::Arc};

use kit::answer::{Answer, OwnedFields};
use serde_json::{Map, Value};
use vdi_metrics::{
    admission::{
        Injector, Namespaces, Settings,
        namespaces::{Bounds, NamespaceLimits, Resource},
        quantity::Quantity,
    },
    contract::{CONTAINER, key},
};

use crate::{
    mutate::{self, Change},
    target::{CheckResult, Target},
};

/// The configurations and namespaces under which reviews are checked.
#[derive(Debug)]
pub(crate) struct Reviews {
    injectors: [Injector; 2],
    namespaces: Namespaces,
}

/// The check of the patch is slow: of the inputs that reach no new code, only one in this number is checked.
const PATCH_CHECK_INTERVAL: usize = 8;

/// The check with full annotations needs inputs of 256 KiB: only one in this number is checked.
const FULL_CHECK_INTERVAL: usize = 256;

/// A namespace with a LimitRange.
pub(crate) const LIMITED: &str = "limited";

/// A configuration in which most settings differ from their defaults.
const NOT_DEFAULT: &str = "{sidecar: {mode: container, imagePullSecrets: [pull]}, gpuAccess: runtime, gpuResources: {part: ['example.com/*']}, presence: off, scrapeAnnotations: auto, showUser: true}";

const OWNED: OwnedFields<'_> = OwnedFields {
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

/// Bytes of all annotations that the API server accepts.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// The annotation that fills the rest.
const FILLER: &str = "example.com/filler";

fn annotations_of(pod: &mut Value) -> Option<&mut Map<String, Value>> {
    let annotations = pod.pointer_mut("/metadata/annotations")?.as_object_mut()?;
    annotations.values().all(Value::is_string).then_some(annotations)
}

fn bytes(annotations: &Map<String, Value>) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

// === impl Reviews ===

impl Reviews {
    pub(crate) fn new() -> Self {
        let not_default = Settings::parse(NOT_DEFAULT, Path::new("not-default")).unwrap();
        let mut limited = NamespaceLimits::default();
        *limited.container.of_mut(Resource::Cpu) = Bounds {
            min: Some(Quantity::thousandths(50)),
            ratio: Some(Quantity::thousandths(1000)),
            ..Bounds::default()
        };
        let namespaces = Namespaces([(LIMITED.to_owned(), Arc::new(limited))].into());
        Self { injectors: [Settings::default(), not_default].map(Injector::new), namespaces }
    }

    /// Checks a patch. The API server uses the last of two equal keys, and so does `Value`: so the document without duplicate keys
    /// must have the same answer, the patch must apply to the pod, and a second call must not change the patched pod again.
    fn check_patch(&self, body: &[u8]) {
        let injector = self.injector(body);
        let answer = self.answer(injector, body).filter(|answer| answer.patch.is_some());
        // `Value` cannot parse documents that are nested too deep or have numbers that are too large. They are not checked.
        let (Some(answer), Ok(review)) = (answer, serde_json::from_slice::<Value>(body)) else { return };
        let answer_to = |review: &Value| self.answer(injector, &serde_json::to_vec(review).unwrap()).unwrap();
        let plain = answer_to(&review);
        assert_eq!((&plain.decision, &plain.patch), (&answer.decision, &answer.patch));
        let mut once = review.clone();
        once["request"]["object"] = answer.applied(&review["request"]["object"], &OWNED);
        assert_eq!(answer_to(&once).patch, None, "{}, then patched again", answer.decision);
    }

    /// Fills the annotations of the pod almost to the API server's limit, and checks that the patch stays within the limit.
    fn check_full_annotations(&self, body: &[u8]) {
        let Ok(mut review) = serde_json::from_slice::<Value>(body) else { return };
        let Some(pod) = review.pointer_mut("/request/object") else { return };
        let Some(annotations) = annotations_of(pod) else { return };
        let free = MAX_ANNOTATION_BYTES.saturating_sub(bytes(annotations) + FILLER.len());
        let filler = "\u{e4}".repeat(free.saturating_sub(body.len() % 160) / 2);
        annotations.insert(FILLER.to_owned(), filler.into());
        let answer = self.answer(self.injector(body), &serde_json::to_vec(&review).unwrap());
        if let Some(answer) = answer.filter(|answer| answer.patch.is_some()) {
            let mut pod = answer.applied(&review["request"]["object"], &OWNED);
            let size = annotations_of(&mut pod).map_or(0, |annotations| bytes(annotations));
            assert!(size <= MAX_ANNOTATION_BYTES, "{}: {size} bytes", answer.decision);
        }
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

    /// The pod of a review after the webhook's first call.
    fn injected(&self, review: &Value) -> Option<Value> {
        let body = serde_json::to_vec(review).unwrap();
        let answer = self.answer(&self.injectors[0], &body)?;
        Some(answer.applied(&review["request"]["object"], &OWNED))
    }
}

impl Target for Reviews {
    const NAME: &str = "reviews";
    const RESULTS: [&str; 2] = ["patched", "not patched"];
    const CHANGE: Change = mutate::json;

    fn seeds(&self) -> Vec<Vec<u8>> {
        seeds::reviews(self)
    }

    /// Checks that the answer, if there is one, is valid for the API server.
    fn check(&self, body: &[u8]) -> CheckResult {
        match self.answer(self.injector(body), body) {
            None => CheckResult::Rejected,
            Some(answer) if answer.patch.is_none() => CheckResult::Second,
            Some(_) => CheckResult::First,
        }
    }

    fn check_further(&self, body: &[u8], number: usize, is_new: bool) {
        if is_new || number.is_multiple_of(PATCH_CHECK_INTERVAL) {
            self.check_patch(body);
        }
        if number.is_multiple_of(FULL_CHECK_INTERVAL) {
            self.check_full_annotations(body);
        }
    }
}
