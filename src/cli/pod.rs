//! Changes to the pod in a manifest: applies the webhook's patch, finds the sidecar, and restores empty fields.

pub(super) mod patch;
pub(super) mod restore;
pub(super) mod sidecar;
