//! The durable state of the ledger: the totals, the sessions that have not ended, and the resource version up to which the events
//! are in them. One head and 16 shards, each an object of at most 1 MiB.
//!
//! A save writes the changed shards first and then the head, which names them. Each shard has two slots, and a save writes the slot
//! that the head does not name. So a crash between two writes leaves the state of the last save. Every write has the version of the
//! object as its precondition. A new leader writes the head before anything else; then an older leader cannot write it any more.

mod config_maps;
mod format;
mod live;
mod store;
mod writer;

use serde::{Deserialize, Serialize};

pub use self::{
    config_maps::ConfigMaps,
    live::LiveSessions,
    store::{Store, StoreError, StoredObject},
    writer::{CheckpointWriter, LoadError, SaveError},
};

/// The state of the ledger. `T` are the totals, `S` is a session that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<T, S> {
    /// Events up to this resource version are in the totals and the sessions. Resource versions of Kubernetes 1.35 are integers that can
    /// be compared (KEP-5504).
    pub resource_version: u64,
    /// The totals.
    pub totals: T,
    /// The sessions that have not ended.
    pub live: LiveSessions<S>,
}

/// A value that can be stored.
pub trait Stored: Serialize + for<'de> Deserialize<'de> {}

impl<V: Serialize + for<'de> Deserialize<'de>> Stored for V {}

#[cfg(test)]
mod tests;
