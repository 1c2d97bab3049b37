//! The changes to a pod, as a JSON Patch that is test-applied before the server sends it.
//!
//! The API server rejects a pod if the patch does not apply, even with `failurePolicy: Ignore`. So missing parents are created,
//! only `add` operations are used, and the patch is first applied to a stub of the pod. The stub contains the parts that the
//! patch touches, and the result depends on nothing else.

mod additions;
mod repair;
mod stub;
mod tested;

pub(super) use additions::Additions;
pub use repair::RepairedField;
pub(super) use repair::{InjectedContainer, RawPod};
pub(super) use tested::TestedPatches;
