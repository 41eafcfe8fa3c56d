//! Services of the host: one seam, kept by systemd where that is the first process, else by the daemon.

mod family;
mod own;
mod systemd;
mod unit;

use std::path::Path;
use std::sync::Arc;

pub(crate) use own::Own;
pub(crate) use systemd::Systemd;

use crate::Error;

/// Where units of the daemon's own supervisor lie.
pub(crate) const UNITS: &str = "/etc/cmdop/services";

/// What is told of a service's output at most.
pub(crate) const MAX_LOG_BYTES: usize = 256 * 1024;

/// Whoever keeps services.
pub(crate) trait Supervisor: Send + Sync + std::fmt::Debug {
    /// `systemd` or `own`.
    fn name(&self) -> &'static str;

    /// # Errors
    /// `PATH_NOT_FOUND` if there is no such service, `PATH_NOT_USABLE`, `COMMAND_FAILED`.
    fn status(&self, service: &str) -> Result<Status, Error>;

    /// Does it and waits until it is done.
    ///
    /// # Errors
    /// As [`Supervisor::status`]; `COMMAND_FAILED` with what the service said.
    fn act(&self, service: &str, verb: Verb) -> Result<(), Error>;

    /// The last lines of its output, and whether there was more.
    ///
    /// # Errors
    /// As [`Supervisor::status`].
    fn logs(&self, service: &str, lines: usize) -> Result<(String, bool), Error>;
}

/// What is done to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
}

/// What a service is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Stopped,
    /// It ended by itself and is not started again.
    Failed,
    Changing,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) pid: Option<u32>,
    pub(crate) exit_code: Option<i32>,
    /// `None` if it has no check or does not run.
    pub(crate) healthy: Option<bool>,
    /// Names the last start of it, even if that is over: another one has another name.
    pub(crate) started: String,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Changing => "changing",
        }
    }
}

/// The supervisor of this machine.
pub(crate) fn supervisor() -> Arc<dyn Supervisor> {
    if is_systemd() { Arc::new(Systemd) } else { Arc::new(Own::new(UNITS.into())) }
}

/// As sd_booted(3) finds it out.
pub(crate) fn is_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The last lines of a text, and whether there were more.
fn tail(text: &str, lines: usize) -> (String, bool) {
    let all = text.lines().count();
    let kept: String = text.lines().skip(all.saturating_sub(lines)).flat_map(|line| [line, "\n"]).collect();
    (kept, all > lines)
}
