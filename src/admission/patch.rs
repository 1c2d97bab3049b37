//! The changes to a pod, as a JSON Patch that is test-applied before the server sends it.
//!
//! The API server rejects a pod if the patch does not apply, even with `failurePolicy: Ignore`. So the patch creates missing
//! parents: the maps and lists that it adds to. It uses only `add` operations. The server first applies it to a stub of the
//! pod. The stub contains only the parts that decide whether the patch applies.

mod additions;
mod repair;
mod size;
mod stub;
mod tested;

pub(super) use additions::Additions;
pub use repair::RepairedField;
pub(super) use repair::{InjectedContainer, RawPod};
pub(crate) use size::{MAX_ANNOTATION_BYTES, MAX_POD_BYTES};
pub(super) use tested::TestedPatches;
