//! Which places of the program an input reaches, where the compiler counts them: LLVM's inline 8-bit counters, switched on by
//! `tests/fuzz/instrument`.
#![allow(
    unsafe_code,
    reason = "the counters are a section of the program that LLVM hands over as two pointers"
)]

use std::{
    slice,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
};

static COUNTERS: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Called by the program's own constructors before `main`, once for each module with the same two pointers.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    COUNTERS.store(start, Relaxed);
    COUNT.store(end as usize - start as usize, Relaxed);
}

/// Most of the program is not reached by any one input: so many counters are looked at together first.
const STRIDE: usize = 64;

#[derive(Debug)]
pub(crate) struct Guide {
    /// For each counter the orders of magnitude that it has had.
    seen: Vec<u8>,
}

// === impl Guide ===

impl Guide {
    pub(crate) fn new() -> Self {
        Self { seen: vec![0; counters().len()] }
    }

    pub(crate) fn begin(&self) {
        counters().fill(0);
    }

    /// Whether the input reached a place, or as often, as none did before.
    pub(crate) fn is_news(&mut self) -> bool {
        let mut news = false;
        for (counters, seen) in counters().chunks(STRIDE).zip(self.seen.chunks_mut(STRIDE)) {
            if counters != &[0; STRIDE][..counters.len()] {
                for (counter, seen) in counters.iter().zip(seen) {
                    let magnitude = magnitude(*counter);
                    news |= *seen | magnitude != *seen;
                    *seen |= magnitude;
                }
            }
        }
        news
    }

    pub(crate) fn reached(&self) -> Option<(usize, usize)> {
        let reached = self.seen.iter().filter(|seen| **seen != 0).count();
        (!self.seen.is_empty()).then_some((reached, self.seen.len()))
    }
}

fn counters() -> &'static mut [u8] {
    match COUNTERS.load(Relaxed) {
        start if start.is_null() => &mut [],
        // SAFETY: LLVM's section of counters, which is there as long as the program and is used by one thread.
        start => unsafe { slice::from_raw_parts_mut(start, COUNT.load(Relaxed)) },
    }
}

/// One bit for 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127 and more.
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
