//! Standing grants: what a person agreed to beforehand, used up permit by permit.

use std::collections::{BTreeMap, HashMap, HashSet};

use cmdop_contract::effect::{Effect, Target};
use cmdop_contract::redact;
use cmdop_contract::v1::{
    Actor, Event, ExpectedEffect, GrantCreated, GrantRevocation, GrantRevoked, PermittedEffect, Reason, StandingGrant,
    event::Kind,
};

use super::freezes::Standing;
use super::{Entry, Ledger};
use crate::Error;

/// Grants that are over and still remembered.
const MOST_OVER: usize = 1_000;

/// The memory of grants. Their ids begin with the time.
#[derive(Default)]
pub(super) struct Grants {
    by_id: BTreeMap<String, StandingGrant>,
    /// Uses that a permit took which is not durable yet, by grant; each by its attempt's stage.
    reserved: HashMap<String, HashSet<Use>>,
}

/// Call, attempt and stage that a grant is used for.
pub(super) type Use = (String, u32, i32);

/// Who wants to use grants, and where.
pub(super) struct Wanting<'a> {
    pub(super) actor: &'a Actor,
    pub(super) standing: &'a Standing,
    pub(super) at: i64,
}

impl Grants {
    pub(super) fn created(&mut self, grant: StandingGrant) {
        let at = grant.created_at;
        self.by_id.entry(grant.grant_id.clone()).or_insert(grant);
        let is_over = |grant: &&StandingGrant| !is_in_force(grant, at);
        let over = self.by_id.values().filter(is_over).count();
        let oldest = self.by_id.values().filter(is_over).map(|grant| grant.grant_id.clone());
        let forgotten: Vec<String> = oldest.take(over.saturating_sub(MOST_OVER)).collect();
        for grant_id in forgotten {
            self.by_id.remove(&grant_id);
        }
    }

    pub(super) fn revoked(&mut self, grant_id: &str, revocation: Option<GrantRevocation>) {
        if let Some(grant) = self.by_id.get_mut(grant_id) {
            grant.revocation = revocation;
        }
    }

    /// A permit that used these is durable.
    pub(super) fn used(&mut self, grants: &[String], by: &Use) {
        for grant_id in grants {
            self.give_back_one(grant_id, by);
            if let Some(grant) = self.by_id.get_mut(grant_id) {
                grant.used = grant.used.saturating_add(1);
            }
        }
    }

    /// Takes one use of each grant that is needed to answer for all effects; `None` if some are not granted.
    pub(super) fn take(&mut self, asked: &[PermittedEffect], by: &Wanting<'_>, of: &Use) -> Option<Vec<String>> {
        let chosen = self.answering(asked, by)?;
        for grant_id in &chosen {
            self.reserved.entry(grant_id.clone()).or_default().insert(of.clone());
        }
        Some(chosen)
    }

    /// Nothing was recorded of what these were taken for.
    pub(super) fn give_back(&mut self, grants: &[String], by: &Use) {
        grants.iter().for_each(|grant_id| self.give_back_one(grant_id, by));
    }

    fn give_back_one(&mut self, grant_id: &str, by: &Use) {
        if let Some(reserved) = self.reserved.get_mut(grant_id) {
            reserved.remove(by);
            if reserved.is_empty() {
                self.reserved.remove(grant_id);
            }
        }
    }

    /// Grants that together answer for all these effects.
    fn answering(&self, asked: &[PermittedEffect], by: &Wanting<'_>) -> Option<Vec<String>> {
        let free = |grant: &&StandingGrant| {
            let reserved = self.reserved.get(&grant.grant_id).map_or(0, HashSet::len);
            (grant.used as usize).saturating_add(reserved) < grant.uses as usize
        };
        let granted: Vec<(&StandingGrant, Effect)> = self
            .by_id
            .values()
            .filter(|grant| is_in_force(grant, by.at) && is_for(grant, by))
            .filter(free)
            .filter_map(|grant| Some((grant, effect(grant.effect.as_ref()?)?)))
            .collect();
        let mut chosen = Vec::new();
        for asked in asked {
            let target = Target::parse(asked.kind(), &asked.target, &Default::default()).ok()?;
            let wanted = Effect::new(asked.kind(), target);
            let covers = |(grant, effect): &&(&StandingGrant, Effect)| {
                let most = grant.effect.as_ref().and_then(|effect| effect.max_count);
                let is_few = most.is_none_or(|most| asked.max_count.is_some_and(|count| count <= most));
                is_few && effect.covers(wanted.kind, wanted.reach())
            };
            let (grant, _) = granted.iter().find(covers)?;
            if !chosen.contains(&grant.grant_id) {
                chosen.push(grant.grant_id.clone());
            }
        }
        Some(chosen)
    }
}

/// What a grant lets happen.
fn effect(granted: &PermittedEffect) -> Option<Effect> {
    let expected = ExpectedEffect { kind: granted.kind, target: granted.target.clone(), ..ExpectedEffect::default() };
    Effect::parse(&expected, &Default::default()).ok()
}

/// Is it neither spent, expired nor revoked?
fn is_in_force(grant: &StandingGrant, at: i64) -> bool {
    grant.revocation.is_none() && grant.used < grant.uses && (grant.created_at..grant.expires_at).contains(&at)
}

fn is_for(grant: &StandingGrant, by: &Wanting<'_>) -> bool {
    let tenant = |tenant: &str| if tenant.is_empty() { "local".to_owned() } else { tenant.to_owned() };
    let author = grant.author.as_ref().map(|author| tenant(&author.tenant)).unwrap_or_default();
    // One whose hosts cannot be read is for none.
    let is_there = grant.hosts.as_ref().is_some_and(|hosts| by.standing.is_of(hosts));
    !grant.agent.is_empty() && grant.agent == by.actor.agent && author == tenant(&by.actor.tenant) && is_there
}

impl Ledger {
    /// Records a grant, then puts it in force.
    ///
    /// # Errors
    /// What keeps it from being recorded; there is none then.
    pub async fn create_grant(&self, mut grant: StandingGrant) -> Result<StandingGrant, Error> {
        redact::in_place(&mut grant.why);
        let created = Kind::GrantCreated(GrantCreated { grant: Some(grant.clone()) });
        let event = Event { at: grant.created_at, subject: grant.grant_id.clone(), kind: Some(created) };
        self.append_sparing(&mut vec![Entry::from(&event)]).await?;
        Ok(grant)
    }

    /// Revokes a grant at once, then records that.
    ///
    /// # Errors
    /// UNKNOWN_GRANT if none of that id is remembered, or it was revoked before; what keeps it from being recorded: it is
    /// revoked all the same, until this process ends.
    pub async fn revoke_grant(&self, grant_id: &str, mut revocation: GrantRevocation) -> Result<StandingGrant, Error> {
        redact::in_place(&mut revocation.why);
        let revoked = {
            let mut memory = self.inner.memory.lock();
            let known = memory.grants.by_id.get_mut(grant_id).filter(|grant| grant.revocation.is_none());
            let grant = known.ok_or_else(|| unknown(grant_id))?;
            grant.revocation = Some(revocation.clone());
            grant.clone()
        };
        let event = Kind::GrantRevoked(GrantRevoked { grant_id: grant_id.to_owned(), revocation: Some(revocation) });
        let event = Event { at: self.now(), subject: grant_id.to_owned(), kind: Some(event) };
        self.append(&mut vec![Entry::from(&event)]).await?;
        Ok(revoked)
    }

    /// Grants in force, newest first; with those that are over if asked for.
    #[must_use]
    pub fn grants(&self, all: bool) -> Vec<StandingGrant> {
        let (memory, at) = (self.inner.memory.lock(), self.now());
        memory.grants.by_id.values().rev().filter(|grant| all || is_in_force(grant, at)).cloned().collect()
    }

    /// One grant.
    ///
    /// # Errors
    /// UNKNOWN_GRANT.
    pub fn grant(&self, grant_id: &str) -> Result<StandingGrant, Error> {
        self.inner.memory.lock().grants.by_id.get(grant_id).cloned().ok_or_else(|| unknown(grant_id))
    }

    /// Would grants answer for these effects now? Only the permit takes them.
    #[must_use]
    pub fn has_grants(&self, asked: &[PermittedEffect], actor: &Actor, standing: &Standing) -> bool {
        let wanting = Wanting { actor, standing, at: self.now() };
        !actor.agent.is_empty() && self.inner.memory.lock().grants.answering(asked, &wanting).is_some()
    }
}

fn unknown(grant_id: &str) -> Error {
    Error::typed(
        Reason::UnknownGrant,
        format!("no standing grant `{grant_id}` is in force; see `cmdop grants list --all`"),
    )
}
