//! Whether a viewer is connected to the desktop, since when, and how good the connection is. The evidence is the sockets of the
//! pod's network namespace, which the sidecar shares. The desktop does not cooperate, and nothing is sent to it.
//!
//! Only `sock_diag` and `socket_reader` read from the system; everything else is pure. The addresses of peers are personal data:
//! they do not leave this module, and [`address::Address`] has no readable form.

pub mod address;
pub mod catalogue;
pub mod diag_message;
mod mesh;
mod monitors;
mod poller;
pub mod proc_net;
mod sock_diag;
mod socket_reader;
pub mod sockets;
pub mod track;
mod udp_rate;
pub mod viewers;
pub mod vocabulary;

pub use self::{monitors::Monitors, poller::Poller, track::snapshot::PresenceSnapshot, viewers::Ports};
