//! The kind of GPU request that a pod has. The webhook reads it from the pod and writes it into [`env::GPU_REQUEST`]; the
//! sidecar reads it there.
//!
//! [`env::GPU_REQUEST`]: super::env::GPU_REQUEST

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// The kind of GPU request that a pod has. The variants are in the order of precedence: if several kinds apply, the first
    /// one counts. A part comes first, because another kind would hide that the device is shared. Claims come after devices,
    /// because a pod does not show whether a claim is for a GPU.
    pub enum GpuRequest {
        /// The pod requests a part of a GPU from a scheduler that shares cards. Other pods use the same device.
        Part = "part",
        /// The pod requests a GPU or a MIG slice as an extended resource.
        Device = "device",
        /// The pod has resource claims, whether or not the sidecar shares them. They can be for other devices than GPUs.
        Claims = "claims",
        /// No container of the pod requests a GPU. A GPU that is visible to the pod belongs to other pods.
        None = "none",
    }
}
