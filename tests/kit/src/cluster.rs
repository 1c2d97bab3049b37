//! A real Kubernetes cluster for tests, started from pinned binaries. A failed test shows the cluster's state, and the
//! cluster leaves nothing behind on the machine.
//!
//! A control plane alone starts in seconds and needs no root. A node needs root and runs inside [`isolated`]. To start
//! another server of the cluster, add a file here. What one *test* needs belongs to `tests/cluster`.

mod control_plane;
mod external_program;
mod host;
pub mod load;
mod monitoring;
mod node;
mod running;
mod test_cluster;

pub use control_plane::Kubectl;
pub use external_program::ExternalProgram;
pub use host::{Assets, AssetsOrMissing, PROBE, eventually, is_first_process, isolated, missing_requirement};
pub(crate) use host::{built, testbed};
pub use monitoring::{Labels, Prometheus, Target};
pub use node::{CLAIMABLE_GPUS, File, Image, PLUGIN_GPUS, SHARED_GPU};
pub use running::{Cluster, Parts};
pub use test_cluster::{Test, TestCluster};
