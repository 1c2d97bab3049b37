//! Two calls of the C library that the standard library does not offer. Beside `gpu/raw` the only place of `unsafe`.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::ffi::c_int;

unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// `malloc.h`.
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;

/// Has memory that is freed given back to the system. Left to itself glibc keeps what the largest answer needed, a tenth of
/// all that the sidecar has (packing it takes 0.3 MiB). To be called before there are threads.
pub fn keep_no_memory() {
    for (parameter, bytes) in [(M_MMAP_THRESHOLD, 32 << 10), (M_TRIM_THRESHOLD, 64 << 10)] {
        // SAFETY: sets a number of the allocator; where it is refused all stays as it was.
        unsafe { mallopt(parameter, bytes) };
    }
}

/// Ends the process at once: no destructor of a library is run, which could hang and would run beside other threads.
pub fn leave(code: i32) -> ! {
    // SAFETY: nothing of ours is left to be done, and standard error is not buffered.
    unsafe { _exit(code) }
}
