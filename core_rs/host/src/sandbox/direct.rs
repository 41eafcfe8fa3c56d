//! The view of a command that changes the machine itself: everything read-only but what its permit opens.
//!
//! The machine appears as overlays without an upper layer, in which nothing can be written and whose
//! inodes are not the machine's: neither its modes nor its owners nor its locks nor its sockets can be
//! reached. Openings are the machine's own directories, mounted writable over their places in the view.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cmdop_contract::v1::PermittedEffect;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, mount, mount_bind};

use super::mask::{Masks, lower};
use super::openings::{Opening, openings};
use super::plan::{self, Cover, Layer, bytes};
use super::stage::{Stage, Top, attach, clone_of};
use super::view::{View, hide, inside, path};
use super::warm::Warm;
use super::{Failure, Job};
use crate::Error;

/// What of the machine a command may change.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Direct {
    #[prost(message, repeated, tag = "2")]
    pub(crate) openings: Vec<Opening>,
}

impl Layer {
    /// Prepares, in an empty private directory, a view that is writable where these effects are.
    ///
    /// # Errors
    /// `DIRECT_UNAVAILABLE` if what would be opened is too wide; what the operating system says.
    pub fn direct(dir: &Path, permitted: &[PermittedEffect], hidden: &[PathBuf]) -> Result<Self, Error> {
        let openings = openings(permitted, hidden)?;
        let mut layer = Self::empty(dir);
        layer.covers = covered()?.iter().map(|path| Cover { path: bytes(path), ..Cover::default() }).collect();
        layer.direct = Some(Direct { openings });
        Ok(layer)
    }

    /// Does the command change the machine itself?
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// What is opened of the machine; nothing in a preview.
    #[must_use]
    pub fn openings(&self) -> &[Opening] {
        self.direct.as_ref().map_or(&[], |direct| &direct.openings)
    }
}

/// What no job changes of such a view, unless something is masked: the machine's mounts, each covered, and in them
/// what most commands look up.
pub(super) struct Ground {
    covered: Vec<PathBuf>,
    top: Top,
    warm: Warm,
}

impl Ground {
    /// Lays it, before the job is known. None if that fails: whoever needs it lays it anew, and fails, too.
    pub(super) fn lay(stage: &Stage) -> Option<Self> {
        let covered = covered().ok()?;
        let (first, others) = covered.split_first()?;
        cover_read_only(&stage.ground(), first, None, stage).ok()?;
        let top = stage.begun().ok()?;
        for from in others {
            cover_read_only(&inside(&top.path, from), from, None, stage).ok()?;
        }
        let warm = Warm::up(&open_view(&top.path).ok()?);
        Some(Self { covered, top, warm })
    }

    /// The same for a job, in its view's place: as it is, if it is what the job needs.
    fn of(job: &Job, masks: &Masks, stage: &Stage, laid: Option<Self>) -> Result<Top, Failure> {
        let mut covers = job.covers.iter().map(|cover| path(&cover.path));
        if let Some(ground) = laid
            && job.masked.is_empty()
            && covers.clone().eq(ground.covered.iter().map(PathBuf::as_path))
            && ground.warm.is_fresh()
        {
            stage.raise_to_top(&ground.top)?;
            return Ok(ground.top);
        }
        let first = covers.next().ok_or_else(|| Failure::new("cover /", "nothing is mounted there"))?;
        cover_read_only(&stage.place(), first, masks.of(0), stage)?;
        let top = stage.raise()?;
        for (number, from) in (1..).zip(covers) {
            cover_read_only(&inside(&top.path, from), from, masks.of(number), stage)?;
        }
        Ok(top)
    }
}

/// Where the machine's mounts are that a view covers.
fn covered() -> Result<Vec<PathBuf>, Error> {
    Ok(plan::covered()?.into_iter().map(|mount| mount.path).collect())
}

/// Builds the view of a command that changes the machine itself.
pub(super) fn mount_all(
    job: &Job,
    direct: &Direct,
    stage: &Stage,
    ground: Option<Ground>,
) -> Result<(View, Top), Failure> {
    // The machine's own directories, held before anything covers them.
    let held: Vec<(&Opening, OwnedFd)> = direct
        .openings
        .iter()
        .filter(|opening| opening.bound)
        .map(|opening| Ok((opening, tree_of(&real(CWD, path(&opening.path))?, OpenTreeFlags::empty(), opening)?)))
        .collect::<Result<_, Failure>>()?;
    let masks = Masks::lay(job)?;
    let top = Ground::of(job, &masks, stage, ground)?;
    // A seal shows no more than the view does, so nothing is sealed or opened before.
    masks.ensure(&top.path)?;
    let view = open_view(&top.path)?;
    // A seal is the view's own read-only tree, so it is taken before the opening covers that.
    let mut seals = Vec::new();
    for opening in &direct.openings {
        for name in &opening.seals {
            let place = super::child(&opening.path, name);
            let found = match beneath(&view, &place) {
                // Gone since it was seen: what comes in its place is new, and is seen.
                Err(Errno::NOENT) => continue,
                found => found.map_err(|error| failed("seal", &place, error))?,
            };
            seals.push((place, tree_of(&found, OpenTreeFlags::AT_RECURSIVE, opening)?));
        }
    }
    for (opening, tree) in held {
        restrict_mount(&tree, &opening.path)?;
        let place = beneath(&view, &opening.path).map_err(|error| failed("open", &opening.path, error))?;
        attach(&tree, &place).map_err(|error| failed("open", &opening.path, error))?;
    }
    for (place, tree) in seals {
        match beneath(&view, &place) {
            Err(Errno::NOENT) => {}
            found => found.and_then(|found| attach(&tree, &found)).map_err(|error| failed("seal", &place, error))?,
        }
    }
    hide(stage, &top, job)?;
    stage.furnish(&top)?;
    // A command whose writes Landlock does not hold is not started.
    Ok((View { has_landlock: true, ..View::default() }, top))
}

/// A mount of the machine as an overlay without an upper layer.
fn cover_read_only(place: &Path, from: &Path, mask: Option<PathBuf>, stage: &Stage) -> Result<(), Failure> {
    let is_directory = from.is_dir();
    if is_directory {
        // An overlay without an upper layer takes two lower ones.
        let top = mask.unwrap_or_else(|| stage.empty());
        let lower = lower(Some(top), from.as_os_str().as_bytes());
        let options = [b"lowerdir=", &*lower, b"\0"].concat();
        let options = CString::from_vec_with_nul(options).map_err(|error| Failure::new(from.display(), error))?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
        return mount("cmdop-direct", place, "overlay", flags, Some(options.as_c_str()))
            .map_err(|error| Failure::new(format!("cover {} read-only", from.display()), error));
    }
    // A file that is mounted by itself: a read-only bind would leave a socket reachable.
    let is_file = from.symlink_metadata().is_ok_and(|found| found.is_file());
    let source = if is_file { from } else { Path::new("/dev/null") };
    mount_bind(source, place).map_err(|error| Failure::new(format!("bind {}", from.display()), error))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount_remount(place, flags, c"")
        .map_err(|error| Failure::new(format!("make {} read-only", from.display()), error))
}

pub(super) fn open_view(root: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|error| Failure::new("open the view", error))
}

/// Opens a path that leads through no link.
fn real(at: impl std::os::fd::AsFd, place: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(at, place, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
        .map_err(|error| Failure::new(format!("open {}", place.display()), error))
}

/// Opens an absolute path within the view; its last name may be a link, which is not followed.
pub(super) fn beneath(view: &OwnedFd, place: &[u8]) -> Result<OwnedFd, Errno> {
    let relative = place.strip_prefix(b"/").unwrap_or(place);
    let (parent, name) = match relative.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&relative[..at], &relative[at + 1..]),
        None => (&b"."[..], relative),
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let parent = openat2(view, parent, flags | OFlags::DIRECTORY, Mode::empty(), resolve)?;
    rustix::fs::openat(&parent, name, flags, Mode::empty())
}

fn tree_of(found: &OwnedFd, depth: OpenTreeFlags, opening: &Opening) -> Result<OwnedFd, Failure> {
    clone_of(found, depth).map_err(|error| failed("clone", &opening.path, error))
}

/// No devices and no set-user-ID programs through an opening, and nothing but directories and files.
fn restrict_mount(tree: &OwnedFd, place: &[u8]) -> Result<(), Failure> {
    let kind = fstat(tree).map(|found| FileType::from_raw_mode(found.st_mode));
    if !matches!(kind, Ok(FileType::Directory | FileType::RegularFile)) {
        return Err(Failure::new(path(place).display(), "neither a directory nor a regular file"));
    }
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let empty: &CStr = c"";
    // SAFETY: a descriptor of ours, an empty path and a whole structure that lives until the call returns.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    super::confine::check(set as libc::c_int, "restrict an opening")
}

fn failed(doing: &str, place: &[u8], error: Errno) -> Failure {
    Failure::new(format!("{doing} {}", path(place).display()), error)
}
