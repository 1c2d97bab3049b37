//! The durable state of the ledger: the totals, the sessions that have not ended, and the resource version up to which the events
//! are in them. One head and 16 shards, each an object of at most 1 MiB.
//!
//! A save writes the changed shards first and then the head, which names them. Each shard has two slots, and a save writes the slot
//! that the head does not name. So a crash between two writes leaves the state of the last save. Every write has the version of the
//! object as its precondition. A new leader writes the head before anything else; then an older leader cannot write it any more.

mod config_maps;
mod format;
mod state;
mod store;
mod unsaved;
mod writer;

pub use self::{
    config_maps::ConfigMaps,
    state::{Checkpoint, LiveSessions, Stored},
    store::{Store, StoreError, StoredObject},
    unsaved::Unsaved,
    writer::{CheckpointWriter, LoadError, SaveError},
};

#[cfg(test)]
pub(super) mod tests;
