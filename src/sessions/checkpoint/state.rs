//! The state of the ledger. The sessions that have not ended are in shards. A shard that has changed since the last save is dirty.

use std::{collections::BTreeMap, mem};

use flate2::Crc;
use serde::{Deserialize, Serialize};

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

/// Number of shards. With 50,000 sessions a shard has 3,125, so an entry may have 300 bytes.
pub(super) const SHARDS: usize = 16;

/// Sessions by the UID of their pod.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveSessions<S> {
    shards: Vec<Shard<S>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Shard<S> {
    sessions: BTreeMap<String, S>,
    is_dirty: bool,
}

// === impl LiveSessions ===

impl<S> Default for LiveSessions<S> {
    /// No session.
    fn default() -> Self {
        let shard = |_| Shard { sessions: BTreeMap::new(), is_dirty: false };
        Self { shards: (0..SHARDS).map(shard).collect() }
    }
}

impl<S> LiveSessions<S> {
    /// The session of the pod with this UID.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&S> {
        self.shards[shard_of(uid)].sessions.get(uid)
    }

    /// Adds or replaces a session.
    pub fn insert(&mut self, uid: String, session: S) {
        let shard = &mut self.shards[shard_of(&uid)];
        shard.sessions.insert(uid, session);
        shard.is_dirty = true;
    }

    /// Removes a session.
    pub fn remove(&mut self, uid: &str) -> Option<S> {
        let shard = &mut self.shards[shard_of(uid)];
        let removed = shard.sessions.remove(uid);
        shard.is_dirty |= removed.is_some();
        removed
    }

    /// Number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.sessions.len()).sum()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes sessions: `change` returns whether it has changed the session.
    pub fn update(&mut self, mut change: impl FnMut(&str, &mut S) -> bool) {
        for shard in &mut self.shards {
            for (uid, session) in &mut shard.sessions {
                shard.is_dirty |= change(uid, session);
            }
        }
    }

    /// All sessions with the UID of their pod, in no order that has a meaning.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &S)> {
        self.shards.iter().flat_map(|shard| &shard.sessions).map(|(uid, session)| (uid.as_str(), session))
    }

    pub(super) fn replace_shard(&mut self, index: usize, sessions: BTreeMap<String, S>) {
        self.shards[index] = Shard { sessions, is_dirty: false };
    }

    /// The changed shards with their indices, which are clean afterwards.
    pub(super) fn take_dirty(&mut self) -> impl Iterator<Item = (usize, &BTreeMap<String, S>)> {
        let shards = self.shards.iter_mut().enumerate();
        shards.filter_map(|(index, Shard { sessions, is_dirty })| {
            mem::take(is_dirty).then_some((index, &*sessions))
        })
    }

    pub(super) fn mark_dirty(&mut self, index: usize) {
        self.shards[index].is_dirty = true;
    }

    /// Whether a shard has changed since the last save.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.shards.iter().any(|shard| shard.is_dirty)
    }
}

fn shard_of(uid: &str) -> usize {
    checksum(uid.as_bytes()) as usize % SHARDS
}

/// CRC-32, which detects a damaged object. It is no protection against a person with the right to write the object.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
