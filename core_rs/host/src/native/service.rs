//! `service.*`: what is done to a service, and how it is afterwards.

use std::sync::Arc;

use cmdop_contract::v1::{EffectKind, ObservedEffect, Reason};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, invalid};
use super::{Means, Step};
use crate::Error;
use crate::service::{State, Status, Supervisor, Verb};

const DEFAULT_LINES: u64 = 100;
const MAX_LINES: u64 = 10_000;

/// A service and what is to be done to it.
pub(crate) struct Change {
    supervisor: Arc<dyn Supervisor>,
    name: String,
    verb: Verb,
    before: Status,
    after: Option<Status>,
}

/// How a service is.
///
/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `COMMAND_FAILED`, `INVALID_ARGUMENTS`.
pub(crate) fn status(supervisor: &dyn Supervisor, arguments: &Arguments) -> Result<Value, Error> {
    let name = name(arguments)?;
    Ok(told(supervisor, &name, &supervisor.status(&name)?))
}

/// What a service said last.
///
/// # Errors
/// As [`status`].
pub(crate) fn logs(supervisor: &dyn Supervisor, arguments: &Arguments) -> Result<Value, Error> {
    let lines = arguments.number("lines")?.unwrap_or(DEFAULT_LINES);
    if lines > MAX_LINES {
        return Err(invalid("lines", "at most 10000"));
    }
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    let (text, truncated) = supervisor.logs(&name(arguments)?, lines)?;
    Ok(json!({"text": text, "truncated": truncated}))
}

impl Change {
    /// Looks at the service.
    ///
    /// # Errors
    /// As [`status`]; `COMMAND_FAILED` if a service that does not run shall be reloaded.
    pub(crate) fn prepare(supervisor: Arc<dyn Supervisor>, verb: Verb, arguments: &Arguments) -> Result<Self, Error> {
        let name = name(arguments)?;
        let before = supervisor.status(&name)?;
        if verb == Verb::Reload && before.state != State::Running {
            let message = format!("service `{name}` does not run, so it cannot be reloaded");
            return Err(Error::use_tool(Reason::CommandFailed, message, "service.start"));
        }
        Ok(Self { supervisor, name, verb, before, after: None })
    }

    /// True if it is already as it shall be.
    fn is_idle(&self) -> bool {
        match self.verb {
            Verb::Start => self.before.state == State::Running,
            Verb::Stop => matches!(self.before.state, State::Stopped | State::Failed) && self.before.pid.is_none(),
            Verb::Restart | Verb::Reload => false,
        }
    }

    /// True if what was measured is what was aimed at.
    fn holds(&self, after: &Status) -> bool {
        match self.verb {
            Verb::Start | Verb::Reload => after.state == State::Running,
            Verb::Stop => after.state != State::Running,
            Verb::Restart => after.state == State::Running && (after.pid.is_none() || after.pid != self.before.pid),
        }
    }

    fn effect(&self) -> ObservedEffect {
        let kind = match self.verb {
            Verb::Start => EffectKind::ServiceStart,
            Verb::Stop => EffectKind::ServiceStop,
            Verb::Restart => EffectKind::ServiceRestart,
            Verb::Reload => EffectKind::ServiceReload,
        };
        ObservedEffect { kind: kind.into(), target: self.name.clone(), count: 1, ..ObservedEffect::default() }
    }
}

/// The name without the suffix that systemd lets be left out. It never reads as an option or a path.
///
/// # Errors
/// `INVALID_ARGUMENTS`.
pub(crate) fn name(arguments: &Arguments) -> Result<String, Error> {
    let name = arguments.required("name")?;
    let name = name.strip_suffix(".service").unwrap_or(name);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    let is_valid = name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(is_plain);
    if is_valid && name.len() <= 100 { Ok(name.to_owned()) } else { Err(invalid("name", "the name of a service")) }
}

/// One that only has another reason not to run was not changed.
fn runs(status: &Status) -> bool {
    status.pid.is_some() || matches!(status.state, State::Running | State::Changing)
}

fn told(supervisor: &dyn Supervisor, name: &str, status: &Status) -> Value {
    json!({
        "name": name,
        "state": status.state.name(),
        "pid": status.pid,
        "exit_code": status.exit_code,
        "healthy": status.healthy,
        "supervisor": supervisor.name(),
    })
}

impl Step for Change {
    fn effects(&self) -> Vec<ObservedEffect> {
        if self.is_idle() { Vec::new() } else { vec![self.effect()] }
    }

    fn result(&self) -> Value {
        told(&*self.supervisor, &self.name, self.after.as_ref().unwrap_or(&self.before))
    }

    fn base(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        digest.update(self.before.state.name());
        digest.update(self.before.pid.unwrap_or_default().to_le_bytes());
        digest.finalize().to_vec()
    }

    fn perform(&mut self, _with: &Means<'_>) -> Result<(Vec<ObservedEffect>, Option<Error>), Error> {
        if self.is_idle() {
            return Ok((Vec::new(), None));
        }
        let done = self.supervisor.act(&self.name, self.verb);
        let after = self.supervisor.status(&self.name).map_err(|error| {
            let message = format!("how service `{}` is afterwards cannot be found out: {error}", self.name);
            Error::stop(Reason::OutcomeUnknown, message)
        })?;
        // A stop that was half of a failed restart is a change, too, and so is a run that is over by now.
        let before = &self.before;
        let is_changed = after.state != before.state || after.pid != before.pid;
        let is_moved = after.started != before.started || (is_changed && (runs(before) || runs(&after)));
        let holds = self.holds(&after);
        self.after = Some(after);
        match done {
            Ok(()) if holds => Ok((vec![self.effect()], None)),
            Ok(()) => {
                let message = format!("service `{}` is not as it was to become", self.name);
                let mend = "a service that can do this";
                let error = Error::fix(Reason::CommandFailed, message, "/arguments/name", mend);
                Ok((if is_moved { vec![self.effect()] } else { Vec::new() }, Some(error)))
            }
            Err(error) if is_moved => Ok((vec![self.effect()], Some(error))),
            Err(error) => Err(error),
        }
    }
}
