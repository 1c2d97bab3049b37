//! Writes the Events, with the API `events.k8s.io/v1`.
//!
//! The name of an Event has the UID of the object and the reason. So another replica, or the next start of the server, writes
//! no second Event while the first one exists (an hour by default).

use std::{convert::Infallible, time::Duration};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams, core::Status};
use tokio::time::{sleep, timeout};

use super::{
    announcements::{Announcement, Announcements},
    reason::NoSidecarReason,
    shared::SharedStore,
};
use crate::cluster::Leadership;

/// Reason of the Events.
const REASON: &str = "NoMetricsSidecar";

/// The controller that reports the Events.
const CONTROLLER: &str = "vdi-metrics.io/server";

/// Time between two Events: an opt-in of a namespace can concern thousands of pods.
const INTERVAL: Duration = Duration::from_secs(1);

/// Time before the next Event, after a failure.
const PAUSE: Duration = Duration::from_secs(60);

/// Timeout for one Event.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes the missing Events while this replica leads.
pub(super) async fn announce(client: Client, store: &SharedStore, leadership: &Leadership) -> Infallible {
    let mut announcements = Announcements::default();
    loop {
        sleep(INTERVAL).await;
        let next = leadership.is_current().then(|| announcements.next(&store.lock())).flatten();
        let Some(announcement) = next else { continue };
        match write(&client, &announcement).await {
            Ok(()) => announcements.done(&announcement),
            Err(error) => {
                warn(&announcement, &error);
                match error {
                    WriteError::Rejected(_) => announcements.done(&announcement),
                    WriteError::Unavailable(_) | WriteError::Timeout => sleep(PAUSE).await,
                }
            }
        }
    }
}

/// Why an Event was not written.
#[derive(Debug)]
enum WriteError {
    /// Only this Event: another one can succeed.
    Rejected(kube::Error),
    /// For example, the server has no right to create Events.
    Unavailable(kube::Error),
    Timeout,
}

async fn write(client: &Client, announcement: &Announcement) -> Result<(), WriteError> {
    let api: Api<Event> = Api::namespaced(client.clone(), &announcement.namespace);
    let (event, parameters) = (event(announcement, Timestamp::now()), PostParams::default());
    match timeout(WRITE_TIMEOUT, api.create(&parameters, &event)).await {
        Ok(Ok(_)) => Ok(()),
        // 409: the Event exists.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
        Ok(Err(kube::Error::Api(status))) if is_rejection(&status) => {
            Err(WriteError::Rejected(kube::Error::Api(status)))
        }
        Ok(Err(error)) => Err(WriteError::Unavailable(error)),
        Err(_) => Err(WriteError::Timeout),
    }
}

/// Whether the API server rejects one Event: its namespace is gone (404) or terminates (403), or its content is invalid (422).
fn is_rejection(status: &Status) -> bool {
    let terminates = || {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    };
    matches!(status.code, 404 | 422) || status.code == 403 && terminates()
}

fn warn(announcement: &Announcement, error: &WriteError) {
    let error = match error {
        WriteError::Rejected(error) | WriteError::Unavailable(error) => error.to_string(),
        WriteError::Timeout => format!("no answer within {} s", WRITE_TIMEOUT.as_secs()),
    };
    let (namespace, pod) = (&*announcement.namespace, &*announcement.pod);
    tracing::warn!(error, namespace, pod, "Cannot write the Event about a pod without a sidecar");
}

/// The Event for an announcement.
pub(super) fn event(announcement: &Announcement, now: Timestamp) -> Event {
    let Announcement { subject, reason, namespace, .. } = announcement;
    let reference = ObjectReference {
        api_version: Some(subject.api_version.to_string()),
        kind: Some(subject.kind.to_string()),
        namespace: Some(namespace.to_string()),
        name: Some(subject.name.to_string()),
        uid: Some(subject.uid.to_string()),
        ..ObjectReference::default()
    };
    let name = format!("vdi-metrics.{}.{}", reason.as_str().replace('_', "-"), subject.uid);
    Event {
        action: Some("Inject".to_owned()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            namespace: Some(namespace.to_string()),
            name: Some(name),
            ..ObjectMeta::default()
        },
        note: Some(note(announcement)),
        reason: Some(REASON.to_owned()),
        regarding: Some(reference),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    }
}

/// What happened, why, and the remedy; at most 1024 bytes. The name of a pod has at most 253 bytes.
fn note(announcement: &Announcement) -> String {
    let Announcement { reason, skip_reason, pod, .. } = announcement;
    let skip_reason =
        skip_reason.map_or("a reason that this version does not know", |reason| reason.as_str());
    let cause = match reason {
        NoSidecarReason::CreatedBefore => {
            "it was created before its namespace opted in or before the webhook of vdi-metrics was registered. \
             To add the sidecar, create the pod again when no user is connected"
                .to_owned()
        }
        NoSidecarReason::Missed => {
            "the webhook of vdi-metrics did not answer, or could not change the pod. \
             Check that the server of vdi-metrics is ready and that the API server trusts its certificate, then create the pod again"
                .to_owned()
        }
        NoSidecarReason::Skipped => format!(
            "the webhook of vdi-metrics skipped it: {skip_reason}. The README of vdi-metrics explains the reason. \
             If the pod is not a desktop, give its template the label vdi-metrics.io/inject: disabled"
        ),
    };
    format!("Pod {pod} has no metrics sidecar, so it is not counted as a session: {cause}")
}
