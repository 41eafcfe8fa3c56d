//! What a command did beside its changes: whom it contacted, what it started, what it left.

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{EffectKind, NetworkChange, Observation, ObservedEffect, RefusedAttempt, Report, Unobserved};

use crate::Error;
use crate::exec::{Command, Finished};

/// No private copy holds it back, so it is told whatever becomes of the changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    /// Contacts, and what was left running.
    loose: Vec<ObservedEffect>,
    refused: Vec<NetworkChange>,
    looks: Vec<ObservedEffect>,
    unseen: Option<Unobserved>,
    ended: Vec<ObservedEffect>,
    attempts: Vec<RefusedAttempt>,
    attempts_more: u64,
}

impl Beside {
    /// Every process of the command must be dead or stopped.
    pub(super) fn of(call: &str, command: &Command, finished: Result<&Finished, &Error>) -> Self {
        let (mut loose, refused) =
            command.network.as_ref().map(|network| (network.effects(), network.refused())).unwrap_or_default();
        command.attempts.add_contacts(&refused);
        let (attempts, attempts_more) = command.attempts.told();
        audit(call, &attempts, attempts_more);
        let (looks, unseen) = match &command.processes {
            Some(processes) => (processes.looks(), processes.unobserved()),
            None => (Vec::new(), Some(unseen())),
        };
        let left = finished.ok().and_then(|finished| finished.left.as_ref());
        loose.extend(left.map(|left| left.effects().to_vec()).unwrap_or_default());
        let ended = finished.map(|finished| finished.ended.clone()).unwrap_or_default();
        Self { loose, refused, looks, unseen, ended, attempts, attempts_more }
    }

    /// An approval of the changes is one of these, too, so the digest has both.
    pub(super) fn add_to(self, observation: &mut Observation) {
        observation.effects.extend(self.loose);
        observation.digest = observation_digest(&observation.effects);
        observation.refused = self.refused;
        observation.looks = self.looks;
        observation.unobserved.extend(self.unseen);
        observation.ended = self.ended;
        observation.attempts = self.attempts;
        observation.attempts_more = self.attempts_more;
    }

    /// The report of a failure that has something to tell.
    pub(super) fn keep(self, mut failed: Report) -> Report {
        let has_nothing = self.loose.is_empty() && self.attempts.is_empty() && self.looks.is_empty();
        if !has_nothing {
            self.add_to(failed.observation.get_or_insert_default());
        }
        failed
    }
}

/// One line of what a command tried, however much that was.
fn audit(call: &str, attempts: &[RefusedAttempt], more: u64) {
    if attempts.is_empty() {
        return;
    }
    let count = attempts.iter().fold(more, |sum, attempt| sum.saturating_add(attempt.count));
    let tried = attempts.iter().map(|attempt| &*attempt.what).collect::<Vec<_>>().join(", ");
    tracing::warn!(call, count, tried, "a command tried to reach beyond its confinement, and was refused");
}

/// The command ran where nobody sees what it starts.
fn unseen() -> Unobserved {
    let why = "this host cannot see what a command starts; `cmdop doctor` says why".to_owned();
    Unobserved { kind: EffectKind::ProcessSpawn.into(), why }
}
