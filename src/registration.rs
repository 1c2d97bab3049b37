//! Why the API server can trust this server: the serving certificate.

pub mod certificate;
