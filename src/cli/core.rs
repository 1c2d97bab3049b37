//! TEMPORARY: `consider` made of `admit`, until the core has its own.

use crate::admission::{self, Outcome, Settings};
use base64::{Engine, prelude::BASE64_STANDARD};

#[derive(Debug)]
pub(super) struct Injector(Settings);
#[derive(Debug, Default)]
pub(super) struct Namespaces;
#[derive(Debug)]
pub(super) struct Verdict {
    pub outcome: Outcome,
    pub notices: Vec<String>,
    pub patch: Option<json_patch::Patch>,
}

impl Injector {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }
    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }
    pub(super) fn consider(&self, pod: &[u8], namespace: &str, _: &Namespaces) -> Verdict {
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"x","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","namespace":{namespace:?},"object":{}}}}}"#,
            std::str::from_utf8(pod).unwrap()
        );
        let admission = admission::admit(body.as_bytes(), &self.0).unwrap();
        let reply: serde_json::Value = serde_json::from_slice(&admission.reply).unwrap();
        let response = &reply["response"];
        let patch = response["patch"]
            .as_str()
            .map(|p| serde_json::from_slice(&BASE64_STANDARD.decode(p).unwrap()).unwrap());
        let notices = response["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|w| w.as_str().unwrap().to_owned())
            .collect();
        Verdict { outcome: admission.outcome, notices, patch }
    }
}
