//! The limits of namespaces: watches the LimitRanges and ResourceQuotas, and combines them into one immutable value, which
//! admission reads. The watch retries for ever and never blocks a review.

mod parse;
mod store;
mod watch;

pub use store::combine;
pub use watch::follow;
