//! Writes the Events.
//!
//! The name of an Event has the UID of the object and the reason. So another replica, or the next start of the server, writes
//! no second Event while the first one exists (an hour by default).

use std::{convert::Infallible, time::Duration};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::Client;
use tokio::time::sleep;

use super::{
    announcements::{Announcement, Announcements},
    reason::NoSidecarReason,
    shared::SharedStore,
};
use crate::{
    admission::SkipReason,
    cluster::{self, EventError, Leadership},
};

/// Reason of the Events.
const REASON: &str = "NoMetricsSidecar";

/// The controller that reports the Events.
const CONTROLLER: &str = "vdi-metrics.io/server";

/// Time between two Events: an opt-in of a namespace can concern thousands of pods.
const INTERVAL: Duration = Duration::from_secs(1);

/// Time before the next Event, after a failure.
const PAUSE: Duration = Duration::from_secs(60);

/// Writes the missing Events while this replica leads.
pub(super) async fn announce(client: Client, store: &SharedStore, leadership: &Leadership) -> Infallible {
    let mut announcements = Announcements::default();
    loop {
        sleep(INTERVAL).await;
        let next = leadership.is_current().then(|| announcements.next(&store.lock())).flatten();
        let Some(announcement) = next else { continue };
        match cluster::create_event(&client, &event(&announcement, Timestamp::now())).await {
            Ok(()) => announcements.done(&announcement),
            Err(error) => {
                warn(&announcement, &error);
                match error {
                    EventError::Rejected(_) => announcements.done(&announcement),
                    EventError::Unavailable(_) | EventError::Timeout => sleep(PAUSE).await,
                }
            }
        }
    }
}

fn warn(announcement: &Announcement, error: &EventError) {
    let (namespace, pod) = (&*announcement.namespace, &*announcement.pod);
    tracing::warn!(%error, namespace, pod, "Cannot write the Event about a pod without a sidecar");
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
    let skip_text = skip_reason.map_or("a reason that this version does not know", |reason| reason.as_str());
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
        NoSidecarReason::Skipped
            if matches!(skip_reason, Some(SkipReason::Paused | SkipReason::BreakerOpen)) =>
        {
            format!(
                "injection was paused when the pod was created: {skip_text}. \
                 When vdi_metrics_injection_paused is 0 again, create the pod again to add the sidecar, when no user is connected"
            )
        }
        NoSidecarReason::Skipped => format!(
            "the webhook of vdi-metrics skipped it: {skip_text}. The README of vdi-metrics explains the reason. \
             If the pod is not a desktop, give its template the label vdi-metrics.io/inject: disabled"
        ),
    };
    format!("Pod {pod} has no metrics sidecar, so it is not counted as a session: {cause}")
}
