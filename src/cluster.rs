//! Access to the cluster: sign-in, watches and leadership. Contains nothing about sessions or admission.

mod client;
mod lease;
mod watch;

pub use client::{SignInError, sign_in};
pub use lease::LeaseCandidate;
pub use watch::events;
