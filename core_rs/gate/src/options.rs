//! Limits and deadlines of a gate.

use std::time::Duration;

use cmdop_contract::v1::{AutonomyConfig, KnownApprover, ServerConfig};

/// Limits and deadlines of a gate. `Default` is what an unset field of `ServerConfig` means.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a person has to decide. Silence is a refusal.
    pub approval_ttl: Duration,
    /// How long a permit may take to reach its host.
    pub permit_ttl: Duration,
    /// How long the vocabulary may think about one command.
    pub judgement_ttl: Duration,
    /// How long a call waits for a host that went away while it worked.
    pub host_grace: Duration,
    /// Calls that may be open at once, held ones included.
    pub max_open_calls: usize,
    /// Verdicts of the vocabulary that are remembered.
    pub remembered_predictions: usize,
    /// Levels of agents, until others are read with the policy.
    pub autonomy: AutonomyConfig,
    /// Version of the vocabulary that the judge answers from.
    pub vocabulary_version: String,
    /// Who answers approvals. None: everybody is believed to be who they say.
    pub approvers: Vec<KnownApprover>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            approval_ttl: Duration::from_secs(3600),
            permit_ttl: Duration::from_secs(30),
            judgement_ttl: Duration::from_secs(2),
            host_grace: Duration::from_secs(10),
            max_open_calls: 20_000,
            remembered_predictions: 4_096,
            autonomy: AutonomyConfig::default(),
            vocabulary_version: String::new(),
            approvers: Vec::new(),
        }
    }
}

impl From<&ServerConfig> for Options {
    fn from(config: &ServerConfig) -> Self {
        let default = Self::default();
        let millis = |value: u64, default| if value == 0 { default } else { Duration::from_millis(value) };
        Self {
            approval_ttl: millis(config.approval_ttl_ms, default.approval_ttl),
            permit_ttl: millis(config.permit_ttl_ms, default.permit_ttl),
            judgement_ttl: millis(config.judgement_ttl_ms, default.judgement_ttl),
            host_grace: millis(config.host_grace_ms, default.host_grace),
            max_open_calls: match config.max_open_calls {
                0 => default.max_open_calls,
                calls => calls as usize,
            },
            autonomy: config.autonomy.clone().unwrap_or_default(),
            vocabulary_version: config.vocabulary_version.clone(),
            approvers: config.approvers.clone(),
            ..default
        }
    }
}
