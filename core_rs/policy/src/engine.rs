//! Cedar, made to fail closed: policies are parsed, checked and indexed once, then asked point by point.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Schema};
use cmdop_contract::v1::{EffectKind, Host, PolicyEntities, PolicyFile, PolicyRef, PolicySet, Reason};

use crate::points::Anchors;

mod ask;
mod check;
mod known;
mod load;
mod memory;
mod name;
mod pack;
mod quorum;
mod review;
mod slice;

pub(crate) use ask::{About, Inquiry, Verdict};
pub(crate) use memory::Judged;
pub(crate) use name::{Group, Subject, effect_text, path_uid, uid};

pub use pack::{DEFAULT_PACK, PACKS, Pack, pack};
pub use review::Finding;

use known::Known;
use memory::Memory;
use quorum::Approvers;
use slice::Slices;

const SCHEMA: &str = include_str!("cedar/cmdop.cedarschema");
const FLOOR: &str = include_str!("cedar/floor.cedar");

/// Ids of the floor's policies begin with this, and no other policy's may.
const FLOOR_PREFIX: &str = "floor.";

/// Ids that `decide::bound` speaks under begin with this, and no policy's may.
const SESSION_PREFIX: &str = "session.";

/// Why a set of policies was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}; {mend}")]
pub struct Error {
    /// Name of the policy file.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub mend: String,
}

impl Error {
    /// The row of the error table it belongs to.
    pub fn reason(&self) -> Reason {
        Reason::InvalidConfiguration
    }
}

/// Facts that policies ask about.
#[derive(Clone, Copy, Debug, Default)]
struct AskedFacts {
    made: bool,
    only_copy: bool,
    failed: bool,
    denials: bool,
    effects: bool,
    count: bool,
}

/// What a policy says about itself.
#[derive(Debug)]
struct Rule {
    id: String,
    reason: String,
    remedy: String,
    /// True for a forbid that a person may lift.
    holds: bool,
    /// Who may lift it, if it says so.
    approvers: Option<Approvers>,
}

/// A checked set of policies with the floor, ready to be asked. Cheap to share behind an `Arc`.
pub struct Engine {
    schema: Schema,
    authorizer: Authorizer,
    /// Every action with its groups. Without these a forbid on a group would silently do nothing.
    actions: Entities,
    slices: Slices,
    memory: Memory,
    /// Which facts of a run or session policies ask about. Others make no difference to an answer.
    asked: AskedFacts,
    rules: BTreeMap<String, Arc<Rule>>,
    /// File and line of each policy.
    places: BTreeMap<String, (String, usize)>,
    anchors: Anchors,
    known: Known,
    entities: PolicyEntities,
    files: Vec<PolicyFile>,
    version: String,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("version", &self.version).field("policies", &self.rules.len()).finish()
    }
}

impl Engine {
    /// Loads policy files and packs beside the floor, or the default pack if there are none.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and line: a syntax error, something that the
    /// schema does not know, an id that is missing, taken or reserved, a path that is not absolute
    /// and normalised, an unknown pack, class or group, a policy that can never apply.
    pub fn load(files: &[PolicyFile]) -> Result<Self, Error> {
        Self::load_set(&PolicySet { files: files.to_vec(), ..PolicySet::default() })
    }

    /// As [`Engine::load`], with groups and with labels of hosts.
    ///
    /// # Errors
    /// As [`Engine::load`]; a group, member or label that is no name.
    pub fn load_set(set: &PolicySet) -> Result<Self, Error> {
        load::load(set)
    }

    /// SHA-256, lower-case hex, over schema, path classes, floor, files and entities. Recorded with
    /// every decision.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The policies beside the floor, with their text.
    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    /// Groups and labels as the operator gave them.
    pub fn entities(&self) -> &PolicyEntities {
        &self.entities
    }

    /// A host with the labels that the operator gave it, which win over its own.
    #[must_use]
    pub fn labelled(&self, host: &Host) -> Host {
        let mut host = host.clone();
        let given = self.known.labels(&host.name);
        host.labels.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
        host
    }

    /// Groups that a host is in, sorted.
    #[must_use]
    pub fn host_groups(&self, host: &str) -> Vec<String> {
        self.known.host_groups(host)
    }

    /// What an author may want to mend: policies without any scope are asked for every effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Number of policies, the floor's included.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// False: the floor is always there.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    fn reference(&self, id: &str, kind: EffectKind, target: &str) -> PolicyRef {
        let effect = effect_text(kind, target);
        match self.rules.get(id) {
            Some(rule) => {
                PolicyRef { id: rule.id.clone(), reason: rule.reason.clone(), remedy: rule.remedy.clone(), effect }
            }
            None => PolicyRef { id: id.to_owned(), effect, ..PolicyRef::default() },
        }
    }
}

/// True if the policy is one that no file can relax.
pub(crate) fn is_floor(policy: &PolicyRef) -> bool {
    policy.id.starts_with(FLOOR_PREFIX)
}
