//! Access to the cluster: sign-in, watches, leadership, Events and reviews of users. Contains nothing about sessions or admission.

mod changes;
mod client;
mod event;
mod lease;
mod review;
mod watch;

pub use changes::{Change, Start, changes};
pub use client::{Clients, SignInError, sign_in};
pub use event::{EventError, controller, create_event};
pub use lease::{Leadership, LeadershipSender, LeaseCandidate};
pub use review::{authenticate, may_access};
pub use watch::{events, selected_events};
