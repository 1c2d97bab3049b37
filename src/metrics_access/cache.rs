//! A map with a limited number of entries that expire.

use std::{collections::BTreeMap, time::Instant};

/// SHA-256 of a token and of a verb. The cache has no tokens, so the server's memory has a token only during its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) [u8; 32]);

/// Values with the time at which they expire.
#[derive(Debug)]
pub(super) struct Cache<V> {
    max_entries: usize,
    entries: BTreeMap<Key, (V, Instant)>,
}

// === impl Cache ===

impl<V> Cache<V> {
    pub(super) const fn new(max_entries: usize) -> Self {
        Self { max_entries, entries: BTreeMap::new() }
    }

    /// The value, if it has not expired.
    pub(super) fn get(&self, key: Key, now: Instant) -> Option<&V> {
        self.entries.get(&key).filter(|(_, expires)| now < *expires).map(|(value, _)| value)
    }

    /// Adds or replaces a value. If the cache is full, the entry that expires first is removed.
    pub(super) fn insert(&mut self, key: Key, value: V, expires: Instant) {
        self.entries.insert(key, (value, expires));
        while self.entries.len() > self.max_entries {
            let first = self.entries.iter().min_by_key(|(_, (_, expires))| *expires).map(|(key, _)| *key);
            first.and_then(|key| self.entries.remove(&key));
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_cache_removes_the_entry_that_expires_first() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let key = |number| Key([number; 32]);
        let mut cache = Cache::new(2);
        for (number, expires) in [(1, 30), (2, 10), (3, 20)] {
            cache.insert(key(number), number, at(expires));
        }
        let values = |cache: &Cache<u8>, now| [1, 2, 3].map(|number| cache.get(key(number), now).copied());
        assert_eq!(values(&cache, start), [Some(1), None, Some(3)]);
        assert_eq!(values(&cache, at(20)), [Some(1), None, None], "the third entry has expired");
        cache.insert(key(1), 7, at(40));
        assert_eq!(
            values(&cache, at(19)),
            [Some(7), None, Some(3)],
            "a replaced entry removes no other entry"
        );
        cache.remove(key(1));
        assert_eq!(values(&cache, start), [None, None, Some(3)]);
    }
}
