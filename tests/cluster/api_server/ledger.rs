//! The ledger of sessions with several replicas: who leads, what is stored, and what Prometheus sees.

pub(crate) mod chaos;
pub(crate) mod checkpoint;
pub(crate) mod leadership;
pub(crate) mod series;
