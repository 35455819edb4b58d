//! Where sources and pushes may not connect to: the plan of a pod refuses what only the cluster itself should reach, so that a manifest
//! cannot make an agent read it (server-side request forgery). Looks names up, and must not connect anywhere.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::timeout;

use crate::plan::unit::SourceGuard;

/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// What the plan in force refuses; nothing until one does.
#[derive(Debug, Default)]
pub struct Guard {
    refused: RwLock<Option<Arc<Vec<IpNet>>>>,
}

impl Guard {
    /// Puts a plan's rules in force. When one of them cannot be read, all is refused until it is put right.
    pub fn set(&self, rules: Option<&SourceGuard>) {
        let networks = rules.map(|rules| {
            let networks: Option<Vec<IpNet>> = rules.refused.iter().map(|text| network(text)).collect();
            Arc::new(networks.unwrap_or_else(|| {
                let refused = &rules.refused;
                tracing::error!(
                    "guard.refused must hold IP addresses and networks, such as 10.96.0.1 and 10.96.0.0/12: {refused:?}; \
                     no source may connect anywhere"
                );
                ["0.0.0.0/0", "::/0"].iter().filter_map(|all| network(all)).collect()
            }))
        });
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// Whether there are rules.
    pub fn is_set(&self) -> bool {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Looks a host up and sees that a source or a push may connect to all of its addresses. FFmpeg looks it up again: a name whose
    /// answer changes in between is not caught here, but by the pod's network policy. What this program connects to itself is asked
    /// once more ([`Self::allows`]).
    ///
    /// # Errors
    /// One sentence that says which address is refused, or that there is none.
    pub async fn look_up(&self, host: &str) -> Result<(), String> {
        if !self.is_set() {
            return Ok(());
        }
        let found = timeout(LOOK_UP, tokio::net::lookup_host((host, 0))).await;
        let addresses = match found {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(format!("the name {host} cannot be looked up: {error}")),
            Err(_) => return Err(format!("the name {host} cannot be looked up: no answer within {LOOK_UP:?}")),
        };
        for address in addresses {
            let address = address.ip();
            if !self.allows(address) {
                return Err(format!(
                    "{host} is {address}, and what a cluster connects to may not be on the pod itself, its node's link or the \
                     API server; write the address that it has in its own network"
                ));
            }
        }
        Ok(())
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
        guard.set(Some(&SourceGuard { refused: vec!["10.96.0.1".into(), "fd00::/64".into()] }));
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
        guard.set(Some(&SourceGuard { refused: vec!["rubbish".into()] }));
        assert!(!allows("192.0.2.10") && !allows("2001:db8::1"), "what cannot be read allows nothing");
        guard.set(None);
        assert!(allows("::1"));
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let guard = Guard::default();
        assert_eq!(guard.look_up("localhost").await, Ok(()));
        guard.set(Some(&SourceGuard { refused: Vec::new() }));
        let refused = guard.look_up("localhost").await.unwrap_err();
        assert!(refused.contains("localhost is ") && refused.contains("write the address"), "{refused}");
        assert!(guard.look_up("::1").await.is_err());
        assert_eq!(guard.look_up("192.0.2.10").await, Ok(()));
    }
}
