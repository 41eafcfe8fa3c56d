//! Standing grants: a person agrees beforehand to a few uses of a narrow kind of effect.

use std::time::Duration;

use cmdop_contract::effect::{Effect, is_irreversible};
use cmdop_contract::reason;
use cmdop_contract::v1::{
    self, Actor, EffectKind, ExpectedEffect, FreezeScope, GrantRevocation, PermittedEffect, Reason, StandingGrant,
    freeze_scope,
};
use cmdop_contract::validate::{Violations, check_actor};

use super::freezes::{MAX_WHY_CHARS, is_scope};
use super::{Gate, new_id};

/// Permits that may be made by one grant.
const MOST_USES: u32 = 1_000;
/// How long one holds at most.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

impl Gate {
    /// Makes a standing grant.
    ///
    /// # Errors
    /// NOT_PERMITTED for an agent; INVALID_ACTION for what is not narrow or none; what the ledger says.
    pub async fn create_grant(&self, request: v1::CreateGrantRequest) -> Result<StandingGrant, v1::Error> {
        let mut author = self.person(request.author, &request.why, "grants")?;
        if request.why.trim().is_empty() {
            return Err(missing("/why", "why: whoever reads the ledger wants to know"));
        }
        let mut found = Violations::new(self.shared.limits.violations);
        found.check_name("/agent", &request.agent);
        found.into_result()?;
        let is_narrow =
            |scope: &FreezeScope| is_scope(scope) && !matches!(scope.kind, Some(freeze_scope::Kind::Everything(_)));
        let hosts = request.hosts.filter(is_narrow).ok_or_else(|| missing("/hosts", "a host, a group or a label"))?;
        let effect = request.effect.unwrap_or_default();
        check_effect(&effect)?;
        if !(1..=MOST_USES).contains(&request.uses) {
            return Err(missing("/uses", "how often it may be used, 1 to 1000"));
        }
        let ttl = Duration::from_millis(request.ttl_ms);
        if ttl.is_zero() || ttl > LONGEST {
            return Err(missing("/ttl_ms", "how long it holds, at most 30 days"));
        }
        if author.tenant.is_empty() {
            author.tenant = "local".into();
        }
        let created_at = self.shared.ledger.now();
        let grant = StandingGrant {
            grant_id: new_id(),
            agent: request.agent,
            hosts: Some(hosts),
            effect: Some(effect),
            uses: request.uses,
            used: 0,
            expires_at: created_at.saturating_add(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)),
            why: request.why,
            author: Some(author),
            created_at,
            revocation: None,
        };
        Ok(self.shared.ledger.create_grant(grant).await?)
    }

    /// Revokes a grant: no permit is made by it when this returns.
    ///
    /// # Errors
    /// UNKNOWN_GRANT; NOT_PERMITTED for an agent; INVALID_ACTION. Anything else means that it is revoked and that this
    /// could not be recorded.
    pub async fn revoke_grant(&self, request: v1::RevokeGrantRequest) -> Result<StandingGrant, v1::Error> {
        let by = self.person(request.by, &request.why, "revokes")?;
        let revocation = GrantRevocation { by: Some(by), why: request.why, revoked_at: self.shared.ledger.now() };
        match self.shared.ledger.revoke_grant(&request.grant_id, revocation).await {
            Ok(grant) => Ok(grant),
            Err(cmdop_ledger::Error::Typed(error)) => Err(*error),
            Err(error) => {
                let mut error = v1::Error::from(error);
                error.message =
                    format!("{}; the grant is revoked, but the server forgets that when it ends", error.message);
                Err(error)
            }
        }
    }

    /// Grants in force, newest first; with those that are over if asked for.
    #[must_use]
    pub fn grants(&self, all: bool) -> Vec<StandingGrant> {
        self.shared.ledger.grants(all)
    }

    /// One grant.
    ///
    /// # Errors
    /// UNKNOWN_GRANT.
    pub fn grant(&self, grant_id: &str) -> Result<StandingGrant, v1::Error> {
        Ok(self.shared.ledger.grant(grant_id)?)
    }

    /// Who acts here, if it is a person.
    fn person(&self, actor: Option<Actor>, why: &str, does: &str) -> Result<Actor, v1::Error> {
        let actor = actor.unwrap_or_default();
        let mut found = Violations::new(self.shared.limits.violations);
        check_actor(&actor, &mut found);
        found.check_text("/why", why, MAX_WHY_CHARS);
        found.into_result()?;
        if !actor.agent.is_empty() {
            let message = format!("a person {does}; the agent `{}` does not", actor.agent);
            return Err(reason::error(Reason::NotPermitted, message).stop("only a person does that"));
        }
        if actor.user.is_empty() {
            return Err(missing("/author/user", "who does it"));
        }
        Ok(actor)
    }
}

/// Is it an effect that somebody could agree to beforehand?
fn check_effect(effect: &PermittedEffect) -> Result<(), v1::Error> {
    let kind = effect.kind();
    if kind == EffectKind::Unspecified {
        return Err(missing("/effect/kind", "a kind of effect, such as file.delete"));
    }
    if is_irreversible(kind) {
        let message = "what cannot be taken back is approved each time, by its name";
        return Err(
            reason::error(Reason::InvalidAction, message).fix_arguments("/effect/kind", "a kind that can be undone")
        );
    }
    let expected = ExpectedEffect { kind: effect.kind, target: effect.target.clone(), ..ExpectedEffect::default() };
    let parsed = Effect::parse(&expected, &Default::default()).map_err(|error| {
        let message = format!("the target `{}` cannot be read: {error}", effect.target);
        reason::error(Reason::InvalidEffect, message).fix_arguments("/effect/target", "an absolute target")
    })?;
    let is_all = match parsed.target.as_path() {
        Some(region) => region.literal_root() == b"/",
        None => effect.target.trim_matches(['*', ':']).is_empty(),
    };
    if is_all {
        return Err(missing("/effect/target", "a target that is narrower than everything"));
    }
    Ok(())
}

fn missing(path: &str, expected: &str) -> v1::Error {
    reason::error(Reason::InvalidAction, format!("a standing grant needs {expected}")).fix_arguments(path, expected)
}
