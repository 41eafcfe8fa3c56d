//! Named sets of paths: what policies mean by `PathClass::"secrets"`.
//!
//! Cedar compares entities and nothing else, so globs live here. A class is part of the policy's
//! version: changing one changes what policies mean.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cedar_policy::EntityUid;
use cmdop_contract::effect::Target;
use cmdop_contract::path::PathPattern;
use cmdop_contract::v1::Host;

use crate::engine::uid;

mod lookup;
mod notable;
mod patterns;
mod private;

pub use notable::Notable;

use patterns::{
    ACCOUNTS, CMDOP, CREDENTIALS, DATABASES, DEVICES, EMPTIED, PERSISTENCE, REPOSITORIES, REPOSITORY_SETTINGS, SCRATCH,
    SINKS, SYSTEM, TREE_ROOTS,
};
use private::{SECRETS, SENSITIVE};

/// A named set of paths. The text form is the entity's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Top-level directories and the roots of system trees themselves, not what lies in them.
    TreeRoot,
    /// A pattern directly at the root or at a tree root, outside every workspace: `/*`, `/home/*`.
    /// Directories that are made to be emptied (`/tmp`) are no such roots.
    RootGlob,
    /// Disks and kernel memory.
    Device,
    /// Where writing changes nothing: `/dev/null`, terminals.
    Sink,
    /// Keys, password files, the rules of sudo.
    Credentials,
    /// Credentials and everything else that must not be shown: `.env`, private keys, tokens.
    Secrets,
    /// States and settings that may hold secrets beside what their own programs read there: `terraform.tfstate`,
    /// `.m2/settings.xml`. They are no secrets to be hidden, but nothing to be shown unasked either.
    Sensitive,
    /// cmdop's own records, keys and policies.
    Cmdop,
    /// What the operating system consists of.
    System,
    /// What is run later without being asked (shell start-up, cron, units, hooks), and what editors and other
    /// agents start or may do.
    Persistence,
    /// Database files.
    Database,
    /// A repository's own directory.
    Repository,
    /// A repository's own settings, which may name programs that git runs.
    RepositorySettings,
    /// What lies in the directories for temporary files, which anybody may fill; not those directories themselves.
    Scratch,
    /// The host's workspaces and everything in them.
    Workspace,
    /// The workspaces' directories themselves.
    WorkspaceRoot,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 16] = [
        Self::TreeRoot,
        Self::RootGlob,
        Self::Device,
        Self::Sink,
        Self::Credentials,
        Self::Secrets,
        Self::Sensitive,
        Self::Cmdop,
        Self::System,
        Self::Persistence,
        Self::Database,
        Self::Repository,
        Self::RepositorySettings,
        Self::Scratch,
        Self::Workspace,
        Self::WorkspaceRoot,
    ];

    /// As policies write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TreeRoot => "tree_root",
            Self::RootGlob => "root_glob",
            Self::Device => "device",
            Self::Sink => "sink",
            Self::Credentials => "credentials",
            Self::Secrets => "secrets",
            Self::Sensitive => "sensitive",
            Self::Cmdop => "cmdop",
            Self::System => "system",
            Self::Persistence => "persistence",
            Self::Database => "database",
            Self::Repository => "repository",
            Self::RepositorySettings => "repository_settings",
            Self::Scratch => "scratch",
            Self::Workspace => "workspace",
            Self::WorkspaceRoot => "workspace_root",
        }
    }

    /// The class of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    pub(crate) fn uid(self) -> EntityUid {
        uid("PathClass", self.name())
    }

    /// Patterns that hold on every host, in the grammar of effect targets.
    pub(crate) fn patterns(self) -> Vec<&'static str> {
        match self {
            Self::TreeRoot => TREE_ROOTS.to_vec(),
            Self::Device => DEVICES.to_vec(),
            Self::Sink => SINKS.to_vec(),
            Self::Credentials => [CREDENTIALS, ACCOUNTS].concat(),
            Self::Secrets => [CREDENTIALS, SECRETS].concat(),
            Self::Sensitive => SENSITIVE.to_vec(),
            Self::Cmdop => CMDOP.to_vec(),
            Self::System => SYSTEM.to_vec(),
            Self::Persistence => PERSISTENCE.to_vec(),
            Self::Database => DATABASES.to_vec(),
            Self::Repository => REPOSITORIES.to_vec(),
            Self::RepositorySettings => REPOSITORY_SETTINGS.to_vec(),
            Self::Scratch => SCRATCH.to_vec(),
            Self::RootGlob | Self::Workspace | Self::WorkspaceRoot => Vec::new(),
        }
    }
}

/// A host label of this form adds a directory to the class `cmdop`: `cmdop.path.state=/opt/state`.
const OWN_PATH_LABEL: &str = "cmdop.path.";

/// Patterns with the directories at which they begin or which they name.
#[derive(Debug, Default)]
struct Members {
    patterns: Vec<PathPattern>,
    /// Literal members, and `x` of `x/**`: places that a region can cover for certain.
    roots: Vec<Vec<u8>>,
}

impl Members {
    fn parse(patterns: &[&str]) -> Self {
        let parse = |text: &&str| PathPattern::parse(text, None, None).expect("the shipped patterns are valid");
        let mut members = Self { patterns: patterns.iter().map(parse).collect(), roots: Vec::new() };
        for (text, pattern) in patterns.iter().zip(&members.patterns) {
            let stem = text.strip_suffix("/**").unwrap_or(text);
            if !stem.contains(['*', '?']) && !stem.is_empty() {
                debug_assert!(pattern.covers(stem.as_bytes()));
                members.roots.push(stem.as_bytes().to_vec());
            }
        }
        members
    }

    fn add_tree(&mut self, directory: &str) {
        let directory = directory.as_bytes();
        if !directory.starts_with(b"/") {
            return;
        }
        let literal = PathPattern::literal(directory);
        self.roots.push(literal.literal_root().to_vec());
        self.patterns.push(literal.tree());
    }
}

static SHIPPED: LazyLock<Vec<Members>> =
    LazyLock::new(|| Class::ALL.iter().map(|class| Members::parse(&class.patterns())).collect());

/// Membership on one host.
#[derive(Debug)]
pub(crate) struct Classes {
    workspaces: Members,
    own: Members,
}

/// Classes of a region: those it surely lies in, and those that may occur in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) certain: Vec<Class>,
    pub(crate) possible: Vec<Class>,
    /// Of the possible ones those whose members it spells with wildcards in between: who reads `.ss?/id_rs?` means them.
    pub(crate) aimed: Vec<Class>,
}

impl Classes {
    /// A workspace that is not absolute is none: it then permits nothing.
    pub(crate) fn of(host: &Host) -> Self {
        let mut classes = Self { workspaces: Members::default(), own: Members::default() };
        for workspace in &host.workspaces {
            classes.workspaces.add_tree(workspace);
        }
        for (label, value) in &host.labels {
            if label.starts_with(OWN_PATH_LABEL) {
                classes.own.add_tree(value);
            }
        }
        classes
    }

    /// Places of this host at which a class begins, beside those of every host.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.workspaces.roots.iter().chain(&self.own.roots).map(Vec::as_slice)
    }

    /// Classes of one path.
    pub(crate) fn of_path(&self, path: &[u8], wanted: impl Fn(Class) -> bool) -> Vec<Class> {
        let shipped = lookup::classes_of(path);
        let holds = |class: &Class| match class {
            Class::WorkspaceRoot => self.workspaces.roots.iter().any(|root| root == path),
            _ => shipped.contains(class) || self.here(*class).iter().any(|pattern| pattern.covers(path)),
        };
        Class::ALL.into_iter().filter(|class| wanted(*class)).filter(holds).collect()
    }

    /// Classes of a region that is not one literal path.
    pub(crate) fn of_region(&self, region: &PathPattern, wanted: impl Fn(Class) -> bool) -> Membership {
        let mut membership = Membership::default();
        for class in Class::ALL.into_iter().filter(|class| wanted(*class)) {
            match class {
                Class::RootGlob if self.is_root_glob(region) => membership.certain.push(class),
                // Workspace roots are places of their own: a region covers one or it does not.
                Class::RootGlob | Class::WorkspaceRoot => {}
                _ if self.patterns(class).any(|pattern| pattern.covers_pattern(region)) => {
                    membership.certain.push(class)
                }
                _ if self.patterns(class).any(|pattern| pattern.overlaps(region)) => {
                    membership.possible.push(class);
                    if self.patterns(class).any(|pattern| region.aims_at(pattern)) {
                        membership.aimed.push(class);
                    }
                }
                _ => {}
            }
        }
        membership
    }

    fn is_root_glob(&self, region: &PathPattern) -> bool {
        let root = region.literal_root();
        let is_tree_root = SHIPPED[Class::TreeRoot as usize].roots.iter().any(|tree| tree == root);
        let at_root = root == b"/" || (is_tree_root && !EMPTIED.contains(&root));
        let in_workspace = || self.patterns(Class::Workspace).any(|workspace| workspace.covers_pattern(region));
        at_root && (root == b"/" || !in_workspace())
    }

    /// True if every path of the region is in one of these classes.
    pub(crate) fn hold(&self, region: &PathPattern, classes: &[Class]) -> bool {
        classes.iter().any(|class| self.patterns(*class).any(|pattern| pattern.covers_pattern(region)))
    }

    /// True if the region spells members of some of these classes, and can hold none of the others.
    pub(crate) fn are_spelled(&self, region: &PathPattern, classes: &[Class]) -> bool {
        let meets = |class: &&Class| self.patterns(**class).any(|pattern| pattern.overlaps(region));
        let mut met = classes.iter().filter(meets).peekable();
        met.peek().is_some() && met.all(|class| self.patterns(*class).any(|pattern| region.aims_at(pattern)))
    }

    fn patterns(&self, class: Class) -> impl Iterator<Item = &PathPattern> {
        SHIPPED[class as usize].patterns.iter().chain(self.here(class))
    }

    /// Patterns of this host alone.
    fn here(&self, class: Class) -> &[PathPattern] {
        match class {
            Class::Workspace => &self.workspaces.patterns,
            Class::Cmdop | Class::Secrets => &self.own.patterns,
            _ => &[],
        }
    }
}

/// Places at which classes begin on every host.
pub(crate) fn shipped_roots() -> impl Iterator<Item = &'static [u8]> {
    SHIPPED.iter().flat_map(|members| &members.roots).map(Vec::as_slice)
}

/// True if writing to the target changes nothing.
pub(crate) fn is_sink(target: &Target) -> bool {
    let covers =
        |region: &PathPattern| SHIPPED[Class::Sink as usize].patterns.iter().any(|sink| sink.covers_pattern(region));
    matches!(target, Target::Path(region) if covers(region))
}

/// The classes as text, for the policy's version.
pub(crate) fn canonical_text() -> String {
    let line = |class: Class| format!("{} {}\n", class.name(), class.patterns().join(" "));
    Class::ALL.into_iter().map(line).collect()
}

/// Name of the capability of hosts that list the notable entries of a deleted or moved tree as
/// effects of their own, whose count the tree's leaves out.
///
/// Without it nobody knows what such a tree held, and a person looks before it is committed.
pub const LISTS_NOTABLE: &str = "observe.notable";

/// True if a path is of a class that must not be shown to anyone who did not name it: secrets and
/// cmdop's own data.
pub fn is_secret(path: &[u8]) -> bool {
    lookup::classes_of(path).iter().any(|class| matches!(class, Class::Secrets | Class::Cmdop))
}

/// Classes that a permit may mask: files that are read by few and small enough in number to be found.
pub const MASKABLE: [Class; 4] = [Class::Credentials, Class::Secrets, Class::Cmdop, Class::Database];

/// True if the path is in one of these classes wherever it lies.
pub fn is_of(path: &[u8], classes: &[Class]) -> bool {
    lookup::classes_of(path).iter().any(|class| classes.contains(class))
}

/// Directories and files at which members of these classes lie on every host.
pub fn fixed_places(classes: &[Class]) -> BTreeSet<&'static [u8]> {
    let patterns = classes.iter().flat_map(|class| &SHIPPED[*class as usize].patterns);
    patterns.map(PathPattern::literal_root).filter(|root| *root != b"/").collect()
}
