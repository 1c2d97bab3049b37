//! A dump of the TCP sockets by the kernel.

use std::{
    fs::File,
    io::{Error, Read, Write},
};

use super::{
    diag_message::{self, DiagError, DumpProgress},
    sockets::{MAX_SOCKETS, Sockets},
};
use crate::runtime::libc;

/// `NETLINK_SOCK_DIAG` of `linux/netlink.h`.
const SOCK_DIAG: i32 = 4;

/// The kernel puts as many messages into a datagram as the reader's buffer takes, at most 32 KiB (`netlink_dump` in
/// `net/netlink/af_netlink.c`). Each buffer is freed after the dump.
const BUFFER_BYTES: usize = 32 << 10;

/// Maximum number of datagrams of a dump. A datagram has at least one socket, except the last.
const MAX_DATAGRAMS: usize = MAX_SOCKETS + 1;

/// The kernel must answer, and must end the dump.
const NO_ANSWER: DiagError = DiagError::Malformed;

/// The sockets of the network namespace: TCP, in the states LISTEN and ESTABLISHED. The listening sockets come first, so a truncated
/// dump has all of them.
///
/// # Errors
/// Fails if the socket cannot be created, or if the dump fails.
pub(super) fn dump() -> Result<Sockets, DiagError> {
    // A new socket for each dump: no answer of an earlier dump that failed can be in its queue.
    let mut socket = libc::netlink_socket(SOCK_DIAG).map_err(|error| errno(&error))?;
    socket.write_all(&diag_message::request()).map_err(|error| errno(&error))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut sockets = Sockets::default();
    for _ in 0..MAX_DATAGRAMS {
        let bytes = read(&mut socket, &mut buffer)?;
        let progress = diag_message::parse(bytes, &mut sockets)?;
        if progress == DumpProgress::Done || sockets.is_truncated {
            return Ok(sockets);
        }
    }
    Err(NO_ANSWER)
}

fn read<'b>(socket: &mut File, buffer: &'b mut [u8]) -> Result<&'b [u8], DiagError> {
    let length = socket.read(buffer).map_err(|error| errno(&error))?;
    buffer.get(..length).filter(|bytes| !bytes.is_empty()).ok_or(NO_ANSWER)
}

/// Each failure of a system call has an error number.
fn errno(error: &Error) -> DiagError {
    error.raw_os_error().map_or(NO_ANSWER, DiagError::Errno)
}
