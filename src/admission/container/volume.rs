//! The only volume of the sidecar, and its mount.

use std::sync::LazyLock;

use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::contract::{ANNOTATIONS, CONTAINER, VOLUME_PATH};

/// The volume: a file with the pod's annotations, which the kubelet updates when they change.
pub(crate) fn volume() -> &'static RawValue {
    static VOLUME: LazyLock<Box<RawValue>> = LazyLock::new(|| {
        let field = json!({"apiVersion": "v1", "fieldPath": "metadata.annotations"});
        let items = json!([{"path": ANNOTATIONS, "fieldRef": field}]);
        let projected = json!({"defaultMode": 0o444, "sources": [{"downwardAPI": {"items": items}}]});
        constant(&json!({"name": CONTAINER, "projected": projected}))
    });
    &VOLUME
}

/// The list of mounts.
pub(super) fn mounts() -> &'static RawValue {
    static MOUNTS: LazyLock<Box<RawValue>> =
        LazyLock::new(|| constant(&json!([{"name": CONTAINER, "mountPath": VOLUME_PATH, "readOnly": true}])));
    &MOUNTS
}

/// JSON that is the same in every sidecar and serialised once.
pub(super) fn constant(value: &serde_json::Value) -> Box<RawValue> {
    #[expect(clippy::expect_used, reason = "serialising a JSON value cannot fail")]
    to_raw_value(value).expect("a JSON value is serialised")
}
