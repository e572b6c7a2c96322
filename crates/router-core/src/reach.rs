//! Which addresses a provider's host may have: a policy must not make the router speak to what only the router can reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What operators let policies reach beyond the public Internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach(Vec<Allowed>);

/// One thing that is let.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// All addresses that begin with these bits.
    Range(IpAddr, u8),
    /// A host of this name, at whatever address but link-local ones and those of the cloud's own services.
    Host(String),
    /// All hosts whose names end in this, a dot at its front, at the same addresses.
    Below(String),
}

/// Why a text is no [`Allowed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAllowed(String);

impl fmt::Display for BadAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither a range such as 10.0.0.0/8, nor an address, nor a host, nor *.domain", self.0)
    }
}

impl std::error::Error for BadAllowed {}

impl FromStr for Allowed {
    type Err = BadAllowed;

    fn from_str(text: &str) -> Result<Self, BadAllowed> {
        let bad = || BadAllowed(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = length.map_or(Ok(most), |length| length.parse().map_err(|_| bad()))?;
            return if length <= most { Ok(Self::Range(address, length)) } else { Err(bad()) };
        }
        let (domain, below) = text.strip_prefix("*.").map_or((text, false), |domain| (domain, true));
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        // What ends in a number is an address that is written wrongly.
        let named = domain.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()));
        if !named || !domain.bytes().all(fits) || domain.starts_with('.') {
            return Err(bad());
        }
        let domain = domain.to_ascii_lowercase();
        Ok(if below { Self::Below(format!(".{domain}")) } else { Self::Host(domain) })
    }
}

impl Reach {
    /// All of these, and the public Internet.
    #[must_use]
    pub fn new(allowed: Vec<Allowed>) -> Self {
        Self(allowed)
    }

    /// Whether the host or the address is let by name.
    #[must_use]
    pub fn lets(&self, host: &str, address: IpAddr) -> bool {
        // Who owns a name, or one Service below a domain, says what address it has. Credentials of the machine are not his to reach.
        let by_name = || self.names(host) && special(address).is_none_or(|what| what != LINK_LOCAL && what != CLOUD);
        self.covers(address) || by_name()
    }

    fn names(&self, host: &str) -> bool {
        self.0.iter().any(|allowed| match allowed {
            Allowed::Range(..) => false,
            Allowed::Host(name) => name == host,
            Allowed::Below(end) => host.ends_with(end.as_str()),
        })
    }

    /// Why `host` must not be connected to at `address`; `None` when it may.
    #[must_use]
    pub fn forbids(&self, host: &str, address: IpAddr) -> Option<&'static str> {
        if self.lets(host, address) {
            return None;
        }
        special(address)
    }

    /// Why a Service of a policy's own namespace must not be connected to at `address`: its addresses are the cluster's own, but
    /// it can be made to name any.
    #[must_use]
    pub fn forbids_service(&self, address: IpAddr) -> Option<&'static str> {
        if self.covers(address) {
            return None;
        }
        special(address).filter(|what| *what != PRIVATE)
    }

    fn covers(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.0.iter().any(|allowed| match allowed {
            Allowed::Range(range, length) => within(address, plain(*range), *length),
            Allowed::Host(_) | Allowed::Below(_) => false,
        })
    }
}

const PRIVATE: &str = "a private address";
const LINK_LOCAL: &str = "a link-local address";
const CLOUD: &str = "an address of the cloud's own services";

/// The kinds of addresses that are not public, and what they are called.
const SPECIAL: [(&str, u8, &str); 31] = [
    ("0.0.0.0", 8, "an address of this host"),
    ("10.0.0.0", 8, PRIVATE),
    ("100.64.0.0", 10, PRIVATE),
    ("127.0.0.0", 8, "a loopback address"),
    ("169.254.0.0", 16, LINK_LOCAL),
    ("172.16.0.0", 12, PRIVATE),
    ("192.0.0.0", 24, "a reserved address"),
    ("192.0.2.0", 24, "a reserved address"),
    ("192.88.99.0", 24, "a reserved address"),
    ("192.168.0.0", 16, PRIVATE),
    ("198.18.0.0", 15, "a reserved address"),
    ("198.51.100.0", 24, "a reserved address"),
    ("203.0.113.0", 24, "a reserved address"),
    // Azure's metadata and DNS, and Alibaba's metadata, lie among public addresses.
    ("168.63.129.16", 32, CLOUD),
    ("100.100.100.200", 32, CLOUD),
    ("224.0.0.0", 4, "a multicast address"),
    ("240.0.0.0", 4, "a reserved address"),
    ("::", 128, "an address of this host"),
    ("::1", 128, "a loopback address"),
    // EC2's metadata lies among private addresses.
    ("fd00:ec2::", 32, CLOUD),
    ("fd20:ce::254", 128, CLOUD),
    ("fc00::", 7, PRIVATE),
    ("fe80::", 10, LINK_LOCAL),
    ("fec0::", 10, PRIVATE),
    ("ff00::", 8, "a multicast address"),
    ("100::", 64, "a reserved address"),
    // A network's own NAT64: where in it the IPv4 address stands is the network's choice.
    ("64:ff9b:1::", 48, "a reserved address"),
    ("2001::", 23, "a reserved address"),
    ("2001:db8::", 32, "a reserved address"),
    ("3fff::", 20, "a reserved address"),
    ("5f00::", 16, "a reserved address"),
];

/// What kind of address it is, if it is not public. The narrower range says more than the one that it lies in.
fn special(address: IpAddr) -> Option<&'static str> {
    let address = plain(address);
    let matching = SPECIAL
        .iter()
        .filter(|(range, length, _)| range.parse::<IpAddr>().is_ok_and(|range| within(address, range, *length)));
    matching.max_by_key(|(_, length, _)| *length).map(|(_, _, what)| *what)
}

/// The IPv4 address that an IPv6 address stands for, in any of the ways in which one can.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let tail = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Mapped, and translated by NAT64 with its well-known prefix.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4 carries it in front.
        | [0x2002, high, low, ..] => tail(high, low),
        // Compatible, an old form; `::` and `::1` are none.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => tail(high, low),
        _ => address,
    }
}

fn within(address: IpAddr, range: IpAddr, length: u8) -> bool {
    let length = u32::from(length);
    match (address, range) {
        (IpAddr::V4(address), IpAddr::V4(range)) => {
            length == 0 || (address.to_bits() ^ range.to_bits()).checked_shr(32 - length) == Some(0)
        }
        (IpAddr::V6(address), IpAddr::V6(range)) => v6_within(address, range, length),
        _ => false,
    }
}

fn v6_within(address: Ipv6Addr, range: Ipv6Addr, length: u32) -> bool {
    length == 0 || (address.to_bits() ^ range.to_bits()).checked_shr(128 - length) == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allowed: &[&str]) -> Reach {
        Reach::new(allowed.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn only_public_addresses_by_default() {
        let public = [
            "1.1.1.1",
            "104.18.7.192",
            "172.15.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ];
        for address in public {
            assert_eq!(Reach::default().forbids("a.example", address.parse().unwrap()), None, "{address}");
        }
        let hidden = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::7f00:1",
            // 169.254.169.254 as RFC 6052 has it behind a prefix of 48 bits, with a public address where others look.
            "64:ff9b:1:a9fe:a9:fe00:101:101",
            "2002:7f00:1::",
            "fd00:ec2::254",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
        ];
        for address in hidden {
            assert!(Reach::default().forbids("a.example", address.parse().unwrap()).is_some(), "{address}");
        }
        let metadata = Reach::default().forbids("a.example", "fd00:ec2::254".parse().unwrap());
        assert_eq!(metadata, Some("an address of the cloud's own services"));
    }

    #[test]
    fn what_is_named_may_be_reached() {
        let reach = reach(&["10.0.0.0/8", "fd12::/16", "192.168.1.7", "ollama.ml.svc", "*.Corp.example"]);
        let cases = [
            ("a", "10.255.0.1", true),
            ("a", "11.0.0.1", true),
            ("a", "::ffff:10.0.0.1", true),
            ("a", "fd12::5", true),
            ("a", "fd13::5", false),
            ("a", "192.168.1.7", true),
            ("a", "192.168.1.8", false),
            ("a", "127.0.0.1", false),
            ("ollama.ml.svc", "172.16.0.1", true),
            ("x.ollama.ml.svc", "172.16.0.1", false),
            ("ollama.ml.svc.evil.example", "172.16.0.1", false),
            ("llm.corp.example", "172.16.0.1", true),
            ("corp.example", "172.16.0.1", false),
            ("evilcorp.example", "172.16.0.1", false),
            // What stands behind a name is up to whoever owns it.
            ("ollama.ml.svc", "127.0.0.1", true),
            ("ollama.ml.svc", "169.254.169.254", false),
            ("ollama.ml.svc", "::ffff:169.254.169.254", false),
            ("llm.corp.example", "fe80::1", false),
            ("llm.corp.example", "fd00:ec2::254", false),
            ("llm.corp.example", "100.100.100.200", false),
        ];
        for (host, address, may) in cases {
            assert_eq!(reach.forbids(host, address.parse().unwrap()).is_none(), may, "{host} {address}");
        }
    }

    #[test]
    fn services_may_have_the_addresses_of_a_cluster_and_no_others() {
        for (address, may) in [
            ("10.1.2.3", true),
            ("fd12::1", true),
            ("1.1.1.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("fd00:ec2::254", false),
            ("::1", false),
        ] {
            assert_eq!(Reach::default().forbids_service(address.parse().unwrap()).is_none(), may, "{address}");
        }
    }

    #[test]
    fn refuses_what_is_written_wrongly() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/x",
            "10.0.0",
            "10.0.0.300",
            "*",
            "*.",
            "a b",
            "a/8",
            ".a",
            "http://a",
            "a:80",
        ] {
            assert!(text.parse::<Allowed>().is_err(), "{text:?}");
        }
    }
}
