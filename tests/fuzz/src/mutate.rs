//! Mutation of bytes and of JSON values. Mutated values reach more code, because the document stays valid JSON.

use std::ops::Range;

/// A deterministic random number generator: SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

/// Maximum length of a mutated input. Large inputs are tested with the real server.
const MAX_LENGTH: usize = 8 << 10;

/// Values of types that are not expected.
const UNEXPECTED: [&[u8]; 20] = [
    b"null",
    b"true",
    b"-0",
    b"65535",
    b"65536",
    b"1e400",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"\\ud800\"",
    b"\"\\u0000\"",
    b"\"~1/~0\"",
    b"\"vdi-metrics\"",
    b"{\"name\":\"vdi-metrics\"}",
    b"\"disabled\"",
    b"\"9223372036854775807\"",
    b"\" +.5Ki \"",
    b"\"1e-1000\"",
    b"\"100Ei\"",
    b"\xff",
];

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
    pub(crate) fn child(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut child = self.parent(corpus).to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut child, corpus);
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

    fn change(&mut self, child: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let (range, at) = (self.value(child), self.below(child.len() + 1));
        match self.below(24) {
            0 if at < child.len() => child[at] ^= 1 << self.below(8),
            1 => drop(child.drain(at..(at + self.below(16)).min(child.len()))),
            2 => child.truncate(at),
            3 => {
                let depth = 1 << self.below(12);
                let wrapped = [&b"[".repeat(depth)[..], &child[range.clone()], &b"]".repeat(depth)].concat();
                child.splice(range, wrapped);
            }
            4..=7 => drop(child.splice(range, self.one_of(&UNEXPECTED).iter().copied())),
            8..=11 if child.get(range.start) == Some(&b'[') => {
                let item = [self.random_value(corpus), b","].concat();
                child.splice(range.start + 1..range.start + 1, item);
            }
            8..=17 if child.get(range.start) == Some(&b'{') => {
                let other = self.parent(corpus);
                let key = &other[self.key(other)];
                let field = [key, b":", self.random_value(corpus), b","].concat();
                child.splice(range.start + 1..range.start + 1, field);
            }
            _ => drop(child.splice(range, self.random_value(corpus).iter().copied())),
        }
    }

    /// A random JSON value of a random input.
    fn random_value<'a>(&mut self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        let other = self.parent(corpus);
        &other[self.value(other)]
    }

    /// The range of a random JSON value. A value follows `:`, `[` or `,`.
    fn value(&mut self, json: &[u8]) -> Range<usize> {
        let from = self.below(json.len());
        let follows = |at: &usize| matches!(json[*at], b':' | b'[' | b',');
        let start = (from..json.len()).find(follows).map_or(json.len(), |at| at + 1);
        match end_of_value(json, start) {
            key if json.get(key) == Some(&b':') => key + 1..end_of_value(json, key + 1),
            end => start..end,
        }
    }

    /// The range of a random key with its quotes.
    fn key(&mut self, json: &[u8]) -> Range<usize> {
        let from = self.below(json.len());
        let pair =
            json[from..].windows(2).position(|pair| pair == b"\":").map_or(json.len(), |at| from + at + 1);
        let before = json[..pair.saturating_sub(1)].iter().rposition(|byte| *byte == b'"');
        before.unwrap_or(pair)..pair
    }
}

/// The end of the value that begins at `start`.
fn end_of_value(json: &[u8], start: usize) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for (at, byte) in json.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b':' | b'}' | b']' if depth == 0 => return at,
            _ => {}
        }
    }
    json.len()
}
