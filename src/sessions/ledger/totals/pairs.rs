//! The pairs of template and pool that have series.

use std::collections::{BTreeMap, BTreeSet};

use super::slots::OTHER_NAME;

/// Maximum number of pairs with series. Without a bound 200 templates and 200 pools could have 40,000.
pub(in crate::sessions::ledger) const MAX_PAIRS: usize = 400;

/// The pair for all further pairs.
const OTHER_PAIR: (&str, &str) = (OTHER_NAME, OTHER_NAME);

/// Pairs of sessions that have ended. They keep their series, with 0 if no pod exists.
#[derive(Debug, Default)]
pub(in crate::sessions::ledger) struct Pairs {
    pools: BTreeMap<String, BTreeSet<String>>,
    count: usize,
}

/// Counts by pair of template and pool, at one moment.
#[derive(Debug)]
pub(in crate::sessions::ledger) struct CountsByPair<'s, T> {
    counts: BTreeMap<(&'s str, &'s str), T>,
}

// === impl Pairs ===

impl Pairs {
    pub(in crate::sessions::ledger) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pools
            .iter()
            .flat_map(|(template, pools)| pools.iter().map(move |pool| (template.as_str(), pool.as_str())))
    }

    pub(in crate::sessions::ledger) fn insert(&mut self, template: String, pool: String) {
        if self.count < MAX_PAIRS && self.pools.entry(template).or_default().insert(pool) {
            self.count += 1;
        }
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
