//! The checks that every input must pass.

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

/// The result for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReviewResult {
    Patched,
    /// Answered without a patch.
    Answered,
    Rejected,
}

/// The configurations and namespaces under which inputs are checked.
#[derive(Debug)]
pub(crate) struct Checks {
    injectors: [Injector; 2],
    namespaces: Namespaces,
}

/// A namespace with a LimitRange.
pub(crate) const LIMITED: &str = "limited";

/// A configuration in which most settings differ from their defaults.
const NOT_DEFAULT: &str = "{sidecar: {mode: container, imagePullSecrets: [pull]}, gpuAccess: runtime, gpuResources: {part: ['example.com/*']}, scrapeAnnotations: auto, showUser: true}";

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

// === impl Checks ===

impl Checks {
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

    /// Checks that the answer, if there is one, is valid for the API server.
    ///
    /// # Panics
    /// When it is not.
    pub(crate) fn check_answer(&self, body: &[u8]) -> ReviewResult {
        match self.answer(self.injector(body), body) {
            None => ReviewResult::Rejected,
            Some(answer) if answer.patch.is_none() => ReviewResult::Answered,
            Some(_) => ReviewResult::Patched,
        }
    }

    /// Checks a patch. The API server uses the last of two equal keys, and so does `Value`: so the document without duplicate keys
    /// must have the same answer, the patch must apply to the pod, and a second call must not change the patched pod again.
    ///
    /// # Panics
    /// When one of these checks fails.
    pub(crate) fn check_patch(&self, body: &[u8]) {
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
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn check_full_annotations(&self, body: &[u8]) {
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
    pub(crate) fn injected(&self, review: &Value) -> Option<Value> {
        let body = serde_json::to_vec(review).unwrap();
        let answer = self.answer(&self.injectors[0], &body)?;
        Some(answer.applied(&review["request"]["object"], &OWNED))
    }
}
