//! Which GPU each session has: the UUIDs of the devices that a pod shows or names.
//!
//! * `store` has the objects that name devices: resource claims, resource slices and reservation pods.
//! * `objects` decodes them, and `watch` follows them while this replica leads.
//! * `metrics` is the family. It has the namespace and the pod as labels, so it can be switched off.

pub mod metrics;
mod objects;
mod store;
mod watch;

pub(super) use metrics::ShownAllocations;
