//! What a permit opens: addresses and ports, and names as the addresses that they have now.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use cmdop_contract::effect::{Effect, Target};
use cmdop_contract::v1::{EffectKind, PermittedEffect, Reason};

use crate::Error;

/// How long the machine's resolver may take for all names of a permit.
const RESOLVE: Duration = Duration::from_secs(10);
/// Names that one permit may hold.
const MAX_NAMES: usize = 64;

/// The contacts of a permit.
#[derive(Debug, Default)]
pub(super) struct Rules {
    permitted: Vec<Effect>,
    /// Every permitted name with its addresses.
    names: BTreeMap<String, Vec<IpAddr>>,
    /// Nobody may contact these, whatever is permitted.
    servers: Vec<SocketAddr>,
}

/// Why an address may be contacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Which effects of the permit cover it.
    pub(super) by: Vec<usize>,
    /// What is observed: the name if that is what was permitted, else the address.
    pub(super) target: String,
    pub(super) name: String,
}

impl Rules {
    /// Reads the contacts of a permit and resolves its names with the machine's resolver.
    ///
    /// # Errors
    /// INVALID_EFFECT if there are too many names; HOST_ERROR if the resolver takes too long.
    pub(super) async fn of(effects: &[PermittedEffect], servers: &[SocketAddr]) -> Result<Self, Error> {
        // What does not parse permits nothing.
        let contacts = effects.iter().filter(|effect| effect.kind() == EffectKind::NetConnect);
        let permitted: Vec<Effect> = contacts.filter_map(|effect| Effect::try_from(effect).ok()).collect();
        let mut names: BTreeMap<String, Vec<IpAddr>> =
            permitted.iter().filter_map(name_of).map(|name| (name.to_owned(), Vec::new())).collect();
        if names.len() > MAX_NAMES {
            let message = format!("a call may name at most {MAX_NAMES} hosts to contact; it names {}", names.len());
            return Err(Error::fix(Reason::InvalidEffect, message, "/expect", "fewer names, or a block of addresses"));
        }
        let resolving = async {
            for (name, addresses) in &mut names {
                *addresses = resolve(name).await;
            }
        };
        if tokio::time::timeout(RESOLVE, resolving).await.is_err() {
            let message = "the host's resolver did not answer in time for the names that the call may contact";
            return Err(Error::later(Reason::HostError, message));
        }
        Ok(Self { permitted, names, servers: servers.to_vec() })
    }

    /// May this address be contacted, by itself or as one that a permitted name has?
    pub(super) fn allow(&self, address: SocketAddr) -> Option<Allowed> {
        if self.servers.iter().any(|server| is_of(*server, address)) {
            return None;
        }
        let place = literal(address);
        let covering = |text: &str| -> Vec<usize> {
            let Ok(target) = Target::parse(EffectKind::NetConnect, text, &Default::default()) else {
                return Vec::new();
            };
            let covers = |at: &usize| self.permitted[*at].covers(EffectKind::NetConnect, &target);
            (0..self.permitted.len()).filter(covers).collect()
        };
        let known = self.names.iter().filter(|(_, addresses)| addresses.contains(&address.ip()));
        let named = known.filter_map(|(name, _)| {
            let target = format!("{name}:{}", address.port());
            // A permit for every host says nothing about a name.
            let by: Vec<_> =
                covering(&target).into_iter().filter(|at| name_of(&self.permitted[*at]) == Some(name)).collect();
            (!by.is_empty()).then(|| Allowed { by, target, name: name.clone() })
        });
        let mut named = named;
        named.next().or_else(|| {
            let by = covering(&place);
            (!by.is_empty()).then(|| Allowed { by, target: place, name: String::new() })
        })
    }

    /// How often each effect of the permit may happen.
    pub(super) fn room(&self) -> Vec<Option<u64>> {
        self.permitted.iter().map(|effect| effect.max_count.map(u64::from)).collect()
    }

    /// `/etc/hosts` of the view: the names that are permitted, and nobody else.
    pub(super) fn hosts(&self) -> String {
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (name, addresses) in self.names.iter().filter(|(name, _)| *name != "localhost") {
            text.extend(addresses.iter().map(|address| format!("{address} {name}\n")));
        }
        text
    }
}

/// Where this host's server listens: it does what it is told by whoever reaches it, so a command that does could
/// approve itself.
pub(crate) fn servers(address: &str) -> Vec<SocketAddr> {
    let found = std::net::ToSocketAddrs::to_socket_addrs(address);
    found.into_iter().flatten().map(|found| SocketAddr::new(canonical(found.ip()), found.port())).collect()
}

/// The loopback has many addresses, and a server may listen on all of them.
fn is_of(server: SocketAddr, address: SocketAddr) -> bool {
    let is_same_machine = server.ip().is_loopback() && address.ip().is_loopback();
    server.port() == address.port() && (server.ip() == address.ip() || is_same_machine)
}

/// The name that an effect permits, if it is one of a name.
fn name_of(effect: &Effect) -> Option<&str> {
    match &effect.target {
        Target::Endpoint(endpoint) => endpoint.name(),
        _ => None,
    }
}

/// All addresses of a name; none if it has none, which then permits nothing.
async fn resolve(name: &str) -> Vec<IpAddr> {
    let found = match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(name, %error, "a permitted name has no address");
            return Vec::new();
        }
    };
    let mut addresses: Vec<IpAddr> = found.map(|address| canonical(address.ip())).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The address that is reached: one of IPv4 in IPv6 form is one of IPv4, and the unspecified one is
/// the loopback (ip(7)).
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// An address and port in the grammar of targets.
pub(super) fn literal(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(targets: &[(&str, Option<u32>)], names: &[(&str, &[&str])]) -> Rules {
        let effects = targets.iter().map(|(target, max_count)| PermittedEffect {
            kind: EffectKind::NetConnect.into(),
            target: (*target).into(),
            max_count: *max_count,
        });
        let address = |text: &&str| text.parse().expect("an address");
        Rules {
            permitted: effects.map(|effect| Effect::try_from(&effect).expect("an effect")).collect(),
            names: names.iter().map(|(name, all)| ((*name).into(), all.iter().map(address).collect())).collect(),
            servers: Vec::new(),
        }
    }

    fn target(rules: &Rules, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().expect("an address");
        rules.allow(SocketAddr::new(canonical(address.ip()), address.port())).map(|allowed| allowed.target)
    }

    #[test]
    fn a_name_permits_its_addresses_at_its_ports_and_no_other() {
        let rules = rules(&[("db.test:5432", None)], &[("db.test", &["10.0.0.1", "fd00::1"])]);
        assert_eq!(target(&rules, "10.0.0.1:5432").as_deref(), Some("db.test:5432"));
        assert_eq!(target(&rules, "[fd00::1]:5432").as_deref(), Some("db.test:5432"));
        assert_eq!(target(&rules, "[::ffff:10.0.0.1]:5432").as_deref(), Some("db.test:5432"));
        for other in ["10.0.0.1:80", "10.0.0.2:5432", "[::1]:5432", "0.0.0.0:5432"] {
            assert_eq!(target(&rules, other), None, "{other}");
        }
    }

    #[test]
    fn blocks_and_ranges_permit_what_lies_in_them() {
        let rules = rules(&[("10.0.0.0/8:80-90", None), ("127.0.0.1:9", None), ("[fd00::]/16:1", None)], &[]);
        assert_eq!(target(&rules, "10.9.8.7:85").as_deref(), Some("10.9.8.7:85"));
        assert_eq!(target(&rules, "[fd00::7]:1").as_deref(), Some("[fd00::7]:1"));
        // The unspecified address is another name of the loopback, so it needs that permit.
        assert_eq!(target(&rules, "0.0.0.0:9").as_deref(), Some("127.0.0.1:9"));
        for other in ["11.0.0.1:85", "10.9.8.7:91", "[fd01::7]:1", "[::ffff:11.0.0.1]:85"] {
            assert_eq!(target(&rules, other), None, "{other}");
        }
    }

    #[test]
    fn no_permit_opens_the_hosts_own_server() {
        let permits = [("*:*", None), ("127.0.0.1:7717", None), ("localhost:7717", None), ("10.0.0.0/8:7717", None)];
        let mut rules = rules(&permits, &[("localhost", &["127.0.0.1", "::1"])]);
        rules.servers = servers("127.0.0.1:7717");
        for server in ["127.0.0.1:7717", "127.0.0.2:7717", "0.0.0.0:7717", "[::ffff:127.0.0.1]:7717", "[::1]:7717"] {
            assert_eq!(target(&rules, server), None, "{server}");
        }
        assert_eq!(target(&rules, "127.0.0.1:7718").as_deref(), Some("127.0.0.1:7718"));
        assert_eq!(target(&rules, "10.0.0.1:7717").as_deref(), Some("10.0.0.1:7717"));
        rules.servers = servers("10.0.0.1:7717");
        assert_eq!(target(&rules, "10.0.0.1:7717"), None);
        assert_eq!(target(&rules, "127.0.0.1:7717").as_deref(), Some("localhost:7717"));
    }

    #[test]
    fn the_views_hosts_are_the_permitted_ones() {
        let rules = rules(&[("db.test:1", None)], &[("db.test", &["10.0.0.1"])]);
        assert_eq!(rules.hosts(), "127.0.0.1 localhost\n::1 localhost\n10.0.0.1 db.test\n");
    }
}
