//! What commands left running by their permits: held, and ended with the daemon.
//!
//! They stay in their namespaces, control groups and filter. Whoever answers their trapped calls lives
//! here, so without the daemon they could not go on: they end with it.

use std::collections::HashMap;
use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use cmdop_contract::v1::{EffectKind, ObservedEffect, Reason};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PIECE, Started, left};
use crate::Error;
use crate::sandbox::{Answer, Left, Told};

/// Calls of which something runs at the same time.
const MAX_CALLS: usize = 64;

/// The processes of one command that may stay, stopped until they may go on. Dropping it kills them.
pub struct LeftRunning {
    started: Started,
    /// Pid namespace in which they and their descendants live.
    namespace: u64,
    /// Each with its number on the machine.
    effects: Vec<ObservedEffect>,
}

/// What every call left running. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftovers {
    calls: Arc<Mutex<HashMap<String, Place>>>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Place {
    /// None until something is left.
    namespace: Option<u64>,
    end: CancellationToken,
}

/// Room for what a call may leave; free again when this is dropped.
pub(crate) struct Reserved {
    leftovers: Leftovers,
    call_id: String,
}

impl LeftRunning {
    pub(super) fn new(started: Started, told: &Told, stay: &[i32]) -> Self {
        let namespace = namespace_of(told.init.unsigned_abs()).unwrap_or_default();
        let numbers = numbers(namespace);
        let staying = told.left.iter().filter(|process| stay.contains(&process.pid));
        let effect = |process: &Left| {
            let pid = numbers.get(&process.pid).copied().unwrap_or_default();
            left::started(process).effect(EffectKind::ProcessLeaveRunning, 1, pid)
        };
        Self { started, namespace, effects: staying.map(effect).collect() }
    }

    /// Every process, as it was when its command ended.
    #[must_use]
    pub fn effects(&self) -> &[ObservedEffect] {
        &self.effects
    }

    /// Lets them go on, and holds them until the last has ended or `end` is cancelled. Nobody reads what
    /// they write.
    async fn hold(mut self, end: CancellationToken) {
        self.started.control.answer(Answer::default());
        let (mut out, mut err, mut said) = (vec![0; PIECE], vec![0; PIECE], Vec::new());
        let mut open = [true, true];
        let control = &self.started.control;
        loop {
            tokio::select! {
                read = self.started.stdout.read(&mut out), if open[0] => open[0] = read.is_ok_and(|read| read > 0),
                read = self.started.stderr.read(&mut err), if open[1] => open[1] = read.is_ok_and(|read| read > 0),
                ready = control.ready.readable() => {
                    let is_over = match control.ready.try_read_buf(&mut said) {
                        Ok(read) => read == 0,
                        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                    };
                    if ready.is_err() || is_over {
                        break;
                    }
                    said.clear();
                }
                () = end.cancelled() => {
                    control.shutdown();
                    break;
                }
            }
        }
        // Its listener ends with init.
        if let Some(supervision) = self.started.supervision.take() {
            supervision.finish().await;
        }
    }
}

impl std::fmt::Debug for LeftRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeftRunning").field("effects", &self.effects).finish_non_exhaustive()
    }
}

impl Leftovers {
    /// # Errors
    /// `LOAD_SHED` if so many calls left something already.
    pub(crate) fn reserve(&self, call_id: &str) -> Result<Reserved, Error> {
        let mut calls = self.calls.lock();
        if calls.len() >= MAX_CALLS {
            let message = format!(
                "processes of {MAX_CALLS} calls run on this host already, and nothing was run; \
                 `process.list` names them, and `process.signal` ends one"
            );
            return Err(Error::later(Reason::LoadShed, message));
        }
        calls.insert(call_id.to_owned(), Place::default());
        Ok(Reserved { leftovers: self.clone(), call_id: call_id.to_owned() })
    }

    /// The calls that left something running, by the pid namespace in which it lives.
    pub(crate) fn calls(&self) -> HashMap<u64, String> {
        let calls = self.calls.lock();
        calls.iter().filter_map(|(call, place)| Some((place.namespace?, call.clone()))).collect()
    }

    /// Ends everything that was left.
    pub(crate) async fn end_all(&self) {
        self.calls.lock().values().for_each(|place| place.end.cancel());
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Reserved {
    /// Lets what is left go on; `directory` is the command's, and goes with the last of its processes.
    pub(crate) fn go_on(self, left: LeftRunning, directory: PathBuf) {
        let end = {
            let mut calls = self.leftovers.calls.lock();
            let place = calls.entry(self.call_id.clone()).or_default();
            place.namespace = Some(left.namespace);
            place.end.clone()
        };
        let tasks = self.leftovers.tasks.clone();
        tasks.spawn(async move {
            left.hold(end).await;
            let removed = tokio::task::spawn_blocking(move || super::remove(&directory)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "a directory stays on disk until the next start");
            }
            drop(self);
        });
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.leftovers.calls.lock().remove(&self.call_id);
    }
}

/// Number of the pid namespace in which a process lives.
pub(crate) fn namespace_of(pid: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|found| found.st_ino())
}

/// Numbers on the machine of everybody in a pid namespace, by those that they have in it (proc(5), NSpid).
pub(crate) fn numbers(namespace: u64) -> HashMap<i32, u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let within = pids.filter(|pid| namespace_of(*pid) == Some(namespace));
    within
        .filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            Some((numbers.split_ascii_whitespace().next_back()?.parse().ok()?, pid))
        })
        .collect()
}
