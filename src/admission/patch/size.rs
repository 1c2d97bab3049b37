//! Limits of the API server on the size of an object. A pod that is accepted without a patch must be accepted with it.

use std::collections::HashMap;

use crate::admission::pod::{PodView, StringMap};

/// Maximum number of bytes of an object's annotations, keys and values together (`TotalAnnotationSizeLimitB` in apimachinery).
pub(crate) const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Maximum number of bytes of the JSON of a pod that is patched.
///
/// etcd rejects a write above 1.5 MiB (`--max-request-bytes`). The API server stores a pod as protobuf, which is shorter than
/// the JSON. The rest of 512 KiB is for what later plugins and webhooks add, and for the status.
pub(crate) const MAX_POD_BYTES: usize = 1 << 20;

/// Whether the pod's annotations stay within their limit after these entries are written.
pub(super) fn annotations_fit(pod: &PodView<'_>, entries: &[(&str, &str)]) -> bool {
    let written: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    let is_kept = |key: &str| entries.iter().all(|(written, _)| *written != key);
    pod.annotations().is_none_or(|annotations| {
        // The JSON text of a value is at least as long as the value, and only a large value is worth the exact count.
        written + annotations.json_bytes() <= MAX_ANNOTATION_BYTES
            || written + bytes(annotations, is_kept) <= MAX_ANNOTATION_BYTES
    })
}

/// The bytes of the entries whose key is kept. If a key occurs twice, the later value counts.
fn bytes(map: &StringMap<'_>, is_kept: impl Fn(&str) -> bool) -> usize {
    let kept: HashMap<_, _> = map.iter().filter(|(key, _)| is_kept(key)).collect();
    kept.iter().map(|(key, value)| key.len() + value.as_str().len()).sum()
}
