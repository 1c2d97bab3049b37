//! Reads the metadata of pods, namespaces and webhook configurations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};

use super::judge::{ControllerMetadata, PodMetadata};
use crate::{cluster, contract::key};

/// The metadata of a pod. `None` for an object without UID; the API server sends no such object.
pub(super) fn pod(metadata: &ObjectMeta) -> Option<PodMetadata<'_>> {
    let controller = cluster::controller(metadata);
    Some(PodMetadata {
        uid: metadata.uid.as_deref()?,
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        name: metadata.name.as_deref().unwrap_or_default(),
        created: created(metadata),
        is_terminating: metadata.deletion_timestamp.is_some(),
        labels: metadata.labels.as_ref(),
        annotations: metadata.annotations.as_ref(),
        controller: controller.map(|owner| ControllerMetadata {
            api_version: &owner.api_version,
            kind: &owner.kind,
            name: &owner.name,
            uid: &owner.uid,
        }),
    })
}

/// The creation of an object, in Unix seconds.
pub(super) fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(0, unix)
}

/// Since when a namespace with the label is opted in, in Unix seconds, by its managed fields.
///
/// The API server keeps the time of the last change by each client that manages the label. A client that changes other fields
/// later makes this time too late; the earliest of several clients is the nearest. `None` for a namespace without managed
/// fields: a namespace that was first applied without any field has none until it is applied with a field.
pub(super) fn opted_in(namespace: &ObjectMeta) -> Option<i64> {
    let entries = namespace.managed_fields.iter().flatten();
    let times = entries.filter(|entry| manages_label(entry)).filter_map(|entry| entry.time.as_ref());
    times.map(unix).min()
}

fn manages_label(entry: &ManagedFieldsEntry) -> bool {
    let labels = entry.fields_v1.as_ref().map(|fields| &fields.0["f:metadata"]["f:labels"]);
    labels.is_some_and(|labels| labels.get(format!("f:{}", key::INJECT)).is_some())
}

fn unix(time: &Time) -> i64 {
    time.0.as_second()
}
