//! The envelope: `admission.k8s.io/v1` to the letter. A v1 answer must echo the uid and the exact kind, and `patch`
//! and `patchType` come both or not at all; anything else the API server drops, under `Ignore` without a word.

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
    Answer,
    pod::{Object, Pod},
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A request to admit something, and the pod in it where it is one that can be read.
#[derive(Debug)]
pub struct Review<'a>(Request<'a, Object<Pod<'a>>>);

/// Why a body is no AdmissionReview that could be answered.
#[derive(Debug)]
pub enum Malformed {
    /// Not JSON, or not of the envelope's shape.
    Json(serde_json::Error),
    /// Not an AdmissionReview of `admission.k8s.io/v1`; holds what it is.
    Kind(String),
    /// There is no request in it, or one without uid: nothing that an answer could refer to.
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
    request: Option<Request<'a, O>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a, O> {
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
    /// Reads the envelope and the pod in one pass; a second pass without the pod is made only where it cannot be read,
    /// so that even then the desktop is admitted.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        // Checked once as a whole, the text is not checked again string by string.
        let text = std::str::from_utf8(body).map_err(serde_json::Error::custom);
        match text.and_then(serde_json::from_str::<Envelope<'a, Object<Pod<'a>>>>) {
            Ok(envelope) => envelope.request().map(Self),
            Err(error) => {
                let envelope: Envelope<'a, IgnoredAny> =
                    serde_json::from_slice(body).map_err(Malformed::Json)?;
                let request = envelope.request()?;
                tracing::warn!(uid = %request.uid, %error, "Cannot read the pod");
                Ok(Self(request.without_object()))
            }
        }
    }

    /// Identifies this request; every answer echoes it.
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// Namespace that the pod is created in; at admission only the request knows it for sure.
    pub fn namespace(&self) -> &str {
        self.0.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the pod, or what it will begin with where the API server is still to choose one.
    pub fn name(&self) -> &str {
        let generated = || self.pod()?.metadata.as_ref()?.generate_name.as_deref();
        self.0.name.as_deref().filter(|name| !name.is_empty()).or_else(generated).unwrap_or_default()
    }

    /// The pod to be created; `None` where there is none or it cannot be read.
    pub(super) fn pod(&self) -> Option<&Pod<'a>> {
        self.0.object.as_deref()
    }

    /// Whether this is the creation of a pod itself, the only thing that we change.
    pub(super) fn creates_a_pod(&self) -> bool {
        let is_pod = self
            .0
            .kind
            .as_ref()
            .is_some_and(|gvk| (&*gvk.group, &*gvk.version, &*gvk.kind) == ("", "v1", "Pod"));
        let is_whole = self.0.sub_resource.as_deref().unwrap_or_default().is_empty();
        is_pod && is_whole && self.0.operation.as_deref() == Some("CREATE")
    }

    /// The answer: always allowed; with the patch if there is one, warnings only where something is wrong.
    ///
    /// Written by hand around the patch: a serializer would look at each of its 3,000 characters for one to escape.
    pub(super) fn reply(&self, answer: &Answer) -> Vec<u8> {
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
        // The words of outcomes have nothing to escape.
        _ = write!(reply, r#","auditAnnotations":{{"decision":"{}"}}}}}}"#, answer.outcome);
        reply.into_bytes()
    }
}

/// Room for the answer with an ordinary patch, so that it is put together in one place.
const REPLY_SIZE: usize = 4 << 10;

/// Reads the object of a review once more, as something else than the view that decisions are made on.
pub(super) fn object<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Option<O> {
    let envelope: Envelope<'a, O> = serde_json::from_slice(body).ok()?;
    envelope.request?.object
}

// === impl Envelope ===

impl<'a, O> Envelope<'a, O> {
    fn request(self) -> Result<Request<'a, O>, Malformed> {
        if (&*self.api_version, &*self.kind) != (API_VERSION, KIND) {
            return Err(Malformed::Kind(format!("{} {}", self.api_version, self.kind)));
        }
        self.request.filter(|request| !request.uid.is_empty()).ok_or(Malformed::Request)
    }
}

// === impl Request ===

impl<'a, O> Request<'a, O> {
    fn without_object<P>(self) -> Request<'a, P> {
        let Self { uid, kind, sub_resource, operation, namespace, name, object: _ } = self;
        Request { uid, kind, sub_resource, operation, namespace, name, object: None }
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

impl std::error::Error for Malformed {}
