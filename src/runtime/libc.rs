//! Three functions of the C library that Rust's standard library does not offer. Only this file and `gpu/raw` contain unsafe code.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::ffi::c_int;

unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn _exit(code: c_int) -> !;
}

/// Parameters from `malloc.h`.
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;

/// Signals that end a process unless it handles them, and that no container runtime sends to end a container: `SIGHUP`, `SIGQUIT`,
/// `SIGUSR1`, `SIGUSR2` and `SIGALRM`.
const OTHER_SIGNALS: [c_int; 5] = [1, 3, 10, 12, 14];
const SIG_IGN: usize = 1;

/// Ignores the signals that end the process although the kubelet does not end the container. In a pod that shares its processes, `kill -HUP -1`
/// in the desktop, as at the end of a login, also reaches the sidecar if the desktop runs as root or as the same user.
pub fn ignore_other_signals() {
    for number in OTHER_SIGNALS {
        // SAFETY: no handler is installed, and nothing else in this process handles these signals.
        unsafe { signal(number, SIG_IGN) };
    }
}

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
