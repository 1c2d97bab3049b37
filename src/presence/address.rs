//! Addresses of sockets. They are personal data, so their `Debug` form does not contain the address. Pure.

use std::fmt;

/// An IPv6 address, or an IPv4 address in its mapped form (`::ffff:a.b.c.d`). One form for both: the connection of an IPv4 client
/// to an IPv6 socket has the mapped form in every source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The TCP or UDP port.
    pub port: u16,
}

/// Bytes before an IPv4 address in the mapped form.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Source address of the connections that Istio's proxy opens to the container (`InboundPassthroughBindIpv4` and `Ipv6` in
/// `istio/istio: pilot/pkg/networking/core/cluster.go`).
const ISTIO_INBOUND: [Address; 2] = [Address::v4([127, 0, 0, 6]), Address::v6(6_u128.to_be_bytes())];

// === impl Address ===

impl Address {
    /// An IPv6 address from its bytes in network order.
    #[must_use]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// An IPv4 address from its bytes in network order.
    #[must_use]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        let mut address = [0; 16];
        let mut index = 0;
        while index < 16 {
            address[index] = if index < 12 { MAPPED[index] } else { bytes[index - 12] };
            index += 1;
        }
        Self(address)
    }

    /// Whether the address is a loopback address: `127.0.0.0/8` or `::1`.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        match self.as_v4() {
            Some(v4) => v4[0] == 127,
            None => self.0 == 1_u128.to_be_bytes(),
        }
    }

    /// Whether the address is `0.0.0.0` or `::`.
    #[must_use]
    pub fn is_unspecified(self) -> bool {
        self == Self::v4([0; 4]) || self.0 == [0; 16]
    }

    /// Whether Istio's proxy uses the address for connections that come from outside the pod.
    #[must_use]
    pub fn is_istio_inbound(self) -> bool {
        ISTIO_INBOUND.contains(&self)
    }

    fn as_v4(self) -> Option<[u8; 4]> {
        self.0.strip_prefix(&MAPPED)?.try_into().ok()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_have_loopback_and_unspecified_addresses() {
        let v6 = |last: u128| Address::v6(last.to_be_bytes());
        assert!(
            [Address::v4([127, 0, 0, 1]), Address::v4([127, 9, 9, 9]), v6(1)]
                .iter()
                .all(|it| it.is_loopback())
        );
        assert!(
            [Address::v4([10, 0, 0, 1]), v6(2), v6(0), Address::v4([0; 4])]
                .iter()
                .all(|it| !it.is_loopback())
        );
        assert!([Address::v4([0; 4]), v6(0)].iter().all(|it| it.is_unspecified()));
        assert!(!v6(1).is_unspecified() && !Address::v4([127, 0, 0, 1]).is_unspecified());
        assert!(
            Address::v4([127, 0, 0, 6]).is_istio_inbound() && !Address::v4([127, 0, 0, 1]).is_istio_inbound()
        );
        assert!(v6(6).is_istio_inbound() && !v6(1).is_istio_inbound());
    }

    #[test]
    fn an_address_has_no_readable_form() {
        let endpoint = Endpoint { address: Address::v4([203, 0, 113, 9]), port: 443 };
        assert_eq!(format!("{endpoint:?}"), "Endpoint { address: Address, port: 443 }");
    }
}
