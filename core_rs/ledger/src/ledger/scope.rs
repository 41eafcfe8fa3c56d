//! Runs and sessions that a person ended, and when the user said something new to them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use cmdop_contract::reason;
use cmdop_contract::v1::{Actor, Error as Typed, Reason};

use super::Ledger;

/// Runs that were begun one from another, at most.
pub const DEEPEST: usize = 16;

/// The narrowest thing that an actor works in: its run, else its session. Empty if there is neither.
pub(super) fn scope_of(actor: &Actor) -> String {
    match (actor.run.as_str(), actor.session.as_str()) {
        ("", "") => String::new(),
        ("", session) => format!("session {} {} {session}", actor.tenant, actor.user),
        (run, _) => format!("run {run}"),
    }
}

fn scopes(actor: &Actor) -> [String; 2] {
    let session = Actor { run: String::new(), ..actor.clone() };
    [scope_of(actor), scope_of(&session)]
}

/// What people said to runs and sessions as wholes.
///
/// What a person ended stays so for ever, so only a fingerprint is kept of it.
#[derive(Default)]
pub(super) struct Words {
    /// Which run began a run: what binds that binds this.
    parents: HashMap<String, String>,
    secret: RandomState,
    ended: HashSet<u64>,
    instructed: HashMap<String, i64>,
}

impl Words {
    /// A run was begun from another.
    pub(super) fn begun(&mut self, run_id: &str, parent: &str) {
        if !parent.is_empty() {
            self.parents.insert(format!("run {run_id}"), format!("run {parent}"));
        }
    }

    /// With the runs that began these, each behind its own.
    pub(super) fn with_parents(&self, scopes: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut all = Vec::new();
        for scope in scopes {
            let above = std::iter::successors(Some(scope), |scope| self.parents.get(scope).cloned());
            all.extend(above.take(DEEPEST));
        }
        all
    }

    /// Does the actor work in it, or in a run that was begun from it?
    pub(super) fn is_in(&self, scope: &str, actor: &Actor) -> bool {
        !scope.is_empty() && self.with_parents(scopes(actor)).iter().any(|known| known == scope)
    }

    /// False if it had ended before.
    pub(super) fn end(&mut self, scope: &str) -> bool {
        !scope.is_empty() && self.ended.insert(self.secret.hash_one(scope))
    }

    /// That it ended could not be recorded, so it did not.
    pub(super) fn go_on(&mut self, scope: &str) {
        self.ended.remove(&self.secret.hash_one(scope));
    }

    /// Notes an instruction; returns when the one before was given.
    pub(super) fn instruct(&mut self, scope: &str, at: i64) -> Option<i64> {
        if scope.is_empty() { None } else { self.instructed.insert(scope.to_owned(), at) }
    }

    pub(super) fn restore(&mut self, scope: &str, earlier: Option<i64>) {
        match earlier {
            Some(at) => self.instructed.insert(scope.to_owned(), at),
            None => self.instructed.remove(scope),
        };
    }

    /// A run that ended needs no instruction any more.
    pub(super) fn forget(&mut self, scope: &str) {
        self.instructed.remove(scope);
        self.parents.remove(scope);
    }

    /// # Errors
    /// RUN_TERMINATED if a person ended what the actor works in.
    pub(super) fn check_ended(&self, actor: &Actor) -> Result<(), Box<Typed>> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let is_ended = |scope: &String| !scope.is_empty() && self.ended.contains(&self.secret.hash_one(&**scope));
        let Some(ended) = self.with_parents(scopes(actor)).into_iter().find(is_ended) else { return Ok(()) };
        let what = ended.split(' ').next().unwrap_or("run");
        let message = format!("a person ended the {what} that this call belongs to; nothing more of it is taken");
        Err(Box::new(reason::error(Reason::RunTerminated, message)))
    }

    fn is_superseded(&self, actor: &Actor, proposed_at: i64) -> bool {
        let scopes = self.with_parents(scopes(actor));
        scopes.iter().filter_map(|scope| self.instructed.get(scope)).any(|at| proposed_at < *at)
    }
}

impl Ledger {
    /// May an actor do anything at all in its run and session?
    ///
    /// # Errors
    /// RUN_TERMINATED.
    pub fn check_ended(&self, actor: &Actor) -> Result<(), Box<Typed>> {
        self.inner.memory.lock().words.check_ended(actor)
    }

    /// Did the user give the actor's run or session a newer instruction than what was proposed then?
    #[must_use]
    pub fn is_superseded(&self, actor: &Actor, proposed_at: i64) -> bool {
        self.inner.memory.lock().words.is_superseded(actor, proposed_at)
    }

    /// Does an actor work in the same run, or else session, as another, or in a run that was begun from that?
    #[must_use]
    pub fn shares_scope(&self, one: &Actor, other: &Actor) -> bool {
        self.inner.memory.lock().words.is_in(&scope_of(one), other)
    }
}
