//! The code that an input reaches, from the compiler's coverage counters: LLVM's inline 8-bit counters, which
//! `tests/fuzz/instrument` enables.
#![allow(unsafe_code, reason = "LLVM passes the counters, a section of the program, as two pointers")]

use std::{
    slice,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
};

static COUNTERS: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The program's constructors call this function before `main`, once per module, always with the same two pointers.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    COUNTERS.store(start, Relaxed);
    COUNT.store(end as usize - start as usize, Relaxed);
}

/// The number of counters that are compared with zero together, because a single input reaches only a small part of the program.
const STRIDE: usize = 64;

/// The coverage of all inputs so far.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// Orders of magnitude that each counter has reached.
    seen: Vec<u8>,
}

// === impl Coverage ===

impl Coverage {
    pub(crate) fn new() -> Self {
        Self { seen: vec![0; counters().len()] }
    }

    pub(crate) fn begin(&self) {
        counters().fill(0);
    }

    /// Whether the input reached new code, or reached code more often than any input before.
    pub(crate) fn is_new(&mut self) -> bool {
        let mut is_new = false;
        for (counters, seen) in counters().chunks(STRIDE).zip(self.seen.chunks_mut(STRIDE)) {
            if counters != &[0; STRIDE][..counters.len()] {
                for (counter, seen) in counters.iter().zip(seen) {
                    let magnitude = magnitude(*counter);
                    is_new |= *seen | magnitude != *seen;
                    *seen |= magnitude;
                }
            }
        }
        is_new
    }

    pub(crate) fn reached(&self) -> Option<(usize, usize)> {
        let reached = self.seen.iter().filter(|seen| **seen != 0).count();
        (!self.seen.is_empty()).then_some((reached, self.seen.len()))
    }
}

fn counters() -> &'static mut [u8] {
    match COUNTERS.load(Relaxed) {
        start if start.is_null() => &mut [],
        // SAFETY: this is LLVM's section of counters. It exists as long as the program, and only one thread uses it.
        start => unsafe { slice::from_raw_parts_mut(start, COUNT.load(Relaxed)) },
    }
}

/// A bit for each order of magnitude: 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127 and above.
fn magnitude(count: u8) -> u8 {
    match count {
        0 => 0,
        1..=3 => 1 << (count - 1),
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
