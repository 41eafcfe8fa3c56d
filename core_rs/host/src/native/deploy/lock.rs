//! One deployment of a root at a time. The kernel holds the lock, so that it dies with its holder.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::Duration;

use cmdop_contract::v1::Reason;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, unlinkat};

use super::site::Site;
use crate::Error;
use crate::native::beneath::{open_child, show};

/// Names the holder, inside `.deploy`.
const HOLDER: &std::ffi::CStr = c"holder";

/// Somebody who only looks holds the lock for a moment, too.
const TRIES: u32 = 10;

const PAUSE: Duration = Duration::from_millis(20);

/// Held until it is dropped.
pub(super) struct Lock {
    /// The lock lies on the root's directory itself, which is there before anything else is.
    _dir: OwnedFd,
}

impl Lock {
    /// # Errors
    /// `DEPLOY_LOCKED`, naming the holder.
    pub(super) fn take(site: &Site) -> Result<Self, Error> {
        let dir = own_handle(site)?;
        for _ in 0..TRIES {
            if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { _dir: dir });
            }
            sleep(PAUSE);
        }
        Err(locked(site, &holder(site).unwrap_or_else(|| "another process".to_owned())))
    }

    /// Tells others whose lock it is. That nobody can read it is no reason not to deploy.
    pub(super) fn tell(&self, site: &Site, permit_id: &str, release: &str) {
        let text = format!("process {} with permit {permit_id}, release {release}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = site.own_dir().ok().and_then(|dir| openat(dir, HOLDER, flags, Mode::from_raw_mode(0o644)).ok());
        if let Some(made) = made {
            let _ = File::from(made).write_all(text.as_bytes());
        }
    }
}

/// Whoever holds the lock of a root now. `None` if nobody does.
pub(super) fn held_by(site: &Site) -> Result<Option<String>, Error> {
    let dir = own_handle(site)?;
    if flock(&dir, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None);
    }
    Ok(Some(holder(site).unwrap_or_else(|| "another process".to_owned())))
}

/// Why a deployment cannot begin now, if somebody else's is under way.
pub(super) fn in_the_way(site: &Site) -> Option<Error> {
    held_by(site).ok().flatten().map(|holder| locked(site, &holder))
}

fn locked(site: &Site, holder: &str) -> Error {
    let message =
        format!("{} is being deployed to by {holder}; nothing was applied; try again later", show(&site.path));
    Error::later(Reason::DeployLocked, message)
}

/// Removes the holder's name. It may be that of one who died.
pub(super) fn forget(site: &Site) {
    if let Ok(dir) = site.own_dir() {
        let _ = unlinkat(dir, HOLDER, AtFlags::empty());
    }
}

fn holder(site: &Site) -> Option<String> {
    let opened = open_child(site.own_dir().ok()?, HOLDER, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let mut text = String::new();
    File::from(opened).take(1_024).read_to_string(&mut text).ok()?;
    Some(text.chars().filter(|c| !c.is_control()).collect()).filter(|text: &String| !text.is_empty())
}

/// Locks belong to an opened file: each holder needs its own.
fn own_handle(site: &Site) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&site.dir, c".", flags, Mode::empty()).map_err(|errno| Error::io("open the deployment root")(errno.into()))
}
