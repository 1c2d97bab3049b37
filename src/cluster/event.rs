//! Writes Events, with the API `events.k8s.io/v1`.

use std::{fmt, time::Duration};

use k8s_openapi::{
    api::events::v1::Event,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::PostParams, core::Status};
use tokio::time::timeout;

/// Timeout for one Event.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of the fields of a controller, as for names of objects. The creator of a pod can write any text (`validateOwnerReference`
/// checks only that it is not empty).
const MAX_TEXT: usize = 253;

/// Why an Event was not written.
#[derive(Debug)]
pub enum EventError {
    /// Only this Event: another one can succeed.
    Rejected(kube::Error),
    /// For example, the server has no right to create Events.
    Unavailable(kube::Error),
    /// The API server did not answer.
    Timeout,
}

/// Creates an Event in its namespace, unless an Event with its name exists.
///
/// # Errors
/// Fails if the API server does not store it.
pub async fn create_event(client: &Client, event: &Event) -> Result<(), EventError> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    match timeout(WRITE_TIMEOUT, api.create(&PostParams::default(), event)).await {
        Ok(Ok(_)) => Ok(()),
        // 409: the Event exists.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
        Ok(Err(kube::Error::Api(status))) if is_rejection(&status) => {
            Err(EventError::Rejected(kube::Error::Api(status)))
        }
        Ok(Err(error)) => Err(EventError::Unavailable(error)),
        Err(_) => Err(EventError::Timeout),
    }
}

/// The owner that controls an object, if its fields are not longer than those of any real object.
#[must_use]
pub fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let is_short = |owner: &&OwnerReference| {
        [&owner.api_version, &owner.kind, &owner.name, &owner.uid].iter().all(|text| text.len() <= MAX_TEXT)
    };
    let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    controller.filter(is_short)
}

/// Whether the API server rejects one Event: its namespace is gone (404) or terminates (403), or its content is invalid (422).
fn is_rejection(status: &Status) -> bool {
    let terminates = || {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    };
    matches!(status.code, 404 | 422) || status.code == 403 && terminates()
}

// === impl EventError ===

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) | Self::Unavailable(error) => error.fmt(f),
            Self::Timeout => write!(f, "no answer within {} s", WRITE_TIMEOUT.as_secs()),
        }
    }
}

impl std::error::Error for EventError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(error) | Self::Unavailable(error) => error.source(),
            Self::Timeout => None,
        }
    }
}
