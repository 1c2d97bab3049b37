//! Random numbers, and mutation of inputs.

mod binary;
mod cgroup;
mod json;

pub(crate) use self::{
    binary::binary,
    cgroup::cgroup,
    json::{json, typed_json},
};

/// A deterministic random number generator: SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

/// Maximum length of a mutated input. Large inputs are tested with the real server.
const MAX_LENGTH: usize = 8 << 10;

/// Makes one change to an input. The third argument is the corpus.
pub(crate) type Change = fn(&mut Random, &mut Vec<u8>, &[Vec<u8>]);

// === impl Random ===

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than `end`")]
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An input of the corpus with one to four changes.
    pub(crate) fn child(&mut self, corpus: &[Vec<u8>], change: Change) -> Vec<u8> {
        let mut child = self.parent(corpus).to_vec();
        for _ in 0..=self.below(4) {
            change(self, &mut child, corpus);
        }
        child.truncate(MAX_LENGTH);
        child
    }

    /// A random input. Half of them are from the latest eighth of the corpus, because mutations of new inputs often reach new code.
    fn parent<'a>(&mut self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        let latest = corpus.len().div_ceil(8);
        let among = if self.below(2) == 0 { corpus } else { &corpus[corpus.len() - latest..] };
        self.one_of(among).as_slice()
    }
}
