//! The trust of the API server in this server: the serving certificate.

pub mod certificate;
