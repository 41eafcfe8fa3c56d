//! Targets: what an effect is about, typed by its kind and parsed once.

use std::fmt;
use std::net::IpAddr;

use crate::matching::{self, Element};
use crate::path::{PathPattern, TargetError};
use crate::v1::EffectKind;

/// Where relative targets start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Base<'a> {
    /// Absolute working directory of the call.
    pub cwd: Option<&'a str>,
    /// Home directory of the user on the host.
    pub home: Option<&'a str>,
}

/// What an effect is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A region of the file system.
    Path(PathPattern),
    /// A process by number or program name.
    Process(Process),
    /// A service, package, deployment or third party.
    Name(Name),
    /// Network endpoints.
    Endpoint(Endpoint),
}

/// A process by number or program name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Process {
    /// `pid:1234`
    Pid(u32),
    /// A program name.
    Name(Name),
}

/// A name in which `*` matches any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Piece {
    Char(char),
    Run,
}

/// Hosts and ports of network connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: Hosts,
    first_port: u16,
    last_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Hosts {
    Any,
    Named(String),
    Net { address: IpAddr, prefix: u8 },
}

impl Target {
    /// Parses a target as its kind demands.
    ///
    /// # Errors
    /// A sentence that says how to mend it.
    pub fn parse(kind: EffectKind, text: &str, base: &Base<'_>) -> Result<Self, TargetError> {
        use EffectKind as K;
        match kind {
            K::FileCreate
            | K::FileModify
            | K::FileDelete
            | K::FileRename
            | K::FileChmod
            | K::FileChown
            | K::FileRead => {
                PathPattern::parse(text, base.cwd.map(str::as_bytes), base.home.map(str::as_bytes)).map(Self::Path)
            }
            K::ProcessSignal | K::ProcessLeaveRunning | K::ProcessInspect | K::ProcessSpawn => {
                Process::parse(text).map(Self::Process)
            }
            K::NetConnect | K::NetListen => Endpoint::parse(text).map(Self::Endpoint),
            // systemd reads a bare name as that of a service unit: both are one target.
            K::ServiceStart | K::ServiceStop | K::ServiceRestart | K::ServiceReload => {
                Name::parse(text.strip_suffix(".service").unwrap_or(text)).map(Self::Name)
            }
            K::PackageInstall | K::PackageRemove | K::DeployRelease | K::DeployRollback | K::External => {
                Name::parse(text).map(Self::Name)
            }
            K::Unspecified => Err(TargetError::NoKind),
        }
    }

    /// Is all of `other` surely inside? Targets of different shape never are.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(mine), Self::Path(theirs)) => mine.covers_pattern(theirs),
            (Self::Name(mine), Self::Name(theirs)) => mine.covers(theirs),
            (Self::Process(Process::Pid(mine)), Self::Process(Process::Pid(theirs))) => mine == theirs,
            (Self::Process(Process::Name(mine)), Self::Process(Process::Name(theirs))) => mine.covers(theirs),
            // `*` is every process, whatever it is called by.
            (Self::Process(Process::Name(mine)), Self::Process(Process::Pid(_))) => mine.is_any(),
            (Self::Endpoint(mine), Self::Endpoint(theirs)) => mine.covers(theirs),
            _ => false,
        }
    }

    /// May the two have something in common? False only if surely not.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(mine), Self::Path(theirs)) => mine.overlaps(theirs),
            (Self::Name(mine), Self::Name(theirs)) => mine.overlaps(theirs),
            (Self::Process(Process::Pid(mine)), Self::Process(Process::Pid(theirs))) => mine == theirs,
            (Self::Process(Process::Name(mine)), Self::Process(Process::Name(theirs))) => mine.overlaps(theirs),
            // A name may be that of the process with this number.
            (Self::Process(_), Self::Process(_)) => true,
            (Self::Endpoint(mine), Self::Endpoint(theirs)) => mine.overlaps(theirs),
            _ => false,
        }
    }

    /// The path pattern, if the target is one.
    #[must_use]
    pub fn as_path(&self) -> Option<&PathPattern> {
        match self {
            Self::Path(pattern) => Some(pattern),
            _ => None,
        }
    }
}

impl Process {
    fn parse(text: &str) -> Result<Self, TargetError> {
        let Some(number) = text.strip_prefix("pid:") else {
            return Name::parse(text).map(Self::Name);
        };
        // One text for one process: no sign, no leading zero, and 0 is no process.
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let pid = number.parse().ok().filter(|_| plain);
        pid.map(Self::Pid).ok_or_else(|| TargetError::BadPid { text: text.into() })
    }
}

impl Name {
    fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() || text.len() > 512 || text.chars().any(char::is_control) {
            return Err(TargetError::BadName { text: text.into() });
        }
        let mut pieces: Vec<_> = text.chars().map(|c| if c == '*' { Piece::Run } else { Piece::Char(c) }).collect();
        pieces.dedup_by(|a, b| *a == Piece::Run && *b == Piece::Run);
        Ok(Self(pieces))
    }

    fn is_any(&self) -> bool {
        self.0 == [Piece::Run]
    }

    fn covers(&self, other: &Self) -> bool {
        matching::covers(&self.0, &other.0, |mine, theirs| mine == theirs)
    }

    fn overlaps(&self, other: &Self) -> bool {
        matching::overlaps(&self.0, &other.0, |mine, theirs| mine == theirs)
    }
}

impl Element for Piece {
    fn is_many(&self) -> bool {
        *self == Self::Run
    }
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, TargetError> {
        let no_port = || TargetError::NoPort { text: text.into() };
        let bad_host = || TargetError::BadHost { text: text.into() };
        let (host, ports) = match text.strip_prefix('[') {
            // `[address]:port`, and a block either as `[address]/bits:port` or `[address/bits]:port`.
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or_else(no_port)?;
                let (prefix, ports) = rest.rsplit_once(':').ok_or_else(no_port)?;
                let host = Hosts::parse_net(&format!("{address}{prefix}")).filter(|_| address.contains(':'));
                (host.ok_or_else(bad_host)?, ports)
            }
            None => {
                let (host, ports) = text.rsplit_once(':').ok_or_else(no_port)?;
                (Hosts::parse(host).ok_or_else(bad_host)?, ports)
            }
        };
        let ports = Self::parse_ports(ports).ok_or_else(|| TargetError::BadPort { text: text.into() })?;
        Ok(Self { host, first_port: ports.0, last_port: ports.1 })
    }

    fn parse_ports(text: &str) -> Option<(u16, u16)> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match text.split_once('-') {
            _ if text == "*" => Some((0, u16::MAX)),
            Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
            None => number(text).map(|port| (port, port)),
        }
    }

    /// The name of the host, if it is given by one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Hosts::Named(name) => Some(name),
            Hosts::Any | Hosts::Net { .. } => None,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.first_port <= other.first_port && self.last_port >= other.last_port && self.host.covers(&other.host)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first_port <= other.last_port && other.first_port <= self.last_port && self.host.overlaps(&other.host)
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        // Without brackets nobody can tell where an IPv6 address ends and the port begins.
        if text.contains(':') {
            return None;
        }
        Self::parse_net(text).or_else(|| Self::parse_name(text))
    }

    /// An address or a block. Bits beyond the prefix are cleared, and an IPv4 address in IPv6 form is
    /// the IPv4 address that it reaches: two texts of one place are one target.
    fn parse_net(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = match prefix {
            Some(text) => text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))?,
            None => bits,
        };
        if prefix > bits {
            return None;
        }
        let (address, prefix) = match address {
            IpAddr::V6(v6) if prefix >= 96 => {
                v6.to_ipv4_mapped().map_or((address, prefix), |v4| (v4.into(), prefix - 96))
            }
            _ => (address, prefix),
        };
        Some(Self::Net { address: network(address, prefix), prefix })
    }

    fn parse_name(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
        // A number at the end is an address in a disguise that resolvers see through: `127.1`, `0x7f.1`.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
        (name.len() <= 253 && name.split('.').all(is_label) && !is_number).then_some(Self::Named(name))
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Named(mine), Self::Named(theirs)) => mine == theirs,
            (Self::Net { address, prefix }, Self::Net { address: inner, prefix: longer }) => {
                longer >= prefix && same_net(*address, *inner, *prefix)
            }
            _ => false,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named(mine), Self::Named(theirs)) => mine == theirs,
            (Self::Net { address: one, prefix: a }, Self::Net { address: two, prefix: b }) => {
                same_net(*one, *two, *a.min(b))
            }
            // A name may resolve to any address.
            _ => true,
        }
    }
}

/// The address with the bits beyond the prefix cleared.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// Do two addresses share their first bits?
fn same_net(one: IpAddr, two: IpAddr, prefix: u8) -> bool {
    match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => (one.to_bits() ^ two.to_bits()).leading_zeros() >= u32::from(prefix),
        (IpAddr::V6(one), IpAddr::V6(two)) => (one.to_bits() ^ two.to_bits()).leading_zeros() >= u32::from(prefix),
        _ => false,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(pattern) => pattern.fmt(out),
            Self::Name(name) | Self::Process(Process::Name(name)) => name.fmt(out),
            Self::Process(Process::Pid(number)) => write!(out, "pid:{number}"),
            Self::Endpoint(endpoint) => endpoint.fmt(out),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Char(c) => write!(out, "{c}"),
            Piece::Run => out.write_str("*"),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Hosts::Any => out.write_str("*")?,
            Hosts::Named(name) => out.write_str(name)?,
            Hosts::Net { address, prefix } => {
                let full = if address.is_ipv4() { 32 } else { 128 };
                match address {
                    IpAddr::V4(address) => write!(out, "{address}")?,
                    IpAddr::V6(address) => write!(out, "[{address}]")?,
                }
                if *prefix != full {
                    write!(out, "/{prefix}")?;
                }
            }
        }
        match (self.first_port, self.last_port) {
            (0, u16::MAX) => out.write_str(":*"),
            (first, last) if first == last => write!(out, ":{first}"),
            (first, last) => write!(out, ":{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(text: &str) -> Target {
        Target::parse(EffectKind::NetConnect, text, &Base::default()).expect(text)
    }

    #[test]
    fn endpoints_hold_names_addresses_nets_and_ports() {
        for (wide, narrow, held) in [
            ("*:*", "example.com:443", true),
            ("Example.com:443", "example.com:443", true),
            ("example.com:443", "sub.example.com:443", false),
            ("10.0.0.0/8:*", "10.2.3.4:80", true),
            ("10.0.0.0/8:*", "11.2.3.4:80", false),
            ("10.0.0.0/8:80-90", "10.2.3.4:91", false),
            ("[fd00::]/8:443", "[fd12::1]:443", true),
            ("0.0.0.0/0:*", "example.com:1", false),
        ] {
            assert_eq!(endpoint(wide).covers(&endpoint(narrow)), held, "{wide} {narrow}");
        }
        assert!(endpoint("0.0.0.0/0:*").overlaps(&endpoint("example.com:1")), "a name may resolve to it");
        for bad in [
            "",
            "example.com",
            "a b:1",
            ":1",
            "x:",
            "x:+1",
            "x:90-80",
            "x:99999",
            "10.0.0.0/33:1",
            "::1:80",
            "[::1]",
            "[10.0.0.1]:80",
            "127.1:80",
            "0x7f.1:80",
            "2130706433:80",
            "a..b:80",
        ] {
            assert!(Target::parse(EffectKind::NetConnect, bad, &Base::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_place_has_one_text() {
        for (text, canonical) in [
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
            ("[::ffff:10.0.0.0]/104:80", "10.0.0.0/8:80"),
            ("10.1.2.3/8:*", "10.0.0.0/8:*"),
            ("[fd00::/8]:443", "[fd00::]/8:443"),
            ("Example.com.:1-2", "example.com:1-2"),
        ] {
            assert_eq!(endpoint(text).to_string(), canonical);
            assert_eq!(endpoint(canonical), endpoint(text));
        }
        let service = |text| Target::parse(EffectKind::ServiceStop, text, &Base::default()).expect(text);
        assert_eq!(service("nginx.service"), service("nginx"));
    }

    #[test]
    fn processes_are_named_or_numbered() {
        let process = |text| Target::parse(EffectKind::ProcessSignal, text, &Base::default()).expect("a process");
        assert!(process("*").covers(&process("pid:1")));
        assert!(!process("nginx").covers(&process("pid:1")));
        assert!(process("ng*").covers(&process("nginx")));
        assert!(process("nginx").overlaps(&process("pid:1")));
        for bad in ["pid:x", "pid:", "pid:0", "pid:+1", "pid:01", "pid:99999999999"] {
            assert!(Target::parse(EffectKind::ProcessSignal, bad, &Base::default()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_net_covers_exactly_the_addresses_with_its_prefix(address: u32, prefix in 0_u8..=32, other: u32) {
            let net = endpoint(&format!("{}/{prefix}:1", std::net::Ipv4Addr::from_bits(address)));
            let inside = endpoint(&format!("{}:1", std::net::Ipv4Addr::from_bits(other)));
            let shift = 32 - u32::from(prefix);
            let same = u64::from(address) >> shift == u64::from(other) >> shift;
            prop_assert_eq!(net.covers(&inside), same);
        }

        #[test]
        fn text_of_a_target_parses_back_to_it(name in "[a-z*]{1,12}", port: u16) {
            let name = Target::parse(EffectKind::ServiceStop, &name, &Base::default()).expect("a name");
            prop_assert_eq!(&Target::parse(EffectKind::ServiceStop, &name.to_string(), &Base::default()).expect("again"), &name);
            let one = endpoint(&format!("10.1.2.0/24:{port}"));
            prop_assert_eq!(&endpoint(&one.to_string()), &one);
        }
    }
}
