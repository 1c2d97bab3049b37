//! Functions of the C library that Rust's standard library does not offer. Only this file and `gpu/raw` contain unsafe code.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::{
    ffi::{c_int, c_long},
    fs::File,
    io,
    os::fd::FromRawFd,
    time::Duration,
};

unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// Parameters from `malloc.h`.
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;

const SIG_IGN: usize = 1;

/// The last real-time signal of Linux.
const MAX_SIGNAL: c_int = 64;

/// Signals that are not ignored (`signal(7)`; the numbers are the same on amd64 and arm64).
const NOT_IGNORED: [(c_int, &str); 10] = [
    (2, "SIGINT: ends the program"),
    (15, "SIGTERM: ends the program"),
    (4, "SIGILL: a fault of the program"),
    (5, "SIGTRAP: a fault of the program"),
    (6, "SIGABRT: a fault of the program"),
    (7, "SIGBUS: a fault of the program"),
    (8, "SIGFPE: a fault of the program"),
    (11, "SIGSEGV: a fault of the program"),
    (31, "SIGSYS: a fault of the program"),
    (
        17,
        "SIGCHLD: harmless; the driver's library waits for a child, and waiting fails if the signal is ignored",
    ),
];

/// Ignores all signals except those of the table `NOT_IGNORED`. By default most of them end or stop a process. In a pod that
/// shares its process namespace, a desktop can run `kill -HUP -1`, for example at a logout. The signal also reaches the sidecar
/// if the desktop runs as root or as the same user. SIGKILL and SIGSTOP cannot be ignored. glibc uses 32 and 33 and does not
/// ignore them.
pub fn ignore_signals_of_others() {
    for number in (1..=MAX_SIGNAL).filter(|number| NOT_IGNORED.iter().all(|(other, _)| other != number)) {
        // SAFETY: no handler is installed, and nothing else in this process handles these signals.
        unsafe { signal(number, SIG_IGN) };
    }
}

/// `struct timespec` of a 64-bit system.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

/// `CLOCK_BOOTTIME` from `time.h`.
const CLOCK_BOOTTIME: c_int = 7;

/// The time since the start of the node; zero if the kernel does not have this clock.
#[must_use]
pub fn since_boot() -> Duration {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the reference outlives the call.
    unsafe { clock_gettime(CLOCK_BOOTTIME, &mut time) };
    Duration::new(time.seconds as u64, time.nanoseconds as u32)
}

/// Values from `linux/socket.h` and `linux/net.h`. `SOCK_NONBLOCK` and `SOCK_CLOEXEC` are the same on amd64 and arm64.
const AF_NETLINK: c_int = 16;
const SOCK_RAW: c_int = 3;
const SOCK_NONBLOCK: c_int = 0o4000;
const SOCK_CLOEXEC: c_int = 0o2_000_000;

/// Opens a netlink socket for `protocol`. A read never blocks: the kernel has put its answer into the queue when the write of a request
/// returns.
///
/// # Errors
/// Fails if the kernel does not have the protocol, if a security policy forbids the socket, or if there are too many open files.
pub fn netlink_socket(protocol: i32) -> io::Result<File> {
    // SAFETY: the call has no pointer.
    let descriptor = unsafe { socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and nothing else owns it. `File` reads, writes and closes it; it is not used as a file otherwise.
    Ok(unsafe { File::from_raw_fd(descriptor) })
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
