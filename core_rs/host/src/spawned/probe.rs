//! Trying whether this host can see what a command starts.

use std::path::Path;

use super::{Processes, Programs};
use crate::exec;
use crate::spawner::Spawner;
use crate::trapped::{self, Watched};

/// Runs a shell that starts another, for real, and looks whether both were seen. Blocks.
///
/// # Errors
/// What did not work.
pub(crate) fn probe(spawner: &Spawner, dir: &Path) -> Result<Programs, String> {
    let programs = Programs::default();
    let processes = Processes::new(&programs);
    let watched = Watched { processes: Some(processes.clone()), ..Watched::default() };
    let (theirs, supervision) = trapped::supervise(watched, None).map_err(|error| error.to_string())?;
    exec::attempt_watched(spawner, dir, &exec::DEFAULT_LIMITS, "exec /bin/bash --norc -c :", theirs)?;
    supervision.join();
    let looks = processes.looks();
    let seen = |look: &cmdop_contract::v1::ObservedEffect| {
        look.process.as_ref().is_some_and(|found| !found.sha256.is_empty() && found.arguments.last().is_some())
    };
    match (looks.len(), looks.iter().all(seen), processes.unobserved()) {
        (2, true, None) => Ok(programs),
        (_, _, Some(missed)) => Err(missed.why),
        (count, _, None) => Err(format!("saw {count} of 2 programs that were started")),
    }
}
