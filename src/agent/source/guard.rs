//! Where sources may not connect to: the plan of a pod refuses what only the cluster itself should reach, so that a manifest
//! cannot make an agent read it (server-side request forgery). Must not connect anywhere.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;

use crate::plan::unit::SourceGuard;

/// What the plan in force refuses; nothing until one does.
#[derive(Debug, Default)]
pub struct Guard {
    refused: RwLock<Option<Arc<Vec<IpNet>>>>,
}

impl Guard {
    /// Puts a plan's rules in force. What is neither an address nor a network is told and left out.
    pub fn set(&self, rules: Option<&SourceGuard>) {
        let networks = rules.map(|rules| {
            let read = |text: &String| match network(text) {
                Some(network) => Some(network),
                None => {
                    tracing::error!(
                        "guard.refused: {text} is neither an IP address nor a network; write 10.96.0.1 or 10.96.0.0/12"
                    );
                    None
                }
            };
            Arc::new(rules.refused.iter().filter_map(read).collect())
        });
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// Whether a source may connect to an address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(networks) = refused else { return true };
        let address = embedded(address);
        !is_internal(address) && !networks.iter().any(|network| network.contains(&address))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The IPv4 address that an IPv6 one only wraps: mapped (RFC 4291 §2.5.5.2) or behind NAT64 (RFC 6052 §2.1).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    match v6.octets() {
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::V6(v6),
    }
}

/// What is never a camera's address, seen from a pod: its own, the node's link (cloud metadata is there), nobody's, many.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // 0.0.0.0/8 is "this host" (RFC 1122 §3.2.1.3).
            v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            v6 == Ipv6Addr::UNSPECIFIED || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_cluster_should_reach_is_refused_under_every_name() {
        let guard = Guard::default();
        let allows = |text: &str| guard.allows(text.parse().unwrap());
        assert!(allows("127.0.0.1"), "without rules, as in run");
        guard.set(Some(&SourceGuard { refused: vec!["10.96.0.1".into(), "fd00::/64".into(), "rubbish".into()] }));
        for refused in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "10.96.0.1",
            "::ffff:10.96.0.1",
            "fd00::7",
        ] {
            assert!(!allows(refused), "{refused}");
        }
        for allowed in ["192.0.2.10", "10.96.0.2", "192.168.1.20", "2001:db8::1", "fd01::7"] {
            assert!(allows(allowed), "{allowed}");
        }
        guard.set(None);
        assert!(allows("::1"));
    }
}
