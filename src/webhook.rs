//! The HTTP part of admission: receives reviews, reloads the configuration, and counts reviews in metrics.

mod bodies;
pub mod configuration;
pub mod metrics;
mod refusal;
mod router;

pub use refusal::RefusalReason;
pub use router::router;
