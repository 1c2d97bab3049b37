//! Limits on the size of an object. If the API server accepts a pod without the patch, it must also accept it with the patch.

use std::collections::HashMap;

use crate::admission::pod::{PodView, StringMap};

/// Maximum number of bytes of an object's annotations, keys and values together (`TotalAnnotationSizeLimitB` in apimachinery).
pub(crate) const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// Maximum number of bytes of a pod's JSON. A larger pod gets no patch, except a repair.
///
/// etcd rejects a write above 1.5 MiB (`--max-request-bytes`). The API server stores a pod as protobuf, which is shorter than
/// the JSON. The remaining 512 KiB are for the additions of later plugins and webhooks, and for the status.
pub(crate) const MAX_POD_BYTES: usize = 1 << 20;

/// Whether the pod's annotations stay within their limit after these entries are written.
pub(super) fn annotations_fit(pod: &PodView<'_>, entries: &[(&str, &str)]) -> bool {
    let written: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    let is_kept = |key: &str| entries.iter().all(|(written, _)| *written != key);
    pod.annotations().is_none_or(|annotations| {
        // The JSON of a value is at least as long as the value. The exact count is slower, so it is only the second step.
        written + annotations.json_bytes() <= MAX_ANNOTATION_BYTES
            || written + bytes(annotations, is_kept) <= MAX_ANNOTATION_BYTES
    })
}

/// Number of bytes of the entries for whose key `is_kept` is true. If a key occurs twice, the later value counts.
fn bytes(map: &StringMap<'_>, is_kept: impl Fn(&str) -> bool) -> usize {
    let kept: HashMap<_, _> = map.iter().filter(|(key, _)| is_kept(key)).collect();
    kept.iter().map(|(key, value)| key.len() + value.as_str().len()).sum()
}
