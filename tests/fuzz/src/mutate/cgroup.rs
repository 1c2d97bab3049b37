//! Mutation of the names in cgroup paths.

use std::ops::Range;

use super::Random;

/// Names with a meaning, and delimiters.
const NAMES: [&[u8]; 14] = [
    b"..",
    b"kubepods",
    b"burstable",
    b"besteffort",
    b"kubepods.slice",
    b"kubepods-burstable.slice",
    b"kubelet-kubepods.slice",
    b"pod74c13223-5a00-11e9-b385-42010a80018d",
    b"kubepods-pod74c13223_5a00_11e9_b385_42010a80018d.slice",
    b"crio-9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961.scope",
    b"x (deleted)",
    b"\n0::/",
    b"\n1:cpu:/kubepods/",
    b"/",
];

/// Changes a byte, or adds, removes or replaces a name between two delimiters.
pub(crate) fn cgroup(random: &mut Random, child: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let (range, at) = (random.name(child), random.below(child.len() + 1));
    match random.below(12) {
        0 if at < child.len() => child[at] ^= 1 << random.below(8),
        1 => drop(child.drain(at..(at + random.below(16)).min(child.len()))),
        2 | 3 => drop(child.drain(range)),
        4 | 5 => {
            let name = [random.one_of(&NAMES), &b"/"[..]].concat();
            drop(child.splice(range.start..range.start, name));
        }
        6 | 7 => drop(child.splice(range, random.one_of(&NAMES).iter().copied())),
        8 => child[range].make_ascii_uppercase(),
        _ => {
            let other = random.parent(corpus);
            let name = &other[random.name(other)];
            drop(child.splice(range, name.iter().copied()));
        }
    }
}

// === impl Random ===

impl Random {
    /// The range of a random name between two delimiters.
    fn name(&mut self, text: &[u8]) -> Range<usize> {
        let is_delimiter = |byte: &u8| matches!(byte, b'/' | b':' | b'-' | b'\n' | b'\0');
        let start = self.below(text.len());
        let start = text[..start].iter().rposition(is_delimiter).map_or(0, |at| at + 1);
        let length = text[start..].iter().position(is_delimiter);
        start..length.map_or(text.len(), |length| start + length)
    }
}
