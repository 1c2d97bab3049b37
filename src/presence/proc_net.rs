//! The files of `/proc/net`: `tcp`, `tcp6`, `udp`, `udp6`, `snmp` and `snmp6`. Pure. Every file has a header line. A line that does not
//! follow the format is an error, because a missing socket would be a missing viewer.

use super::{
    address::{Address, Endpoint},
    sockets::{Answers, Connection, Listener, MAX_SOCKETS, Sockets},
};

/// A line or a value that does not follow the format. The line is not kept, because it has addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedLine;

/// States of `include/net/tcp_states.h` in hexadecimal.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// Adds the sockets of `/proc/net/tcp` or `/proc/net/tcp6`. The identity of a connection is its inode.
///
/// # Errors
/// Fails if a line does not follow the format.
pub fn add_tcp(text: &str, sockets: &mut Sockets) -> Result<(), MalformedLine> {
    for line in text.lines().skip(1) {
        let socket = SocketLine::read(line).ok_or(MalformedLine)?;
        let is_full = sockets.count() >= 2 * MAX_SOCKETS;
        match socket.state {
            LISTEN | ESTABLISHED if is_full => sockets.is_truncated = true,
            LISTEN => sockets.listeners.push(Listener { port: socket.local.port, cgroup: None }),
            ESTABLISHED => sockets.connections.push(socket.connection()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a socket of `/proc/net/udp` or `/proc/net/udp6` can serve viewers. Such a socket is not connected and reachable from outside
/// the pod. A desktop's DHCP client and mDNS responder have such sockets too, and no viewers.
///
/// # Errors
/// Fails if a line does not follow the format.
pub fn has_udp_server(text: &str) -> Result<bool, MalformedLine> {
    /// DHCP client (RFC 2131) and mDNS (RFC 6762).
    const OTHER_SERVICES: [u16; 2] = [68, 5353];

    let mut has_server = false;
    for line in text.lines().skip(1) {
        let SocketLine { local, remote, .. } = SocketLine::read(line).ok_or(MalformedLine)?;
        let is_connected = remote.port != 0 || !remote.address.is_unspecified();
        has_server |= !is_connected && !local.address.is_loopback() && !OTHER_SERVICES.contains(&local.port);
    }
    Ok(has_server)
}

/// A value of `/proc/net/snmp`: a line with names follows the name of the protocol, then a line with the values. None if the file does
/// not have the value.
#[must_use]
pub fn snmp_value(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let position = lines.next()?.split(' ').position(|it| it == name)?;
    lines.next()?.split(' ').nth(position)?.parse().ok()
}

/// A value of `/proc/net/snmp6`: each line has a name and a value. None if the file does not have the value.
#[must_use]
pub fn snmp6_value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The columns of a line that are used.
struct SocketLine<'t> {
    local: Endpoint,
    remote: Endpoint,
    state: &'t str,
    retransmits: u32,
    probes: u32,
    inode: u64,
}

// === impl SocketLine ===

impl<'t> SocketLine<'t> {
    /// Reads the columns of `Documentation/networking/proc_net_tcp.rst`: number, local and remote end, state, queues, timer,
    /// retransmissions, user, unanswered probes, inode.
    fn read(line: &'t str) -> Option<Self> {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (endpoint(columns.next()?)?, endpoint(columns.next()?)?);
        let state = columns.next()?;
        let retransmits = columns.nth(2)?;
        Some(Self {
            local,
            remote,
            state,
            retransmits: u32::from_str_radix(retransmits, 16).ok()?,
            probes: columns.nth(1)?.parse().ok()?,
            inode: columns.next()?.parse().ok()?,
        })
    }

    fn connection(&self) -> Connection {
        Connection {
            identity: self.inode,
            local: self.local,
            remote: self.remote,
            cgroup: None,
            answers: Answers::Unanswered(self.retransmits.max(self.probes)),
            stream: None,
        }
    }
}

/// An address and a port in hexadecimal. The address is printed as 32-bit numbers in the byte order of the machine.
fn endpoint(text: &str) -> Option<Endpoint> {
    let (address, port) = text.split_once(':')?;
    let word = |index: usize| {
        let digits = address.get(8 * index..8 * index + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => Address::v4(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            Address::v6(bytes)
        }
        _ => return None,
    };
    Some(Endpoint { address, port: u16::from_str_radix(port, 16).ok()? })
}

#[cfg(test)]
mod tests;
