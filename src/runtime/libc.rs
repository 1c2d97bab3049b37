//! Two functions of the C library that Rust's standard library does not offer. Only this file and `gpu/raw` contain unsafe code.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::ffi::c_int;

unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// Parameters from `malloc.h`.
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;

/// Makes glibc return freed memory to the system. By default glibc keeps the memory that the largest response needed: a tenth of
/// the sidecar's memory (compressing a response takes 0.3 MiB). Call this before the process starts threads.
pub fn return_freed_memory() {
    for (parameter, bytes) in [(M_MMAP_THRESHOLD, 32 << 10), (M_TRIM_THRESHOLD, 64 << 10)] {
        // SAFETY: the call sets a parameter of the allocator; if it fails, the parameter stays unchanged.
        unsafe { mallopt(parameter, bytes) };
    }
}

/// Ends the process at once, without destructors. A destructor of a library could hang, and it would run while other threads use
/// the library.
pub fn exit_immediately(code: i32) -> ! {
    // SAFETY: the process has no work left, and standard error is not buffered.
    unsafe { _exit(code) }
}
