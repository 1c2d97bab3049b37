//! The Events.

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use serde_json::json;

use super::{Story, template};
use crate::breaker::{
    circuit::Extent,
    event::{Announced, missing, transition_event},
    observed::{ObservedPod, PodOwner, SidecarCondition},
    reason::BlockReason,
    state::{CircuitScope, Transition},
};

fn owned(story: &Story, uid: &str, owner: &str, reason: BlockReason) -> ObservedPod {
    let subject = PodOwner {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        name: owner.into(),
        uid: owner.into(),
    };
    ObservedPod { subject, sidecar: SidecarCondition::Blocks(reason), ..story.pod(uid, "cad", "n1") }
}

/// The names of all Events that are missing, in their order.
fn all_missing(story: &Story, announced: &mut Announced) -> Vec<String> {
    let next = || {
        let (event, key) = missing(&story.state, announced, story.now)?;
        announced.insert(key);
        event.metadata.name
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn each_owner_gets_one_event_for_each_remedy_after_some_seconds() {
    let mut story = Story::new();
    for (uid, owner, reason) in [
        ("a", "set", BlockReason::ErrImagePull),
        ("b", "set", BlockReason::ImagePullBackOff),
        ("c", "set", BlockReason::CrashLoopBackOff),
        ("d", "other", BlockReason::CreateContainerError),
    ] {
        let pod = owned(&story, uid, owner, reason);
        story.observe(&pod);
    }
    let mut announced = Announced::new();
    story.now += 9;
    assert_eq!(all_missing(&story, &mut announced), Vec::<String>::new());
    story.now += 1;
    let expected = [
        "vdi-metrics.blocked.image.set",
        "vdi-metrics.blocked.program.set",
        "vdi-metrics.blocked.container.other",
    ];
    assert_eq!(all_missing(&story, &mut announced), expected);
    assert_eq!(all_missing(&story, &mut announced), Vec::<String>::new());
    for uid in ["a", "b", "c", "d"] {
        story.state.gone(uid, story.now);
    }
    all_missing(&story, &mut announced);
    assert!(announced.is_empty(), "{announced:?}");
}

#[test]
fn the_event_names_the_owner_the_pod_the_reason_and_the_remedy() {
    let mut story = Story::new();
    let pod = owned(&story, "a", "set", BlockReason::ErrImagePull);
    story.observe(&pod);
    let (event, _) = missing(&story.state, &mut Announced::new(), story.now + 10).unwrap();
    let event = serde_json::to_value(event).unwrap();
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "desktops", "name": "set", "uid": "set"});
    assert_eq!(event["regarding"], owner);
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("SidecarBlocksPod")));
    let note = event["note"].as_str().unwrap();
    assert!(note.starts_with("Pod a does not start"), "{note}");
    for part in ["ErrImagePull", "sidecar.image", "vdi-metrics.io/inject: disabled"] {
        assert!(note.contains(part), "{note}");
    }
}

#[test]
fn events_fit_the_limits_of_the_api() {
    let long = "p".repeat(253);
    let mut events = vec![];
    for reason in BlockReason::ALL {
        let mut story = Story::new();
        let pod = ObservedPod { name: (*long).into(), ..owned(&story, "a", "set", reason) };
        story.observe(&pod);
        events.push(missing(&story.state, &mut Announced::new(), story.now + 10).unwrap().0);
    }
    let extent = Extent { pods: usize::MAX, nodes: usize::MAX };
    for transition in [
        Transition::Opened(CircuitScope::All, extent),
        Transition::Opened(template(&long), extent),
        Transition::Opened(template(""), extent),
        Transition::Closed(template(&long)),
    ] {
        let reference = ObjectReference::default();
        events.push(transition_event(&transition, &reference, 0, Timestamp::UNIX_EPOCH));
    }
    for event in events {
        assert!(event.note.as_ref().unwrap().len() <= 1024, "{event:?}");
        let name = event.metadata.name.unwrap();
        let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        assert!(name.chars().all(is_valid), "{name}");
    }
}
