//! The node's name, and paths and limits that several of its programs use.

use std::time::Duration;

/// The node's name.
pub(super) const NAME: &str = "node";
/// The folder in which containerd looks for CDI specifications of devices. By default containerd also reads /etc/cdi, where
/// the machine itself may have specifications.
pub(super) const CDI: &str = "/run/cdi";
/// The socket of containerd.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";
/// How long the node's programs may take to start. Measured: under 15 s.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
