//! The envelope of `admission.k8s.io/v1`. An answer must echo the uid and the exact kind. It must contain both `patch` and
//! `patchType`, or neither of them. The API server ignores any other answer; with `failurePolicy: Ignore` it writes no log
//! line either.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Deserialize,
    de::{Error as _, IgnoredAny},
};
use serde_json::json;

use super::{
    answer::ReviewAnswer,
    pod::{PodView, StrictObject},
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A request to admit an object, and the pod in it if it can be parsed.
#[derive(Debug)]
pub struct Review<'a>(ReviewRequest<'a, StrictObject<PodView<'a>>>);

/// Initial buffer size; the answer with an ordinary patch fits.
const REPLY_SIZE: usize = 4 << 10;

/// Why a body is not an AdmissionReview that can be answered.
#[derive(Debug)]
pub enum Malformed {
    /// The body is not JSON or does not have the fields of the envelope.
    Json(serde_json::Error),
    /// The body is not an AdmissionReview of `admission.k8s.io/v1`; contains its version and kind.
    Kind(String),
    /// The request is missing or has no uid that the answer could echo.
    Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(bound(deserialize = "O: Deserialize<'de>"))]
struct Envelope<'a, O> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow = "'a")]
    request: Option<ReviewRequest<'a, O>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewRequest<'a, O> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    kind: Option<Gvk<'a>>,
    #[serde(borrow)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    dry_run: Option<bool>,
    object: Option<O>,
}

#[derive(Debug, Default, Deserialize)]
struct Gvk<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

// === impl Review ===

impl<'a> Review<'a> {
    /// Parses the envelope and the pod in one pass. If the pod cannot be parsed, a second pass parses the envelope alone, so
    /// that the desktop is still admitted.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        // UTF-8 is validated once for the entire body, so serde does not validate it again for each string.
        let text = std::str::from_utf8(body).map_err(serde_json::Error::custom);
        match text.and_then(serde_json::from_str::<Envelope<'a, StrictObject<PodView<'a>>>>) {
            Ok(envelope) => envelope.request().map(Self),
            Err(_) => {
                let envelope: Envelope<'a, IgnoredAny> =
                    serde_json::from_slice(body).map_err(Malformed::Json)?;
                Ok(Self(envelope.request()?.without_object()))
            }
        }
    }

    /// The uid of the request; every answer echoes it.
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// The namespace of the pod. Only the request always contains it: at admission the pod itself may not have the field yet.
    pub fn namespace(&self) -> &str {
        self.0.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the pod, or its `generateName` if the API server has not generated the name yet.
    pub fn name(&self) -> &str {
        let generated = || self.pod()?.metadata.as_ref()?.generate_name.as_deref();
        self.0.name.as_deref().filter(|name| !name.is_empty()).or_else(generated).unwrap_or_default()
    }

    /// The pod of the request; `None` if there is no pod or it cannot be parsed.
    pub(super) fn pod(&self) -> Option<&PodView<'a>> {
        self.0.object.as_deref()
    }

    /// Whether the API server stores nothing.
    pub(super) fn is_dry_run(&self) -> bool {
        self.0.dry_run == Some(true)
    }

    /// Whether the request creates a pod. The server changes no other request.
    pub(super) fn creates_a_pod(&self) -> bool {
        let is_pod = self
            .0
            .kind
            .as_ref()
            .is_some_and(|gvk| (&*gvk.group, &*gvk.version, &*gvk.kind) == ("", "v1", "Pod"));
        let has_no_subresource = self.0.sub_resource.as_deref().unwrap_or_default().is_empty();
        is_pod && has_no_subresource && self.0.operation.as_deref() == Some("CREATE")
    }

    /// The AdmissionReview to send back: always allowed, with the patch if there is one, and with warnings if something is wrong.
    ///
    /// The JSON is written by hand around the patch, because a serialiser would check each of its 3,000 characters for escapes.
    pub(super) fn reply(&self, answer: &ReviewAnswer) -> Vec<u8> {
        let mut reply = String::with_capacity(REPLY_SIZE);
        reply.push_str(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"allowed":true,"uid":"#);
        reply.push_str(&serde_json::to_string(self.uid()).unwrap_or_default());
        if !answer.added.is_empty() {
            reply.push_str(r#","patchType":"JSONPatch","patch":""#);
            BASE64_STANDARD.encode_string(answer.added.json(), &mut reply);
            reply.push('"');
        }
        let notices = answer.notices.iter().map(ToString::to_string);
        let warnings: Vec<_> =
            answer.outcome.warning().map(str::to_owned).into_iter().chain(notices).collect();
        if !warnings.is_empty() {
            reply.push_str(r#","warnings":"#);
            reply.push_str(&json!(warnings).to_string());
        }
        // Outcomes contain no character that needs an escape.
        _ = write!(reply, r#","auditAnnotations":{{"decision":"{}"}}}}}}"#, answer.outcome);
        reply.into_bytes()
    }
}

/// Parses the object of a review into another type than [`PodView`].
pub(super) fn object<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Option<O> {
    let envelope: Envelope<'a, O> = serde_json::from_slice(body).ok()?;
    envelope.request?.object
}

// === impl Envelope ===

impl<'a, O> Envelope<'a, O> {
    fn request(self) -> Result<ReviewRequest<'a, O>, Malformed> {
        if (&*self.api_version, &*self.kind) != (API_VERSION, KIND) {
            return Err(Malformed::Kind(format!("{} {}", self.api_version, self.kind)));
        }
        self.request.filter(|request| !request.uid.is_empty()).ok_or(Malformed::Request)
    }
}

// === impl ReviewRequest ===

impl<'a, O> ReviewRequest<'a, O> {
    fn without_object<P>(self) -> ReviewRequest<'a, P> {
        let Self { uid, kind, sub_resource, operation, namespace, name, dry_run, object: _ } = self;
        ReviewRequest { uid, kind, sub_resource, operation, namespace, name, dry_run, object: None }
    }
}

// === impl Malformed ===

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not a readable {API_VERSION} {KIND}: {error}"),
            Self::Kind(kind) => write!(f, "expected {API_VERSION} {KIND}, found {kind}"),
            Self::Request => write!(f, "the {KIND} has no request with a uid"),
        }
    }
}

impl std::error::Error for Malformed {
    /// The message already contains the text of the cause. So `source` returns the error below the cause; otherwise the cause
    /// would be shown twice.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => error.source(),
            Self::Kind(_) | Self::Request => None,
        }
    }
}
