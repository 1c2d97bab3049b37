//! Binds listeners. The server binds them before it starts any task, so that an address in use is an error of the start.

use std::{
    error::Error,
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// A listener that could not be bound.
#[derive(Debug)]
pub struct ListenError {
    address: SocketAddr,
    cause: io::Error,
}

/// Binds a non-blocking listener. `[::]` listens on all addresses of the machine. If the machine has no IPv6, `[::]` falls back
/// to `0.0.0.0`.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listener = TcpListener::bind(address).or_else(|cause| match fallback(address, &cause) {
        Some(ipv4) => TcpListener::bind(ipv4),
        None => Err(cause),
    });
    listener
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|cause| ListenError { address, cause })
}

/// The IPv4 address to bind instead; none if the cause is not a missing IPv6.
fn fallback(address: SocketAddr, cause: &io::Error) -> Option<SocketAddr> {
    // The error is EAFNOSUPPORT (97) if the kernel has no IPv6, EADDRNOTAVAIL if a sysctl disables IPv6.
    let no_ipv6 = cause.kind() == io::ErrorKind::AddrNotAvailable || cause.raw_os_error() == Some(97);
    (no_ipv6 && address.is_ipv6() && address.ip().is_unspecified())
        .then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

/// Logs the address of a listener.
///
/// # Errors
/// Fails if the system does not return the address of the socket.
pub fn announce(server: &str, listener: &TcpListener) -> io::Result<()> {
    tracing::info!(server, address = %listener.local_addr()?, "Listening");
    Ok(())
}

// === impl ListenError ===

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}", self.address)
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_address_in_use() {
        let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
        assert!(error.source().is_some());
    }

    #[test]
    fn only_the_unspecified_ipv6_address_falls_back() {
        let cause = io::Error::from_raw_os_error(97);
        let to = |text: &str| fallback(text.parse().unwrap(), &cause).map(|a| a.to_string());
        assert_eq!(to("[::]:9478").as_deref(), Some("0.0.0.0:9478"));
        assert_eq!(to("[::1]:9478"), None);
        assert_eq!(to("127.0.0.1:9478"), None);
    }
}
