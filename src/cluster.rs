//! Access to the cluster: sign-in and watches. Contains nothing about sessions or admission.

mod client;
mod watch;

pub use client::{SignInError, sign_in};
pub use watch::events;
