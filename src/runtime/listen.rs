//! Binding before anything is spawned: a port conflict fails at start-up, and the real address is known.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// The address that could not be listened on, and why.
#[derive(Debug)]
pub struct Error {
    address: SocketAddr,
    cause: io::Error,
}

/// Listens on `address`, non-blocking. `[::]` means every address of the machine: where IPv6 is switched off it falls
/// back to `0.0.0.0`.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).or_else(|cause| match fallback(address, &cause) {
        Some(ipv4) => TcpListener::bind(ipv4),
        None => Err(cause),
    });
    listener
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|cause| Error { address, cause })
}

fn fallback(address: SocketAddr, cause: &io::Error) -> Option<SocketAddr> {
    // EAFNOSUPPORT where the kernel has no IPv6, EADDRNOTAVAIL where it is disabled by sysctl.
    let no_ipv6 = cause.kind() == io::ErrorKind::AddrNotAvailable || cause.raw_os_error() == Some(97);
    (no_ipv6 && address.is_ipv6() && address.ip().is_unspecified())
        .then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

// === impl Error ===

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
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
