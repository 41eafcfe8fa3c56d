//! Freezes: while one is in force, no permit is made that changes anything on its hosts.

use std::collections::BTreeMap;

use cmdop_contract::v1::{
    Error as Typed, Event, Freeze, FreezeCreated, FreezeLift, FreezeLifted, FreezeScope, Reason, event::Kind,
    freeze_scope,
};
use cmdop_contract::{reason, redact};

use super::{Entry, Ledger};
use crate::Error;

/// A host as freezes see it.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Its name.
    pub host: String,
    /// Its labels, those of the operator over its own.
    pub labels: BTreeMap<String, String>,
    /// Groups that it is in.
    pub groups: Vec<String>,
}

impl Standing {
    /// Is this host one that the freeze is about?
    #[must_use]
    pub fn is_in(&self, freeze: &Freeze) -> bool {
        // A scope that cannot be read is of everything.
        freeze.scope.as_ref().filter(|scope| scope.kind.is_some()).is_none_or(|scope| self.is_of(scope))
    }

    /// Is this host one of these?
    #[must_use]
    pub fn is_of(&self, scope: &FreezeScope) -> bool {
        use freeze_scope::Kind as Scope;
        match scope.kind.as_ref() {
            Some(Scope::Host(host)) => *host == self.host,
            Some(Scope::Group(group)) => self.groups.contains(group),
            Some(Scope::Label(label)) => self.labels.get(&label.name) == Some(&label.value),
            Some(Scope::Everything(_)) => true,
            None => false,
        }
    }
}

impl Ledger {
    /// Puts a freeze in force, then records it.
    ///
    /// # Errors
    /// What keeps it from being recorded. It is in force all the same, until this process ends.
    pub async fn freeze(&self, mut freeze: Freeze) -> Result<Freeze, Error> {
        redact::in_place(&mut freeze.why);
        self.inner.memory.lock().freezes.insert(freeze.freeze_id.clone(), freeze.clone());
        let created = Kind::FreezeCreated(FreezeCreated { freeze: Some(freeze.clone()) });
        let event = Event { at: self.now(), subject: freeze.freeze_id.clone(), kind: Some(created) };
        self.append(&mut vec![Entry::from(&event)]).await?;
        Ok(freeze)
    }

    /// Records that a freeze is lifted, then lifts it.
    ///
    /// # Errors
    /// UNKNOWN_FREEZE if none of that id is in force; what keeps it from being recorded, and then it
    /// stays in force.
    pub async fn lift(&self, freeze_id: &str, mut lift: FreezeLift) -> Result<Freeze, Error> {
        redact::in_place(&mut lift.why);
        let known = self.inner.memory.lock().freezes.get(freeze_id).cloned();
        let freeze = known.filter(|freeze| freeze.lift.is_none()).ok_or_else(|| {
            Error::typed(Reason::UnknownFreeze, format!("no freeze `{freeze_id}` is in force; see `cmdop freeze list`"))
        })?;
        let lifted = Kind::FreezeLifted(FreezeLifted { freeze_id: freeze_id.to_owned(), lift: Some(lift.clone()) });
        let event = Event { at: self.now(), subject: freeze_id.to_owned(), kind: Some(lifted) };
        self.append(&mut vec![Entry::from(&event)]).await?;
        Ok(Freeze { lift: Some(lift), ..freeze })
    }

    /// Freezes in force, newest first; with those that were lifted if asked for.
    #[must_use]
    pub fn freezes(&self, lifted: bool) -> Vec<Freeze> {
        let memory = self.inner.memory.lock();
        // Their ids begin with the time.
        memory.freezes.values().rev().filter(|freeze| lifted || freeze.lift.is_none()).cloned().collect()
    }

    /// Why nothing may change on a host now, if a freeze says so.
    ///
    /// # Errors
    /// FROZEN, naming the freeze.
    pub fn check_frozen(&self, standing: &Standing) -> Result<(), Box<Typed>> {
        self.inner.memory.lock().frozen(standing).map_or(Ok(()), |freeze| Err(Box::new(frozen(freeze, standing))))
    }
}

/// What whoever wanted to change something is told.
pub(super) fn frozen(freeze: &Freeze, standing: &Standing) -> Typed {
    let author = freeze.author.as_ref().map_or("", |author| &author.user);
    let message = format!(
        "host `{}` is frozen by {author}: {}; nothing changes on it until a person lifts that with \
         `cmdop freeze lift {}`",
        standing.host,
        freeze.why.trim_end_matches('.'),
        freeze.freeze_id
    );
    reason::error(Reason::Frozen, message)
}
