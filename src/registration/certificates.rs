//! Certificates: a chain with its key, the CA that issues it, and whether an API server accepts it.

mod authority;
mod pair;
mod trust;

pub(super) use authority::{Authority, IssuedPair};
pub(super) use pair::{CertificatePair, PairError, Validity, certificates};
pub(super) use trust::{distinct, trusts};
