//! Values of `inet` and `cidr` as addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pgrx::pg_sys;

use crate::pg::datum;

/// The families of `utils/inet.h`: that of IPv4 has the number that the system gives it, and IPv6 the next one.
const IPV4: u8 = 2;
const IPV6: u8 = 3;

/// The address of an `inet`, without its netmask. An IPv4 address within IPv6 is the IPv4 address.
///
/// # Safety
/// `datum` must be an `inet` or a `cidr`.
pub unsafe fn address(datum: pg_sys::Datum) -> Option<IpAddr> {
    // SAFETY: the caller guarantees the type. Like a `text` it is a header with its length, and bytes.
    read(unsafe { datum::text_bytes(datum) }).map(|(address, _)| address.to_canonical())
}

/// The address in the bytes of an `inet`, and the bits of its netmask.
fn read(bytes: &[u8]) -> Option<(IpAddr, u32)> {
    let [family, bits, bytes @ ..] = bytes else { return None };
    let address = match *family {
        IPV4 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        IPV6 => IpAddr::V6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
        _ => return None,
    };
    Some((address, u32::from(*bits)))
}

/// A network: all addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// The network in the bytes of a `cidr`.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (address, bits) = read(bytes)?;
        // IPv4 addresses within IPv6 have 96 bits before them.
        Some(match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(inner)) if bits >= 96 => {
                Network { address: IpAddr::V4(inner), bits: bits - 96 }
            }
            _ => Network { address, bits },
        })
    }

    /// Whether an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a `cidr` that shows as this text.
    fn cidr(address: &str, bits: u8) -> Vec<u8> {
        match address.parse::<IpAddr>().unwrap() {
            IpAddr::V4(address) => [&[IPV4, bits], &address.octets()[..]].concat(),
            IpAddr::V6(address) => [&[IPV6, bits], &address.octets()[..]].concat(),
        }
    }

    #[test]
    fn a_network_has_the_addresses_with_its_bits() {
        for (network, bits, inside, outside) in [
            ("10.0.0.0", 8, "10.255.0.1", "11.0.0.0"),
            ("192.168.1.5", 32, "192.168.1.5", "192.168.1.4"),
            ("2001:db8::", 32, "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", 128, "::1", "::2"),
            ("::ffff:10.0.0.0", 104, "10.1.2.3", "11.0.0.0"),
            ("0.0.0.0", 0, "255.255.255.255", "::1"),
        ] {
            let found = Network::of(&cidr(network, bits)).unwrap();
            assert!(found.contains(inside.parse().unwrap()), "{network}");
            assert!(!found.contains(outside.parse().unwrap()), "{network}");
        }
        assert_eq!(Network::of(&[]), None);
        assert_eq!(Network::of(&[IPV4, 8, 10]), None);
    }
}
