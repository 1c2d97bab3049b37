//! Access to the cluster: sign-in, watches, leadership and reviews of users. Contains nothing about sessions or admission.

mod client;
mod lease;
mod review;
mod watch;

pub use client::{Clients, SignInError, sign_in};
pub use lease::LeaseCandidate;
pub use review::{authenticate, may_access};
pub use watch::events;
