//! What a save writes.

use super::{
    format,
    state::{Checkpoint, Stored},
};

/// A copy of a checkpoint without the shards that have not changed since the last save.
#[derive(Clone, Debug)]
pub struct Unsaved<T> {
    /// As in [`Checkpoint`].
    pub resource_version: u64,
    /// As in [`Checkpoint`].
    pub totals: T,
    /// The index and the content of each changed shard.
    pub(super) shards: Vec<(usize, Vec<u8>)>,
}

// === impl Checkpoint ===

impl<T: Stored + Clone, S: Stored> Checkpoint<T, S> {
    /// What has changed since the last call. If it is not saved, the caller returns it with [`Checkpoint::not_saved`].
    ///
    /// # Errors
    /// Fails if a session cannot be written as JSON.
    pub fn take_unsaved(&mut self) -> serde_json::Result<Unsaved<T>> {
        let (resource_version, totals) = (self.resource_version, self.totals.clone());
        let mut shards = vec![];
        for (index, sessions) in self.live.take_dirty() {
            shards.push((index, format::write_shard(sessions)?));
        }
        Ok(Unsaved { resource_version, totals, shards })
    }

    /// The next save writes these shards again.
    pub fn not_saved(&mut self, unsaved: &Unsaved<T>) {
        unsaved.shards.iter().for_each(|(index, _)| self.live.mark_dirty(*index));
    }
}

// === impl Unsaved ===

impl<T> Unsaved<T> {
    /// Bytes of the changed shards.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|(_, content)| content.len()).sum()
    }
}
