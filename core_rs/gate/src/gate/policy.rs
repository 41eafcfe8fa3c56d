//! The policy that calls are decided by, and how another takes its place while calls go on.

use std::sync::{Arc, OnceLock};

use cmdop_contract::reason;
use cmdop_contract::v1::{self, AutonomyConfig, AutonomyLevel, PolicyReloaded, PolicySet, PolicyStatus, Reason, event};
use cmdop_policy::engine::Engine;
use parking_lot::RwLock;

use super::Gate;
use crate::judge::BoxFuture;
use crate::live::Input;

/// Whoever reads the files of a policy.
pub trait PolicySource: Send + Sync + 'static {
    /// The policy as its files are now.
    fn read(&self) -> BoxFuture<Result<PolicySet, v1::Error>>;
}

/// One whole policy at any moment, levels of agents included. Who decides takes it once, and decides everything by that.
pub(crate) struct Policy {
    current: RwLock<Current>,
    source: OnceLock<Arc<dyn PolicySource>>,
    /// Held while another is loaded: of two reloads the later one counts.
    reloading: tokio::sync::Mutex<()>,
}

struct Current {
    engine: Arc<Engine>,
    autonomy: AutonomyConfig,
    loaded_at: i64,
}

impl Policy {
    pub(super) fn new(engine: Engine, autonomy: AutonomyConfig, loaded_at: i64) -> Self {
        let current = Current { engine: Arc::new(engine), autonomy, loaded_at };
        Self { current: RwLock::new(current), source: OnceLock::new(), reloading: tokio::sync::Mutex::default() }
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.current.read().engine.clone()
    }

    /// What decides about an agent, and the agent's level, of one and the same moment. No level: a person who acts
    /// under their own name.
    pub(crate) fn for_agent(&self, agent: &str) -> (Arc<Engine>, Option<AutonomyLevel>) {
        let current = self.current.read();
        (current.engine.clone(), level(&current.autonomy, agent))
    }
}

fn level(autonomy: &AutonomyConfig, agent: &str) -> Option<AutonomyLevel> {
    if agent.is_empty() {
        return None;
    }
    let set = autonomy.agents.get(agent).copied().unwrap_or(autonomy.default_level);
    Some(match AutonomyLevel::try_from(set) {
        Ok(AutonomyLevel::Unspecified) | Err(_) => AutonomyLevel::Ask,
        Ok(level) => level,
    })
}

impl Gate {
    /// Says who reads the policy's files when they are to be read anew. Once; a second is ignored.
    pub fn read_policy_from(&self, source: Arc<dyn PolicySource>) {
        let _first_stays = self.shared.policy.source.set(source);
    }

    /// The policy that calls are decided by now.
    #[must_use]
    pub fn policy(&self) -> PolicyStatus {
        let current = self.shared.policy.current.read();
        PolicyStatus {
            version: current.engine.version().to_owned(),
            files: current.engine.files().to_vec(),
            entities: Some(current.engine.entities().clone()),
            loaded_at: current.loaded_at,
            warnings: current.engine.warnings().to_vec(),
            autonomy: Some(current.autonomy.clone()),
        }
    }

    /// Reads the policy's files anew, and decides by them from now on; levels of agents and who answers approvals are
    /// read with them.
    ///
    /// # Errors
    /// INVALID_CONFIGURATION with file and line if they are broken, or if nobody reads files for this
    /// server; what the ledger says. Policy, levels and approvers then go on as they were.
    pub async fn reload_policy(&self) -> Result<PolicyStatus, v1::Error> {
        let source = self.shared.policy.source.get().cloned();
        let source = source.ok_or_else(|| broken("this server was given its policy and reads no files".to_owned()))?;
        let _one_at_a_time = self.shared.policy.reloading.lock().await;
        let set = source.read().await?;
        self.shared.approvers.check_next(&set.approvers)?;
        let status = self.replace_policy(&set).await?;
        self.shared.approvers.replace(set.approvers);
        Ok(status)
    }

    /// The same with a policy that was read already.
    ///
    /// What was decided stays: a permit that is out holds. Whatever is decided next is decided by the
    /// new policy and the new levels, what a preview showed, too. A question that waits for a person is void under
    /// another policy: the answer would be about the one before. Another level alone leaves it: the person who was asked
    /// decides whatever the level is.
    async fn replace_policy(&self, set: &PolicySet) -> Result<PolicyStatus, v1::Error> {
        let engine = Engine::load_set(set).map_err(|error| broken(error.to_string()))?;
        let (previous, levels) = {
            let current = self.shared.policy.current.read();
            (current.engine.version().to_owned(), current.autonomy.clone())
        };
        let autonomy = set.autonomy.clone().unwrap_or_else(|| levels.clone());
        let is_another_policy = engine.version() != previous;
        if !is_another_policy && autonomy == levels {
            return Ok(self.policy());
        }
        let reloaded = PolicyReloaded {
            policy_version: engine.version().to_owned(),
            previous_version: previous.clone(),
            files: engine.files().iter().map(|file| file.name.clone()).collect(),
            autonomy: Some(autonomy.clone()),
        };
        // Recorded before anything is decided by it.
        self.append("server".to_owned(), event::Kind::PolicyReloaded(reloaded)).await?;
        tracing::info!(version = engine.version(), previous, "decides by other policy files from now on");
        let current = Current { engine: Arc::new(engine), autonomy, loaded_at: self.shared.ledger.now() };
        *self.shared.policy.current.write() = current;
        if is_another_policy {
            for live in self.shared.live.lock().values() {
                // One that does not listen now decides anew before it goes on.
                let _ = live.inputs.try_send(Input::PolicyChanged);
            }
        }
        Ok(self.policy())
    }
}

fn broken(message: String) -> v1::Error {
    reason::error(Reason::InvalidConfiguration, message).stop("the policy files must be mended by who keeps them")
}
