//! How the API server comes to trust this server: the serving certificate. A CA of our own, its renewal and the
//! `caBundle` have their place here.

pub mod certificate;
