//! Trying a whole preview with a command that does nothing: how a host finds out what it can do.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::{Limits, cgroup, confinement};
use crate::Error;
use crate::sandbox::{Kind, Layer, Told, plan};
use crate::spawner::Spawner;

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a line in a layer laid out in this empty directory; what confined it. With a way to a network's
/// supervisor its network calls are trapped.
///
/// # Errors
/// What could not be made.
pub(crate) fn attempt(
    spawner: &Spawner,
    dir: &Path,
    limits: &Limits,
    line: &str,
    network: Option<OwnedFd>,
) -> Result<String, String> {
    let says = |error: Error| error.to_string();
    let io = |error: std::io::Error| error.to_string();
    let is_root = rustix::process::geteuid().is_root();
    let layer = if is_root { Layer::create(dir) } else { Layer::of_user(dir, &[]) }.map_err(says)?;
    let group = cgroup::Group::create(dir, limits);
    let mut job = plan(&layer, &[]);
    job.argv = ["/bin/bash", "--noprofile", "--norc", "-c", line].map(|word| word.as_bytes().to_vec()).into();
    job.cwd = b"/".to_vec();
    job.cgroups = group.directories();
    job.limits = Some(group.rest(limits));
    job.is_trapped = network.is_some();
    let (mut control, theirs) = std::os::unix::net::UnixStream::pair().map_err(io)?;
    control.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from).map_err(io);
    let network = network.map_or_else(null, Ok)?;
    spawner.spawn(&job, &[theirs.into(), null()?, null()?, null()?, network]).map_err(says)?;
    let mut said = Vec::new();
    control.read_to_end(&mut said).map_err(io)?;
    let told = Told::read(&said);
    match (told.kind(), told.code) {
        (Kind::Exited, 0) => Ok(confinement(&told, &group, job.is_trapped)),
        (Kind::Silent, _) => Err("the command's guard ended without a word".to_owned()),
        (kind, code) if told.text.is_empty() => Err(format!("bash ended: {kind:?} {code}")),
        _ => Err(told.text),
    }
}
