//! The limits of namespaces: watches their LimitRanges and ResourceQuotas, and combines them into the one immutable value
//! that admission reads. The watch retries for ever and never blocks a review.

mod parse;
mod store;
mod watch;

pub use store::combine;
pub use watch::follow;
