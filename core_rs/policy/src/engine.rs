//! Cedar, made to fail closed: policies are parsed, checked and indexed once, then asked point by point.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Schema};
use cmdop_contract::v1::{EffectKind, PolicyFile, PolicyRef, Reason};

use crate::points::Anchors;

mod ask;
mod check;
mod load;
mod memory;
mod name;
mod slice;

pub(crate) use ask::{Inquiry, Verdict};
pub(crate) use name::{Group, Subject, effect_text, path_uid, uid};

use memory::Memory;
use slice::Slices;

const SCHEMA: &str = include_str!("cedar/cmdop.cedarschema");
const FLOOR: &str = include_str!("cedar/floor.cedar");
/// The policy that is used where no files are given. Files of one's own replace it; add it to them to keep it.
pub const DEFAULT_POLICY: &str = include_str!("cedar/workspace.cedar");

/// Ids of the floor's policies begin with this, and no other policy's may.
const FLOOR_PREFIX: &str = "floor.";

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

/// What a policy says about itself.
#[derive(Debug)]
struct Rule {
    id: String,
    reason: String,
    remedy: String,
    /// True for a forbid that a person may lift.
    holds: bool,
}

/// A checked set of policies with the floor, ready to be asked. Cheap to share behind an `Arc`.
pub struct Engine {
    schema: Schema,
    authorizer: Authorizer,
    /// Every action with its groups. Without these a forbid on a group would silently do nothing.
    actions: Entities,
    slices: Slices,
    memory: Memory,
    rules: BTreeMap<String, Arc<Rule>>,
    anchors: Anchors,
    version: String,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("version", &self.version).field("policies", &self.rules.len()).finish()
    }
}

impl Engine {
    /// Loads policy files beside the floor, or the shipped default policy if there are none.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and line: a syntax error, something that the
    /// schema does not know, an id that is missing, taken or reserved, a path that is not absolute
    /// and normalised, an unknown class or group, a policy that can never apply.
    pub fn load(files: &[PolicyFile]) -> Result<Self, Error> {
        load::load(files)
    }

    /// SHA-256, lower-case hex, over schema, path classes, floor and files. Recorded with every decision.
    pub fn version(&self) -> &str {
        &self.version
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
