//! Resources of the machine that the cluster uses: binaries, child processes, folders, control groups and namespaces.

mod assets;
mod isolation;
mod process;
mod role;
mod wait;
mod workdir;

pub use assets::{Assets, AssetsOrMissing, PROBE};
pub(crate) use assets::{built, testbed};
pub(super) use isolation::{BRIDGE, NODE_ADDRESS, SERVICE_ADDRESS};
pub use isolation::{isolated, missing_requirement};
pub(super) use process::{Server, killed_with_parent, log_tails, output};
pub use role::is_first_process;
pub(super) use role::isolated_folder;
pub use wait::eventually;
pub(super) use workdir::Workdir;
