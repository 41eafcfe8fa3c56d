//! Trying a whole preview with a command that does nothing: how a host finds out what it can do.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmdop_contract::v1::{EffectKind, PermittedEffect};

use super::start::bounds;
use super::{Limits, cgroup, confinement};
use crate::Error;
use crate::sandbox::{Kind, Layer, Told, plan};
use crate::spawner::Spawner;

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which of a command's calls are trapped.
enum Traps {
    Network,
    Execs,
}

/// Runs a preview of `:` with its layer in this empty directory, for an ordinary user over these places;
/// what confined it.
///
/// # Errors
/// What could not be made.
pub(crate) fn attempt_preview(
    spawner: &Spawner,
    dir: &Path,
    places: &[PathBuf],
    limits: &Limits,
) -> Result<String, String> {
    attempt(spawner, &preview(dir, places)?, limits, ":", dir, None)
}

/// Runs a line in a preview, its network calls trapped and handed to the supervisor at the other end;
/// what confined it.
///
/// # Errors
/// What could not be made.
pub(crate) fn attempt_trapped(
    spawner: &Spawner,
    dir: &Path,
    limits: &Limits,
    line: &str,
    network: OwnedFd,
) -> Result<String, String> {
    attempt(spawner, &preview(dir, &[])?, limits, line, dir, Some((Traps::Network, network)))
}

/// Runs a line in a preview, its calls that start programs trapped and handed to the supervisor at the
/// other end; what confined it.
///
/// # Errors
/// What could not be made.
pub(crate) fn attempt_watched(
    spawner: &Spawner,
    dir: &Path,
    limits: &Limits,
    line: &str,
    supervisor: OwnedFd,
) -> Result<String, String> {
    attempt(spawner, &preview(dir, &[])?, limits, line, dir, Some((Traps::Execs, supervisor)))
}

/// Runs a command that may change one directory, made in this empty one, and writes there and next to
/// it; what confined it.
///
/// # Errors
/// What could not be made, or did not hold.
pub(crate) fn attempt_direct(spawner: &Spawner, dir: &Path, limits: &Limits) -> Result<String, String> {
    let open = dir.join("open");
    fs::create_dir(&open).map_err(|error| error.to_string())?;
    let target = format!("{}/**", cmdop_contract::path::escape(open.as_os_str().as_bytes()));
    let permitted = [PermittedEffect { kind: EffectKind::FileCreate.into(), target, max_count: None }];
    let layer = Layer::direct(dir, &permitted, &[]).map_err(says)?;
    let held = attempt(spawner, &layer, limits, "echo > \"$PLACE/open/made\" && ! : > \"$PLACE/beside\"", dir, None)?;
    match (open.join("made").exists(), dir.join("beside").exists()) {
        (true, false) => Ok(held),
        (made, _) => Err(format!(
            "a command is not held to its permit: what it names was {}made",
            if made { "" } else { "not " }
        )),
    }
}

fn preview(dir: &Path, places: &[PathBuf]) -> Result<Layer, String> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root { Layer::create(dir) } else { Layer::of_user(dir, places) }.map_err(says)
}

fn says(error: Error) -> String {
    error.to_string()
}

fn attempt(
    spawner: &Spawner,
    layer: &Layer,
    limits: &Limits,
    line: &str,
    place: &Path,
    traps: Option<(Traps, OwnedFd)>,
) -> Result<String, String> {
    let io = |error: std::io::Error| error.to_string();
    let mut job = plan(layer, &[]);
    job.argv = ["/bin/bash", "--noprofile", "--norc", "-c", line].map(|word| word.as_bytes().to_vec()).into();
    job.cwd = b"/".to_vec();
    job.env = vec![[b"PLACE=", place.as_os_str().as_bytes()].concat()];
    job.limits = Some(bounds(limits));
    let traps = traps.map(|(traps, supervisor)| {
        job.is_trapped = matches!(traps, Traps::Network);
        job.is_watched = matches!(traps, Traps::Execs);
        supervisor
    });
    let (mut control, theirs) = std::os::unix::net::UnixStream::pair().map_err(io)?;
    control.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from).map_err(io);
    let supervisor = traps.map_or_else(null, Ok)?;
    spawner.spawn(&job, &[theirs.into(), null()?, null()?, null()?, supervisor]).map_err(says)?;
    let (mut said, mut piece) = (Vec::new(), [0; 4_096]);
    let told = loop {
        let read = control.read(&mut piece).map_err(io)?;
        said.extend_from_slice(&piece[..read]);
        let told = Told::read(&said);
        if told.is_whole() || read == 0 {
            break told;
        }
    };
    let group = told.held.as_ref().map(cgroup::Group::of).unwrap_or_default();
    match (told.kind(), told.code) {
        (Kind::Exited, 0) => Ok(confinement(layer, &told, &group, job.is_trapped)),
        (Kind::Silent, _) => Err("the command's guard ended without a word".to_owned()),
        (kind, code) if told.text.is_empty() => Err(format!("bash ended: {kind:?} {code}")),
        _ => Err(told.text),
    }
}
