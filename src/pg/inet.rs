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
    match *unsafe { datum::text_bytes(datum) } {
        [IPV4, _bits, ref bytes @ ..] => {
            bytes.first_chunk::<4>().map(|bytes| IpAddr::V4(Ipv4Addr::from(*bytes)))
        }
        [IPV6, _bits, ref bytes @ ..] => {
            bytes.first_chunk::<16>().map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical())
        }
        _ => None,
    }
}

/// A network: all addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// The network that a `cidr` shows as this text.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
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

    #[test]
    fn a_network_has_the_addresses_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.1.5/32", "192.168.1.5", "192.168.1.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1/128", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?}");
        }
        assert_eq!(Network::parse("10.0.0.0"), None);
    }
}
