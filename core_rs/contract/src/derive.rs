//! What follows exactly from the arguments of a shipped tool that runs no command.
//!
//! Declaration and prediction both come from here, so that one never says less than the other.

use serde_json::Value;

use crate::path::{PathPattern, normalise};
use crate::target::{Base, Target};
use crate::v1::EffectKind;

/// An effect that follows from arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// What kind of thing happens.
    pub kind: EffectKind,
    /// What it happens to.
    pub target: Target,
    /// It is what the tool aims at; false if it depends on what is there.
    pub certain: bool,
    /// How often it is observed at least if the tool succeeds: a state that is there already is no change.
    pub least: u32,
}

/// The tools whose effects are known here.
pub const TOOLS: &[&str] = &[
    "files.read",
    "files.list",
    "files.stat",
    "files.search",
    "files.write",
    "files.edit",
    "files.mkdir",
    "files.chmod",
    "files.move",
    "files.copy",
    "files.delete",
    "process.list",
    "process.signal",
    "service.status",
    "service.logs",
    "service.start",
    "service.stop",
    "service.restart",
    "service.reload",
    "deploy.plan",
    "deploy.status",
    "deploy.release",
    "deploy.rollback",
];

/// Most directories that are made above one.
const MAX_PARENTS: u64 = 32;

/// All effects of a call of one of [`TOOLS`], looks included. `None` if they cannot be known.
#[must_use]
pub fn derive(tool: &str, arguments: &Value) -> Option<Vec<Derived>> {
    let arguments = Arguments(arguments);
    Some(match tool {
        "files.read" | "files.stat" => vec![look(arguments.path("path")?)],
        "files.list" if arguments.flag("recursive") => vec![look(arguments.path("path")?.tree())],
        "files.list" => vec![look(arguments.path("path")?)],
        "files.search" => vec![look(arguments.path("path")?.tree())],
        "files.write" => write(&arguments)?,
        // Whoever is told that a text is not in a file has learnt something of it.
        "files.edit" => {
            let path = arguments.path("path")?;
            vec![look(path.clone()), state(EffectKind::FileModify, path)]
        }
        "files.mkdir" => mkdir(&arguments)?,
        "files.chmod" => {
            let bits = state(EffectKind::FileChmod, arguments.path("path")?);
            [bits].into_iter().chain(arguments.rights()).collect()
        }
        "files.move" => relocate(&arguments)?,
        "files.copy" if arguments.flag("recursive") => {
            let (from, to) = (arguments.path("from")?, arguments.path("to")?);
            vec![look(from.tree()), aim(EffectKind::FileCreate, to.tree())]
        }
        "files.copy" => vec![look(arguments.path("from")?), aim(EffectKind::FileCreate, arguments.path("to")?)],
        "files.delete" => vec![aim(EffectKind::FileDelete, arguments.path("path")?)],
        "process.list" => vec![named(EffectKind::ProcessInspect, arguments.text("name").unwrap_or("*"))?],
        "process.signal" => signal(&arguments)?,
        "service.status" | "service.logs" => vec![named(EffectKind::ProcessInspect, arguments.text("name")?)?],
        "service.start" => service(EffectKind::ServiceStart, 0, &arguments)?,
        "service.stop" => service(EffectKind::ServiceStop, 0, &arguments)?,
        "service.restart" => service(EffectKind::ServiceRestart, 1, &arguments)?,
        "service.reload" => service(EffectKind::ServiceReload, 1, &arguments)?,
        "deploy.plan" => vec![look(arguments.path("source")?.tree()), look(arguments.path("root")?.tree())],
        "deploy.status" => {
            let look = look(arguments.path("root")?.tree());
            [look].into_iter().chain(arguments.checks(&["check"])?).collect()
        }
        "deploy.release" => release(&arguments)?,
        "deploy.rollback" => rollback(&arguments)?,
        _ => return None,
    })
}

/// One process, by its number and by its name: policies may speak of either.
fn signal(arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    let pid = arguments.0.get("pid").and_then(Value::as_u64)?;
    let numbered = named(EffectKind::ProcessSignal, &format!("pid:{pid}"))?;
    let name = arguments.text("name").filter(|name| !name.starts_with("pid:"))?;
    Some(vec![numbered, Derived { least: 0, ..named(EffectKind::ProcessSignal, name)? }])
}

fn service(kind: EffectKind, least: u32, arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    Some(vec![Derived { least, ..named(kind, arguments.text("name")?)? }])
}

fn named(kind: EffectKind, text: &str) -> Option<Derived> {
    let target = Target::parse(kind, text, &Base::default()).ok()?;
    Some(Derived { kind, target, certain: true, least: 1 })
}

/// A deployment and its root have one name. Which release is there already depends on the root, and
/// whether the one that was live comes back on the check after the switch.
fn release(arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    let (root, id) = (arguments.text("root")?, arguments.text("release").filter(|id| !id.contains('/'))?);
    let looks = [look(arguments.path("source")?.tree()), look(arguments.path("root")?.tree())];
    let mut derived = Vec::from(looks);
    derived.push(state(EffectKind::FileCreate, beneath(root, &["releases", id]).tree()));
    derived.push(chance(EffectKind::FileCreate, beneath(root, &["releases"])));
    derived.extend(switch(root));
    derived.push(deployment(EffectKind::DeployRelease, root)?);
    if arguments.0.get("check_after").is_some() {
        derived.push(Derived { certain: false, ..deployment(EffectKind::DeployRollback, root)? });
    }
    if arguments.0.get("keep").is_some() {
        let old = PathPattern::parse(&format!("{}/*", beneath(root, &["releases"])), None, None).ok()?;
        derived.push(chance(EffectKind::FileDelete, old));
    }
    derived.extend(arguments.checks(&["check_before", "check_after"])?);
    Some(derived)
}

fn rollback(arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    let root = arguments.text("root")?;
    let mut derived = vec![look(arguments.path("root")?.tree())];
    derived.extend(switch(root));
    derived.push(deployment(EffectKind::DeployRollback, root)?);
    derived.extend(arguments.checks(&["check_after"])?);
    Some(derived)
}

/// The link that says what is live, and what is remembered of it.
fn switch(root: &str) -> [Derived; 5] {
    [
        chance(EffectKind::FileCreate, beneath(root, &["current"])),
        chance(EffectKind::FileModify, beneath(root, &["current"])),
        chance(EffectKind::FileCreate, beneath(root, &[".deploy"])),
        chance(EffectKind::FileCreate, beneath(root, &[".deploy", "state"])),
        chance(EffectKind::FileModify, beneath(root, &[".deploy", "state"])),
    ]
}

fn deployment(kind: EffectKind, root: &str) -> Option<Derived> {
    let root = String::from_utf8(normalise(root.as_bytes())).ok()?;
    // A star would be any run of characters.
    let root = Some(root).filter(|root| !root.contains('*'))?;
    Some(Derived { least: 0, ..named(kind, &root)? })
}

fn beneath(root: &str, names: &[&str]) -> PathPattern {
    PathPattern::literal(format!("{root}/{}", names.join("/")).as_bytes())
}

/// Which of them it is depends on the file that is there.
fn write(arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    let path = arguments.path("path")?;
    if arguments.0.get("offset").is_some() {
        return Some(vec![state(EffectKind::FileModify, path)]);
    }
    let mode = arguments.0.get("mode").map(|_| EffectKind::FileChmod);
    let kinds = [EffectKind::FileCreate, EffectKind::FileModify].into_iter().chain(mode);
    Some(kinds.map(|kind| chance(kind, path.clone())).chain(arguments.rights()).collect())
}

/// The directory, and as many above it as may be missing.
fn mkdir(arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    let path = arguments.text("path").filter(|path| path.starts_with('/'))?;
    let parents = arguments.0.get("parents").map_or(Some(0), Value::as_u64)?.min(MAX_PARENTS);
    let path = normalise(path.as_bytes());
    let mut here = path.as_slice();
    let mut derived = vec![state(EffectKind::FileCreate, PathPattern::literal(here))];
    for _ in 0..parents {
        let Some(at) = here.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0) else { break };
        here = &here[..at];
        derived.push(chance(EffectKind::FileCreate, PathPattern::literal(here)));
    }
    Some(derived)
}

/// A move looks at what it moves: at another place and under another name it may be open to others.
fn relocate(arguments: &Arguments<'_>) -> Option<Vec<Derived>> {
    let (from, to) = (arguments.path("from")?, arguments.path("to")?);
    let overwritten = arguments.flag("overwrite").then(|| chance(EffectKind::FileDelete, to.clone()));
    let certain = [look(from.clone()), aim(EffectKind::FileRename, from), aim(EffectKind::FileCreate, to.tree())];
    Some(certain.into_iter().chain(overwritten).collect())
}

fn look(region: PathPattern) -> Derived {
    aim(EffectKind::FileRead, region)
}

fn aim(kind: EffectKind, region: PathPattern) -> Derived {
    Derived { kind, target: Target::Path(region), certain: true, least: 1 }
}

/// What it aims at may be so already.
fn state(kind: EffectKind, region: PathPattern) -> Derived {
    Derived { least: 0, ..aim(kind, region) }
}

fn chance(kind: EffectKind, region: PathPattern) -> Derived {
    Derived { certain: false, least: 0, ..aim(kind, region) }
}

struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    /// With set-user-id or set-group-id bits a program runs with rights that are not those of who starts it, as the
    /// vocabulary says of `chmod u+s`. Nothing measures who will.
    fn rights(&self) -> Option<Derived> {
        let mode = self.text("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok())?;
        let rights = (mode & 0o6000 != 0).then(|| named(EffectKind::External, "privilege/setuid"))??;
        Some(Derived { least: 0, ..rights })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// Health checks, which reach nothing but loopback.
    fn checks(&self, names: &[&str]) -> Option<Vec<Derived>> {
        let mut derived: Vec<Derived> = Vec::new();
        for check in names.iter().filter_map(|name| self.0.get(*name)) {
            let port = check.get("port").and_then(Value::as_u64)?;
            let contact = named(EffectKind::NetConnect, &format!("127.0.0.1:{port}"))?;
            let contact = Derived { least: 0, ..contact };
            if !derived.contains(&contact) {
                derived.push(contact);
            }
        }
        Some(derived)
    }

    /// The literal path that an argument names.
    fn path(&self, name: &str) -> Option<PathPattern> {
        self.text(name).filter(|path| path.starts_with('/')).map(|path| PathPattern::literal(path.as_bytes()))
    }
}
