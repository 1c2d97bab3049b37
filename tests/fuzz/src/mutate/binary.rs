//! Changes of messages with binary numbers: lengths, types and counters.

use super::Random;

/// Values at the borders of a length, a type or a counter.
const NUMBERS: [u32; 16] =
    [0, 1, 2, 3, 4, 15, 16, 17, 20, 21, 72, 88, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// Changes a byte or an aligned number, repeats or removes a part, or appends a part of another input. Many messages have their fields at
/// multiples of 4.
pub(crate) fn binary(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.below(input.len() + 1);
    let aligned = at - at % 4;
    match random.below(16) {
        0..=5 => replace(input, at, &[random.next() as u8]),
        6..=8 => replace(input, aligned, &random.one_of(&NUMBERS).to_ne_bytes()),
        9..=10 => replace(input, aligned, &(*random.one_of(&NUMBERS) as u16).to_ne_bytes()),
        11 => replace(input, aligned, &random.next().to_ne_bytes()),
        12 => input.truncate(at),
        13 => drop(input.drain(aligned..(aligned + 4 * random.below(40)).min(input.len()))),
        14 => {
            let part = input[aligned..(aligned + 4 * random.below(200)).min(input.len())].to_vec();
            input.splice(aligned..aligned, part);
        }
        _ => {
            let other = random.one_of(corpus);
            let from = random.below(other.len() + 1);
            input.extend_from_slice(&other[from - from % 4..]);
        }
    }
}

/// Writes the bytes at this position, as far as the input reaches.
fn replace(input: &mut [u8], at: usize, bytes: &[u8]) {
    input[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
}
