//! Mutation of bytes and of JSON values.

use std::ops::Range;

use super::Random;

/// Values of types that are not expected.
const UNEXPECTED: [&[u8]; 24] = [
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
    b"-1",
    b"2",
    b"1e300",
    b"18446744073709551615",
];

/// Changes bytes or a value. Changed values reach more code, because the document stays valid JSON.
pub(crate) fn json(random: &mut Random, child: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let (range, at) = (random.value(child), random.below(child.len() + 1));
    match random.below(24) {
        0 if at < child.len() => child[at] ^= 1 << random.below(8),
        1 => drop(child.drain(at..(at + random.below(16)).min(child.len()))),
        2 => child.truncate(at),
        3 => {
            let depth = 1 << random.below(12);
            let wrapped = [&b"[".repeat(depth)[..], &child[range.clone()], &b"]".repeat(depth)].concat();
            child.splice(range, wrapped);
        }
        4..=7 => drop(child.splice(range, random.one_of(&UNEXPECTED).iter().copied())),
        8..=11 if child.get(range.start) == Some(&b'[') => {
            let item = [random.random_value(corpus), b","].concat();
            child.splice(range.start + 1..range.start + 1, item);
        }
        8..=17 if child.get(range.start) == Some(&b'{') => {
            let other = random.parent(corpus);
            let key = &other[random.key(other)];
            let field = [key, b":", random.random_value(corpus), b","].concat();
            child.splice(range.start + 1..range.start + 1, field);
        }
        _ => drop(child.splice(range, random.random_value(corpus).iter().copied())),
    }
}

/// Numbers at bounds.
const NUMBERS: [&[u8]; 8] =
    [b"0", b"1", b"-1", b"0.5", b"1.01", b"1e300", b"4294967295", b"18446744073709551615"];

/// Number of values among which a value of the same type is searched.
const ATTEMPTS: usize = 16;

/// Replaces a value by another one of the same type, or repeats the first item of a list. A document with fixed types stays valid.
/// One change in four is any change.
pub(crate) fn typed_json(random: &mut Random, child: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let range = random.value(child);
    let first = child.get(range.start).copied();
    match random.below(8) {
        0 | 1 => json(random, child, corpus),
        2 if first == Some(b'[') => {
            let item = &child[range.start + 1..end_of_value(child, range.start + 1)];
            let repeated = [item, b","].concat();
            child.splice(range.start + 1..range.start + 1, repeated);
        }
        2..=4 if first.map(kind) == Some(b'0') => {
            drop(child.splice(range, random.one_of(&NUMBERS).iter().copied()));
        }
        _ => {
            let other = (0..ATTEMPTS).map(|_| random.random_value(corpus));
            let same = other.into_iter().find(|other| other.first().copied().map(kind) == first.map(kind));
            if let Some(same) = same {
                child.splice(range, same.iter().copied());
            }
        }
    }
}

/// The type of the value that begins with this byte: its first byte, and `0` for every number.
fn kind(first: u8) -> u8 {
    if first == b'-' || first.is_ascii_digit() { b'0' } else { first }
}

// === impl Random ===

impl Random {
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
