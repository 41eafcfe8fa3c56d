//! What a decision can be. Grants and questions are made here and nowhere else.

use cmdop_contract::v1::{ApprovalSubject, Decision, Error, PermittedEffect, PolicyEffect, Quorum, SideEffect};
use prost::Message;
use sha2::{Digest, Sha256};

use super::bound::is_of_session;

/// Policy allows: the only thing from which a permit can be made without a person.
///
/// No other crate can make one, copy one or change what it carries, so whoever holds a grant
/// holds a decision. Reading it is fine:
///
/// ```
/// use cmdop_contract::v1::Decision;
/// use cmdop_policy::decide::Grant;
///
/// fn decision(grant: &Grant) -> &Decision {
///     grant.decision()
/// }
/// ```
///
/// The same with the field instead of its reader does not compile:
///
/// ```compile_fail,E0616
/// use cmdop_contract::v1::Decision;
/// use cmdop_policy::decide::Grant;
///
/// fn decision(grant: &Grant) -> &Decision {
///     &grant.decision
/// }
/// ```
///
/// Nor does making one:
///
/// ```compile_fail,E0451
/// use cmdop_contract::v1::Decision;
/// use cmdop_policy::decide::Grant;
///
/// fn forge(decision: Decision) -> Grant {
///     Grant { decision, action_digest: String::new(), observation_digest: None }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a grant that is dropped permits nothing"]
pub struct Grant {
    decision: Decision,
    action_digest: String,
    observation_digest: Option<String>,
}

impl Grant {
    pub(super) fn new(decision: Decision, action_digest: &str, observation_digest: Option<&str>) -> Self {
        debug_assert_eq!(decision.effect(), PolicyEffect::Allow, "only what is allowed is granted");
        Self {
            decision,
            action_digest: action_digest.to_owned(),
            observation_digest: observation_digest.map(str::to_owned),
        }
    }

    /// The decision with the stage and the effects that a permit may carry.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Digest of the action that was decided on.
    pub fn action_digest(&self) -> &str {
        &self.action_digest
    }

    /// Digest of the observation that may be committed; absent before anything ran.
    pub fn observation_digest(&self) -> Option<&str> {
        self.observation_digest.as_deref()
    }
}

/// Policy holds: a person must answer exactly this question.
///
/// The answer is bound to [`Ask::digest`], and as only a decision makes an ask, nothing can be
/// approved that policy did not put to a person. Its digest may be read:
///
/// ```
/// use cmdop_policy::decide::Ask;
///
/// fn question(ask: &Ask) -> String {
///     ask.digest()
/// }
/// ```
///
/// but what it is about cannot be changed from outside:
///
/// ```compile_fail,E0616
/// use cmdop_policy::decide::Ask;
///
/// fn question(ask: &Ask) -> String {
///     ask.action_digest.clone()
/// }
/// ```
///
/// and none can be made:
///
/// ```compile_fail,E0624
/// use cmdop_contract::v1::{ApprovalSubject, Decision};
/// use cmdop_policy::decide::Ask;
///
/// fn forge(decision: Decision) -> Ask {
///     Ask::before_execution(decision, "digest", String::new())
/// }
/// ```
#[derive(Debug)]
#[must_use = "a question that is dropped is never asked"]
pub struct Ask {
    decision: Decision,
    action_digest: String,
    observation_digest: Option<String>,
    subject: ApprovalSubject,
    why: String,
    beyond: Vec<SideEffect>,
    stakes: Stakes,
}

/// What is at stake: who must agree, and what nothing takes back.
#[derive(Debug, Default)]
pub(super) struct Stakes {
    pub(super) quorums: Vec<Quorum>,
    /// As `kind:target`.
    pub(super) irreversible: Vec<String>,
    /// What whoever approves must type; empty for nothing.
    pub(super) confirm: String,
    /// Every effect that a person is asked about, if one may have agreed to them beforehand.
    pub(super) asked: Option<Vec<PermittedEffect>>,
}

impl Ask {
    /// May the action run at all?
    pub(super) fn before_execution(decision: Decision, action_digest: &str, why: String) -> Self {
        Self {
            decision,
            action_digest: action_digest.to_owned(),
            observation_digest: None,
            subject: ApprovalSubject::Execution,
            why,
            beyond: Vec::new(),
            stakes: Stakes::default(),
        }
    }

    pub(super) fn with_stakes(self, stakes: Stakes) -> Self {
        Self { stakes, ..self }
    }

    /// May this diff be committed?
    pub(super) fn about_diff(
        decision: Decision,
        action_digest: &str,
        observation_digest: &str,
        why: String,
        beyond: Vec<SideEffect>,
    ) -> Self {
        Self {
            decision,
            action_digest: action_digest.to_owned(),
            observation_digest: Some(observation_digest.to_owned()),
            subject: ApprovalSubject::Diff,
            why,
            beyond,
            stakes: Stakes::default(),
        }
    }

    /// The decision with the stage and the effects that approving would permit.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Digest of the action that is asked about.
    pub fn action_digest(&self) -> &str {
        &self.action_digest
    }

    /// Digest of the observation that is asked about; absent before anything ran.
    pub fn observation_digest(&self) -> Option<&str> {
        self.observation_digest.as_deref()
    }

    /// What exactly is asked.
    pub fn subject(&self) -> ApprovalSubject {
        self.subject
    }

    /// Why a person must decide, in one or two sentences.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// For a diff: what of it goes beyond the declaration or is held by policy.
    pub fn beyond(&self) -> &[SideEffect] {
        &self.beyond
    }

    /// Who must agree, each for a policy of its own.
    pub fn quorums(&self) -> &[Quorum] {
        &self.stakes.quorums
    }

    /// What nothing can take back, as `kind:target`.
    pub fn irreversible(&self) -> &[String] {
        &self.stakes.irreversible
    }

    /// What whoever approves must type; empty for nothing.
    pub fn confirm(&self) -> &str {
        &self.stakes.confirm
    }

    /// Every effect that a person is asked about, if one may have agreed to them beforehand by standing grants. `None`
    /// where they must look: something cannot be taken back, was not declared or not seen, a policy says who agrees, or
    /// a person rejected it before.
    pub fn grantable(&self) -> Option<&[PermittedEffect]> {
        let stakes = &self.stakes;
        let is_anybodys = stakes.quorums.iter().all(|quorum| quorum.policy.is_empty() && quorum.needed <= 1);
        let is_new = !self.decision.policies.iter().any(is_of_session);
        let may = is_anybodys && is_new && stakes.irreversible.is_empty() && stakes.confirm.is_empty();
        stakes.asked.as_deref().filter(|asked| may && !asked.is_empty())
    }

    /// SHA-256, lower-case hex, over subject, action digest, stage, permitted effects, policy
    /// version, the observation's digest, what is masked, who must agree and what cannot be taken back.
    ///
    /// Deciding the same inputs again gives the same digest; another action, diff, permission or
    /// policy gives another one. Each part is preceded by its length, so that no two questions
    /// share an encoding.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(b"cmdop.approval.v1");
        part(self.subject.as_str_name().as_bytes());
        part(self.action_digest.as_bytes());
        part(self.decision.stage().as_str_name().as_bytes());
        part(self.decision.policy_version.as_bytes());
        part(self.observation_digest.as_deref().unwrap_or_default().as_bytes());
        for effect in &self.decision.permitted {
            part(&effect.encode_to_vec());
        }
        part(&self.decision.masks.as_ref().map(Message::encode_to_vec).unwrap_or_default());
        for quorum in &self.stakes.quorums {
            part(&quorum.encode_to_vec());
        }
        self.stakes.irreversible.iter().for_each(|effect| part(effect.as_bytes()));
        part(self.stakes.confirm.as_bytes());
        hex(&hash.finalize())
    }
}

/// Policy refuses: nothing runs, or nothing is committed.
#[derive(Debug)]
pub struct Refusal {
    decision: Decision,
    error: Error,
}

impl Refusal {
    pub(super) fn new(decision: Decision, error: Error) -> Self {
        Self { decision, error }
    }

    /// The decision, with the policies that made it.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What to tell the caller, with a remedy.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

/// The answer to a proposal.
#[derive(Debug)]
pub enum Decided {
    /// It may not run.
    Refuse(Refusal),
    /// A person must decide before anything runs.
    Ask(Ask),
    /// It may run in the stage of the grant's decision.
    Go(Grant),
}

/// The answer to what a preview showed.
#[derive(Debug)]
pub enum DiffDecided {
    /// It may not be committed, whoever approves.
    Refuse(Refusal),
    /// A person must decide on the exact diff.
    Ask(Ask),
    /// It is committed by itself.
    Commit(Grant),
    /// There is nothing to commit.
    Nothing,
    /// The agent's level is shadow: it is reported and never committed.
    Shadow,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
