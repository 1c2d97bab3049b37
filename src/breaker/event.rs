//! Writes the Events: one about each object whose pods do not start because of the sidecar, and one about each change of the
//! breaker. Only the replica that leads writes them.
//!
//! The name of the first kind has the UID of the object, so another replica writes no second Event while the first one exists.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration, core::v1::ObjectReference, events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::ListParams};
use tokio::time::{sleep, timeout};

use super::{
    reason::Remedy,
    shared::SharedBreaker,
    state::{BlockedPod, BreakerState, Transition},
};
use crate::{
    admission::selection,
    cluster::{self, EventError, Leadership},
    runtime::clock,
};

/// The controller that reports the Events.
const CONTROLLER: &str = "vdi-metrics.io/server";

/// Time between two Events about pods.
const INTERVAL: Duration = Duration::from_secs(1);

/// Time before the next Event, after a failure.
const PAUSE: Duration = Duration::from_secs(60);

/// A pod gets an Event after this number of seconds: the kubelet's second attempt can succeed.
const DELAY: i64 = 10;

/// Timeout for the UID of the webhook configuration.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Objects that have an Event, each with the remedy in it.
pub(super) type Announced = BTreeSet<(Box<str>, Remedy)>;

/// Writes the missing Events while this replica leads.
pub(super) async fn announce(client: Client, breaker: &SharedBreaker, leadership: &Leadership) -> Infallible {
    let mut announced = Announced::new();
    loop {
        sleep(INTERVAL).await;
        let transitions = breaker.take_unannounced();
        if !leadership.is_current() {
            continue;
        }
        announce_transitions(&client, &transitions).await;
        let next = missing(&breaker.lock().state, &mut announced, clock::unix_seconds());
        let Some((event, key)) = next else { continue };
        if let Err(error) = cluster::create_event(&client, &event).await {
            warn(&event, &error);
            if !matches!(error, EventError::Rejected(_)) {
                sleep(PAUSE).await;
                continue;
            }
        }
        announced.insert(key);
    }
}

/// A change gets one attempt: the log and the metrics have it too.
async fn announce_transitions(client: &Client, transitions: &[Transition]) {
    if transitions.is_empty() {
        return;
    }
    let regarding = webhook_configuration(client).await;
    for (index, transition) in transitions.iter().enumerate() {
        let event = transition_event(transition, &regarding, index, Timestamp::now());
        if let Err(error) = cluster::create_event(client, &event).await {
            warn(&event, &error);
        }
    }
}

fn warn(event: &Event, error: &EventError) {
    let ObjectMeta { namespace, name, .. } = &event.metadata;
    tracing::warn!(%error, ?namespace, ?name, "Cannot create the Event");
}

/// The Event about a blocked pod whose object has none, and what to remember about it.
pub(super) fn missing(
    state: &BreakerState,
    announced: &mut Announced,
    now: i64,
) -> Option<(Event, (Box<str>, Remedy))> {
    let key = |blocked: &BlockedPod| (blocked.pod.subject.uid.clone(), blocked.reason.remedy());
    let current: Announced = state.blocked().map(key).collect();
    announced.retain(|key| current.contains(key));
    let is_due = |blocked: &&BlockedPod| now - blocked.since >= DELAY && !announced.contains(&key(blocked));
    let blocked = state.blocked().find(is_due)?;
    Some((blocked_event(blocked, Timestamp::now()), key(blocked)))
}

/// The Event for a pod that does not start.
fn blocked_event(blocked: &BlockedPod, now: Timestamp) -> Event {
    let BlockedPod { pod, reason, .. } = blocked;
    let regarding = ObjectReference {
        api_version: Some(pod.subject.api_version.to_string()),
        kind: Some(pod.subject.kind.to_string()),
        namespace: Some(pod.namespace.to_string()),
        name: Some(pod.subject.name.to_string()),
        uid: Some(pod.subject.uid.to_string()),
        ..ObjectReference::default()
    };
    let remedy = reason.remedy();
    let note = format!(
        "Pod {} does not start, because its container vdi-metrics does not start: {}. {}. To start the desktop without the sidecar, create it \
         again with the label vdi-metrics.io/inject: disabled, or with paused: true in the configuration of vdi-metrics",
        pod.name,
        reason.as_str(),
        remedy.text(),
    );
    let name = format!("vdi-metrics.blocked.{}.{}", remedy.as_str(), pod.subject.uid);
    Event {
        metadata: metadata(&pod.namespace, name),
        ..event("Warning", "SidecarBlocksPod", "Start", note, regarding, now)
    }
}

/// The Event for a change of the breaker.
pub(super) fn transition_event(
    transition: &Transition,
    regarding: &ObjectReference,
    index: usize,
    now: Timestamp,
) -> Event {
    let (kind, reason, note) = match transition {
        Transition::Opened(scope, extent) => (
            "Warning",
            "InjectionPaused",
            format!(
                "New pods get no sidecar ({scope}), because sidecars keep {} pods on {} nodes from starting. See the Events with the reason \
                 SidecarBlocksPod. Each replica injects at most one trial pod per minute. Injection resumes when sidecars start",
                extent.pods, extent.nodes
            ),
        ),
        Transition::Closed(scope) => (
            "Normal",
            "InjectionResumed",
            format!(
                "New pods get a sidecar again ({scope}), because sidecars have started or the configuration was changed"
            ),
        ),
    };
    let name = format!("vdi-metrics.{}.{:x}.{index}", reason.to_lowercase(), now.as_millisecond());
    let event = event(kind, reason, "Inject", note, regarding.clone(), now);
    // Events about objects without a namespace are in this one.
    Event { metadata: metadata("default", name), ..event }
}

fn event(
    kind: &str,
    reason: &str,
    action: &str,
    note: String,
    regarding: ObjectReference,
    now: Timestamp,
) -> Event {
    Event {
        action: Some(action.to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(reason.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        type_: Some(kind.to_owned()),
        ..Event::default()
    }
}

fn metadata(namespace: &str, name: String) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name), ..ObjectMeta::default() }
}

/// The webhook configuration. Without its UID, which `kubectl describe` needs, the Event is still in the list of Events.
async fn webhook_configuration(client: &Client) -> ObjectReference {
    let name = selection::shipped_name();
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    // The server's rights name the object, so the list must too.
    let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
    let listed = timeout(READ_TIMEOUT, api.list_metadata(&parameters)).await;
    let uid = listed.ok().and_then(Result::ok).and_then(|list| list.items.into_iter().next()?.metadata.uid);
    ObjectReference {
        api_version: Some("admissionregistration.k8s.io/v1".to_owned()),
        kind: Some("MutatingWebhookConfiguration".to_owned()),
        name: Some(name.to_string()),
        uid,
        ..ObjectReference::default()
    }
}
