//! Cedar's names for what effects are about.

use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use cmdop_contract::effect::kind_name;
use cmdop_contract::v1::EffectKind;

/// Entity types of the schema, by the effects they are the resource of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    Path,
    Process,
    Service,
    Package,
    Deployment,
    Endpoint,
    External,
}

impl Subject {
    /// Those that are not paths.
    pub(crate) const NAMED: [Self; 6] =
        [Self::Process, Self::Service, Self::Package, Self::Deployment, Self::Endpoint, Self::External];

    /// What effects of this kind are about; `None` for the unspecified kind.
    pub(crate) fn of(kind: EffectKind) -> Option<Self> {
        use EffectKind as K;
        Some(match kind {
            K::Unspecified => return None,
            K::FileCreate
            | K::FileModify
            | K::FileDelete
            | K::FileRename
            | K::FileChmod
            | K::FileChown
            | K::FileRead => Self::Path,
            K::ProcessSignal | K::ProcessLeaveRunning | K::ProcessInspect | K::ProcessSpawn => Self::Process,
            K::ServiceStart | K::ServiceStop | K::ServiceRestart | K::ServiceReload => Self::Service,
            K::PackageInstall | K::PackageRemove => Self::Package,
            K::DeployRelease | K::DeployRollback => Self::Deployment,
            K::NetConnect | K::NetListen => Self::Endpoint,
            K::External => Self::External,
        })
    }

    /// Any kind of effect on it, for parsing a target.
    pub(crate) fn sample_kind(self) -> EffectKind {
        match self {
            Self::Path => EffectKind::FileRead,
            Self::Process => EffectKind::ProcessSpawn,
            Self::Service => EffectKind::ServiceStart,
            Self::Package => EffectKind::PackageInstall,
            Self::Deployment => EffectKind::DeployRelease,
            Self::Endpoint => EffectKind::NetConnect,
            Self::External => EffectKind::External,
        }
    }

    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Path => "Path",
            Self::Process => "Process",
            Self::Service => "Service",
            Self::Package => "Package",
            Self::Deployment => "Deployment",
            Self::Endpoint => "Endpoint",
            Self::External => "External",
        }
    }
}

/// Groups that everybody of a kind is in. Others are the operator's: see `known.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Users,
    Agents,
}

impl Group {
    pub(crate) fn uid(self) -> EntityUid {
        match self {
            Self::Users => uid("UserGroup", "users"),
            Self::Agents => uid("AgentGroup", "agents"),
        }
    }
}

struct Types(Vec<(&'static str, EntityTypeName)>);

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let names = [
        "Path",
        "PathClass",
        "Process",
        "Service",
        "Package",
        "Deployment",
        "Endpoint",
        "External",
        "User",
        "UserGroup",
        "Agent",
        "AgentGroup",
        "Host",
        "HostGroup",
        "Action",
    ];
    Types(
        names.into_iter().map(|name| (name, name.parse().expect("the schema's type names are identifiers"))).collect(),
    )
});

/// The entity of a type of the schema.
pub(crate) fn uid(type_name: &str, id: &str) -> EntityUid {
    let known = TYPES.0.iter().find(|(name, _)| *name == type_name);
    let (_, type_name) = known.expect("only types of the schema are named");
    EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(id))
}

/// The entity of a literal path. Bytes that are not UTF-8 are escaped; no policy can mention those.
pub(crate) fn path_uid(path: &[u8]) -> EntityUid {
    match std::str::from_utf8(path) {
        Ok(text) => uid("Path", text),
        Err(_) => uid("Path", &cmdop_contract::path::escape(path)),
    }
}

/// The action of a kind of effect.
pub(super) fn action_uid(kind: EffectKind) -> EntityUid {
    uid("Action", kind_name(kind))
}

/// An effect as people and policies write it: `file.delete:/srv/app/logs`.
pub(crate) fn effect_text(kind: EffectKind, target: &str) -> String {
    format!("{}:{target}", kind_name(kind))
}
