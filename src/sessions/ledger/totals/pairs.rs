//! The pairs of template and pool that have series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::slots::OTHER_NAME;

/// Maximum number of pairs with series. Without a bound 200 templates and 200 pools could have 40,000.
pub(in crate::sessions::ledger) const MAX_PAIRS: usize = 400;

/// The pair for all further pairs.
const OTHER_PAIR: (&str, &str) = (OTHER_NAME, OTHER_NAME);

/// Values by pair of template and pool. A pair keeps its series, with 0 sessions if no pod exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::sessions::ledger) struct Pairs<T> {
    pools: BTreeMap<String, BTreeMap<String, T>>,
}

/// Counts by pair of template and pool, at one moment.
#[derive(Debug)]
pub(in crate::sessions::ledger) struct CountsByPair<'s, T> {
    counts: BTreeMap<(&'s str, &'s str), T>,
}

// === impl Pairs ===

impl<T: Default + PartialEq> Pairs<T> {
    /// Every pair with its value.
    pub(in crate::sessions::ledger) fn all(&self) -> impl Iterator<Item = ((&str, &str), &T)> {
        self.pools.iter().flat_map(|(template, pools)| {
            pools.iter().map(move |(pool, value)| ((template.as_str(), pool.as_str()), value))
        })
    }

    /// Creates a pair if there is space, so that its counters show 0 before their first event.
    pub(in crate::sessions::ledger) fn seen(&mut self, template: &str, pool: &str) {
        if !self.is_full() {
            self.value(template, pool);
        }
    }

    /// The value of a pair with a session that ended; of the pair `other` if there are too many pairs. If necessary it takes the place of a
    /// pair without counts.
    pub(in crate::sessions::ledger) fn ended(&mut self, template: &str, pool: &str) -> &mut T {
        let is_known = self.pools.get(template).is_some_and(|pools| pools.contains_key(pool));
        let fits = is_known || !self.is_full() || self.free_one();
        let (template, pool) = if fits { (template, pool) } else { OTHER_PAIR };
        self.value(template, pool)
    }

    fn value(&mut self, template: &str, pool: &str) -> &mut T {
        self.pools.entry(template.to_owned()).or_default().entry(pool.to_owned()).or_default()
    }

    fn is_full(&self) -> bool {
        self.pools.values().map(BTreeMap::len).sum::<usize>() >= MAX_PAIRS
    }

    fn free_one(&mut self) -> bool {
        let unused = T::default();
        self.pools.values_mut().any(|pools| {
            let pool = pools.iter().find(|(_, value)| **value == unused).map(|(pool, _)| pool.clone());
            pool.is_some_and(|pool| pools.remove(&pool).is_some())
        })
    }

    /// Removes the pairs of a template that has lost its slot.
    pub(in crate::sessions::ledger) fn remove_template(&mut self, template: &str) {
        self.pools.remove(template);
    }

    /// Removes the pairs of a pool that has lost its slot.
    pub(in crate::sessions::ledger) fn remove_pool(&mut self, pool: &str) {
        self.pools.retain(|_, pools| {
            pools.remove(pool);
            !pools.is_empty()
        });
    }
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { pools: BTreeMap::new() }
    }
}

// === impl CountsByPair ===

impl<'s, T: Default> CountsByPair<'s, T> {
    /// Counts of 0 for these pairs.
    pub(in crate::sessions::ledger) fn new(pairs: impl Iterator<Item = (&'s str, &'s str)>) -> Self {
        Self { counts: pairs.map(|pair| (pair, T::default())).collect() }
    }

    /// The count of a pair; of the pair `other` if there are too many pairs.
    pub(in crate::sessions::ledger) fn of(&mut self, pair: (&'s str, &'s str)) -> &mut T {
        let fits = self.counts.len() < MAX_PAIRS || self.counts.contains_key(&pair);
        self.counts.entry(if fits { pair } else { OTHER_PAIR }).or_default()
    }

    pub(in crate::sessions::ledger) fn into_counts(self) -> BTreeMap<(&'s str, &'s str), T> {
        self.counts
    }
}
