//! What a command did beside its changes: whom it contacted, what it started, what it left.

use cmdop_contract::digest::observation_digest;
use cmdop_contract::v1::{EffectKind, NetworkChange, Observation, ObservedEffect, Report, Unobserved};

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
}

impl Beside {
    /// Every process of the command must be dead or stopped.
    pub(super) fn of(command: &Command, finished: Result<&Finished, &Error>) -> Self {
        let (mut loose, refused) =
            command.network.as_ref().map(|network| (network.effects(), network.refused())).unwrap_or_default();
        let (looks, unseen) = match &command.processes {
            Some(processes) => (processes.looks(), processes.unobserved()),
            None => (Vec::new(), Some(unseen())),
        };
        let left = finished.ok().and_then(|finished| finished.left.as_ref());
        loose.extend(left.map(|left| left.effects().to_vec()).unwrap_or_default());
        let ended = finished.map(|finished| finished.ended.clone()).unwrap_or_default();
        Self { loose, refused, looks, unseen, ended }
    }

    /// An approval of the changes is one of these, too, so the digest has both.
    pub(super) fn add_to(self, observation: &mut Observation) {
        observation.effects.extend(self.loose);
        observation.digest = observation_digest(&observation.effects);
        observation.refused = self.refused;
        observation.looks = self.looks;
        observation.unobserved.extend(self.unseen);
        observation.ended = self.ended;
    }

    /// The report of a failure that has something to tell.
    pub(super) fn keep(self, mut failed: Report) -> Report {
        if !(self.loose.is_empty() && self.refused.is_empty() && self.looks.is_empty()) {
            self.add_to(failed.observation.get_or_insert_default());
        }
        failed
    }
}

/// The command ran where nobody sees what it starts.
fn unseen() -> Unobserved {
    let why = "this host cannot see what a command starts; `cmdop doctor` says why".to_owned();
    Unobserved { kind: EffectKind::ProcessSpawn.into(), why }
}
