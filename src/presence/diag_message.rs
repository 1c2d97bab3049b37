//! Messages of `NETLINK_SOCK_DIAG` (`linux/netlink.h`, `linux/inet_diag.h`, `linux/tcp.h`). Pure. Numbers are in the byte order of the
//! machine, ports and addresses in network order. A length or a type can have any value.

mod bytes;
mod tcp_info;

use self::bytes::{u8_at, u16_at, u16_be_at, u32_at, u64_at};
use super::{
    address::{Address, Endpoint},
    sockets::{Answers, Connection, Listener, MAX_SOCKETS, Sockets, StreamCounters},
};

/// Whether more messages follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpProgress {
    /// The dump continues in the next datagram.
    More,
    /// The dump has ended.
    Done,
}

/// Why a dump is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiagError {
    /// The kernel reported this error number.
    Errno(i32),
    /// The sockets changed during the dump (`NLM_F_DUMP_INTR`).
    Interrupted,
    /// A message does not follow the format.
    Malformed,
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The older type of request and answer. The kernel walks all TCP sockets of the node once for both address families. With
/// `SOCK_DIAG_BY_FAMILY` it walks them once for each, which is most of the cost.
const TCPDIAG_GETSOCK: u16 = 18;

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_FLAGS: u16 = 0x301;
const NLM_F_DUMP_INTR: u16 = 0x10;

const HEADER_BYTES: usize = 16;
/// With `struct inet_diag_req`. `struct inet_diag_req_v2` belongs to the newer type.
const REQUEST_BYTES: usize = HEADER_BYTES + 60;
const STATES_OFFSET: usize = HEADER_BYTES + 52;
/// Bytes of `struct inet_diag_msg`. Attributes follow.
const SOCKET_BYTES: usize = 72;

const AF_INET: u8 = 2;
/// Also IPv4 connections to IPv6 sockets, with mapped addresses.
const AF_INET6: u8 = 10;
const TCP_ESTABLISHED: u8 = 1;
const TCP_LISTEN: u8 = 10;

/// `struct tcp_info`. The request contains this attribute; Linux 5.9 adds the next one without a request.
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// ID of the root control group. Processes of a pod are never in it. On a node with cgroup v1 every socket has this ID.
const ROOT_CGROUP: u64 = 1;

/// The request for a dump of all TCP sockets in the states LISTEN and ESTABLISHED, with `tcp_info`.
#[must_use]
pub fn request() -> [u8; REQUEST_BYTES] {
    let states = (1_u32 << TCP_ESTABLISHED) | (1 << TCP_LISTEN);
    let mut request = [0; REQUEST_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| request[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST_BYTES as u32).to_ne_bytes());
    put(4, &TCPDIAG_GETSOCK.to_ne_bytes());
    put(6, &REQUEST_FLAGS.to_ne_bytes());
    put(HEADER_BYTES + 3, &[1 << (INET_DIAG_INFO - 1)]);
    put(STATES_OFFSET, &states.to_ne_bytes());
    request
}

/// Adds the sockets of one datagram of a dump to `sockets`.
///
/// # Errors
/// Fails if the kernel reports an error, or if a message does not follow the format.
pub fn parse(mut datagram: &[u8], sockets: &mut Sockets) -> Result<DumpProgress, DiagError> {
    while !datagram.is_empty() {
        let (message, rest) = split_message(datagram).ok_or(DiagError::Malformed)?;
        if read_message(message, sockets)? == DumpProgress::Done {
            return Ok(DumpProgress::Done);
        }
        datagram = rest;
    }
    Ok(DumpProgress::More)
}

/// The first message with its header, and the bytes after it.
fn split_message(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32_at(datagram, 0)? as usize;
    let message = datagram.get(..length).filter(|message| message.len() >= HEADER_BYTES)?;
    Some((message, after_padding(datagram, length)))
}

/// The bytes after `length` bytes and the padding to a multiple of 4. The last message may have no padding.
fn after_padding(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

fn read_message(message: &[u8], sockets: &mut Sockets) -> Result<DumpProgress, DiagError> {
    let (kind, flags) = u16_at(message, 4).zip(u16_at(message, 6)).ok_or(DiagError::Malformed)?;
    if flags & NLM_F_DUMP_INTR != 0 {
        return Err(DiagError::Interrupted);
    }
    let payload = &message[HEADER_BYTES..];
    let errno = || u32_at(payload, 0).map_or(0, |errno| (errno as i32).wrapping_neg());
    match kind {
        NLMSG_ERROR => {
            return Err(if errno() > 0 { DiagError::Errno(errno()) } else { DiagError::Malformed });
        }
        // The error of a dump that failed later is in its last message.
        NLMSG_DONE if errno() > 0 => return Err(DiagError::Errno(errno())),
        NLMSG_DONE => return Ok(DumpProgress::Done),
        TCPDIAG_GETSOCK => read_socket(payload, sockets).ok_or(DiagError::Malformed)?,
        // Messages of other types carry no socket (`NLMSG_NOOP`).
        _ => {}
    }
    Ok(DumpProgress::More)
}

/// Adds the socket of a message; none if the message is too short or has an unknown address family.
fn read_socket(payload: &[u8], sockets: &mut Sockets) -> Option<()> {
    let (family, state) = (u8_at(payload, 0)?, u8_at(payload, 1)?);
    let attributes = Attributes::read(payload.get(SOCKET_BYTES..)?)?;
    let cgroup = attributes.cgroup.filter(|id| *id > ROOT_CGROUP);
    let is_full = sockets.count() >= MAX_SOCKETS;
    match state {
        TCP_LISTEN | TCP_ESTABLISHED if is_full => sockets.is_truncated = true,
        TCP_LISTEN => sockets.listeners.push(Listener { port: u16_be_at(payload, 4)?, cgroup }),
        TCP_ESTABLISHED => sockets.connections.push(Connection {
            identity: u64_at(payload, 44)?,
            local: Endpoint { address: address(payload, 8, family)?, port: u16_be_at(payload, 4)? },
            remote: Endpoint { address: address(payload, 24, family)?, port: u16_be_at(payload, 6)? },
            cgroup,
            answers: attributes.answers.unwrap_or(Answers::Unanswered(u8_at(payload, 3)?.into())),
            stream: attributes.stream,
        }),
        _ => {}
    }
    Some(())
}

fn address(payload: &[u8], offset: usize, family: u8) -> Option<Address> {
    let bytes = payload.get(offset..)?;
    match family {
        AF_INET => bytes.first_chunk().copied().map(Address::v4),
        AF_INET6 => bytes.first_chunk().copied().map(Address::v6),
        _ => None,
    }
}

/// The attributes of a socket that are used.
#[derive(Default)]
struct Attributes {
    cgroup: Option<u64>,
    answers: Option<Answers>,
    stream: Option<StreamCounters>,
}

// === impl Attributes ===

impl Attributes {
    /// Reads a list of attributes; none if a length is wrong.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut attributes = Self::default();
        while !bytes.is_empty() {
            let length = usize::from(u16_at(bytes, 0)?);
            let value = bytes.get(4..length)?;
            match u16_at(bytes, 2)? {
                INET_DIAG_CGROUP_ID => attributes.cgroup = u64_at(value, 0),
                INET_DIAG_INFO => {
                    attributes.answers = tcp_info::answers(value);
                    attributes.stream = tcp_info::stream(value);
                }
                _ => {}
            }
            bytes = after_padding(bytes, length);
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests;
