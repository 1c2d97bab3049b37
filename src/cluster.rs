//! Access to the cluster: sign-in, watches, leadership and reviews of users. Contains nothing about sessions or admission.

mod changes;
mod client;
mod lease;
mod review;
mod watch;

pub use changes::{Change, Start, changes};
pub use client::{Clients, SignInError, sign_in};
pub use lease::{Leadership, LeadershipSender, LeaseCandidate};
pub use review::{authenticate, may_access};
pub use watch::{events, selected_events};
