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
            K::FileCreate | K::FileModify | K::FileDelete | K::FileRename | K::FileChmod | K::FileChown | K::FileRead => {
                PathPattern::parse(text, base.cwd.map(str::as_bytes), base.home.map(str::as_bytes)).map(Self::Path)
            }
            K::ProcessSignal | K::ProcessLeaveRunning | K::ProcessInspect | K::ProcessSpawn => {
                Process::parse(text).map(Self::Process)
            }
            K::NetConnect | K::NetListen => Endpoint::parse(text).map(Self::Endpoint),
            K::ServiceStart
            | K::ServiceStop
            | K::ServiceRestart
            | K::ServiceReload
            | K::PackageInstall
            | K::PackageRemove
            | K::DeployRelease
            | K::DeployRollback
            | K::External => Name::parse(text).map(Self::Name),
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
        match text.strip_prefix("pid:") {
            Some(number) => number.parse().map(Self::Pid).map_err(|_| TargetError::BadPid { text: text.into() }),
            None => Name::parse(text).map(Self::Name),
        }
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
        let shape = || TargetError::BadPort { text: text.into() };
        let (host, ports) = text.rsplit_once(':').ok_or_else(no_port)?;
        let (first_port, last_port) = match ports.split_once('-') {
            _ if ports == "*" => (0, u16::MAX),
            Some((first, last)) => (first.parse().map_err(|_| shape())?, last.parse().map_err(|_| shape())?),
            None => ports.parse().map(|port| (port, port)).map_err(|_| shape())?,
        };
        if first_port > last_port {
            return Err(shape());
        }
        let host = Hosts::parse(&host.replace(['[', ']'], "")).ok_or_else(|| TargetError::BadHost { text: text.into() })?;
        Ok(Self { host, first_port, last_port })
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
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok().filter(|prefix| *prefix <= bits))?;
            return Some(Self::Net { address, prefix });
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        (prefix.is_none() && !text.is_empty() && text.len() <= 253 && text.chars().all(plain))
            .then(|| Self::Named(text.trim_end_matches('.').to_ascii_lowercase()))
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
            (Self::Net { address: one, prefix: a }, Self::Net { address: two, prefix: b }) => same_net(*one, *two, *a.min(b)),
            // A name may resolve to any address.
            _ => true,
        }
    }
}

/// Do two addresses share their first bits?
fn same_net(one: IpAddr, two: IpAddr, prefix: u8) -> bool {
    match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => {
            (one.to_bits() ^ two.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(one), IpAddr::V6(two)) => {
            (one.to_bits() ^ two.to_bits()).leading_zeros() >= u32::from(prefix)
        }
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
        for bad in ["example.com", "a b:1", ":1", "x:90-80", "x:99999", "10.0.0.0/33:1"] {
            assert!(Target::parse(EffectKind::NetConnect, bad, &Base::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn processes_are_named_or_numbered() {
        let process = |text| Target::parse(EffectKind::ProcessSignal, text, &Base::default()).expect("a process");
        assert!(process("*").covers(&process("pid:1")));
        assert!(!process("nginx").covers(&process("pid:1")));
        assert!(process("ng*").covers(&process("nginx")));
        assert!(process("nginx").overlaps(&process("pid:1")));
        assert!(Target::parse(EffectKind::ProcessSignal, "pid:x", &Base::default()).is_err());
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
