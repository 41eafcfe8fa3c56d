//! What surrounds a service of a fixture: namespaces of its own, in which it finds no process, no network and no
//! device of the machine's that it could change, and the fixture's view of files.
//!
//! All services of a fixture share one network, whose loopback the daemon reaches from a thread that enters it.
//! Everything else each run of a service has for itself, and all that it started ends with it.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::{DirEntry, File, symlink_metadata};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_bind_recursive, mount_change};
use seccompiler::sock_filter;

use super::confine::{self, SILENTLY, Sockets, check};
use super::filter::Rules;
use super::plan::covered;
use super::stage::DEVICES;
use super::view::{OF_A_NODE, mount_fs, overlay, set_attributes, tmpfs};
use super::{Failure, Limits, image};
use crate::Error;
use crate::exec::{namespace_of, numbers};
use crate::fixture::elsewhere;
use crate::fixture::mounts::Mount;
use crate::spawner::{die_with_parent, leave};

/// The number that a service has in its own namespace, behind init's.
const FIRST: i32 = 2;

/// Something else is mounted there before the service begins.
const EMPTY: &str = "/sys";

/// Of all services of one fixture.
#[derive(Debug)]
pub(crate) struct Fence {
    hidden: Vec<PathBuf>,
    /// Directory of the units, which no service may change.
    units: PathBuf,
    network: OwnedFd,
    filter: Vec<sock_filter>,
    /// Who sees to a service, by its number: its namespace.
    running: Mutex<HashMap<u32, u64>>,
}

impl Fence {
    /// Makes the network. `hidden` are directories that a service finds empty; what is in `units` it may not change.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub(crate) fn raise(hidden: Vec<PathBuf>, units: PathBuf) -> Result<Self, Error> {
        let made = std::thread::scope(|scope| scope.spawn(network).join());
        let network = made.unwrap_or_else(|_| Err(Failure::new("make a network", "its thread ended")));
        let network = network.map_err(|failure| Error::io("fence services in")(other(&failure)))?;
        let mut rules = Rules::default();
        // A directory that no overlay could cover shows the machine's own sockets.
        confine::refuse(&mut rules, Sockets::NoUnix, SILENTLY);
        let filter = rules.program(SILENTLY);
        Ok(Self { hidden, units, network, filter, running: Mutex::default() })
    }

    /// What a new process does to be inside, before it becomes the service.
    ///
    /// # Errors
    /// The operating system's refusal to list mounts.
    pub(crate) fn around(
        self: &Arc<Self>,
        (program, cwd): (&str, &str),
    ) -> Result<impl FnMut() -> std::io::Result<()> + Send + Sync + 'static, std::io::Error> {
        let hidden =
            elsewhere::of_view(self.hidden.clone()).map_err(|error| std::io::Error::other(error.to_string()))?;
        let shown = covered().map_err(|error| std::io::Error::other(error.to_string()))?;
        let (program, cwd) = (CString::new(program)?, CString::new(cwd)?);
        let fence = self.clone();
        Ok(move || fence.enter((&shown, &hidden), (&program, &cwd)).map_err(|failure| other(&failure)))
    }

    /// Has the fixture a service, a unit of one at least? What asks a port then asks in the services' network.
    pub(crate) fn has_services(&self) -> bool {
        let is_unit = |entry: DirEntry| Path::new(&entry.file_name()).extension().is_some_and(|name| name == "json");
        let has_units = || std::fs::read_dir(&self.units).is_ok_and(|units| units.flatten().any(is_unit));
        // One that runs may have lost its unit since.
        !self.running.lock().is_empty() || has_units()
    }

    /// Connects to a port of loopback: of the services' network, or without a fence of the machine.
    ///
    /// # Errors
    /// Why it takes no connection.
    pub(crate) fn connect(fence: Option<&Self>, port: u16, timeout: Duration) -> std::io::Result<TcpStream> {
        let connect = || TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout);
        let Some(fence) = fence else { return connect() };
        let inside = || check(fence.join(), "enter the services' network").map_err(|it| other(&it));
        let made = std::thread::scope(|scope| scope.spawn(|| inside().and_then(|()| connect())).join());
        made.unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")))
    }

    /// Takes note of who sees to a service, and says the service's own number.
    pub(crate) fn begun(&self, keeper: u32) {
        let inside = std::fs::metadata(format!("/proc/{keeper}/ns/pid_for_children"));
        if let Ok(inside) = inside {
            self.running.lock().insert(keeper, std::os::unix::fs::MetadataExt::ino(&inside));
        }
    }

    pub(crate) fn ended(&self, keeper: u32) {
        self.running.lock().remove(&keeper);
    }

    /// The service's own number on the machine, of which the daemon knows who sees to it.
    pub(crate) fn service_of(&self, keeper: u32) -> Option<u32> {
        let namespace = *self.running.lock().get(&keeper)?;
        numbers(namespace).get(&FIRST).copied()
    }

    /// Is it a process of a service?
    pub(crate) fn holds(&self, pid: u32) -> bool {
        namespace_of(pid).is_some_and(|namespace| self.running.lock().values().any(|one| *one == namespace))
    }

    /// Says what is wrong with a working directory or a program as the fixture shows them: what a new process finds
    /// wrong, nobody is told in words.
    ///
    /// # Errors
    /// What to mend.
    pub(crate) fn check(program: &str, cwd: &str) -> Result<(), String> {
        image::found(cwd, image::DIRECTORY)
            .map_err(|errno| image::told(errno, &format!("the working directory {cwd}")))?;
        let words = CString::new(program).map_err(|error| error.to_string())?;
        image::program(&words).map_err(|errno| image::told(errno, program))
    }

    fn join(&self) -> libc::c_int {
        // SAFETY: a descriptor of ours.
        unsafe { libc::setns(self.network.as_raw_fd(), libc::CLONE_NEWNET) }
    }

    /// In a new process, which becomes three: the daemon's child, which sees to the first process of a namespace; that,
    /// which reaps; and the service, which alone returns from here.
    fn enter(&self, (shown, hidden): (&[Mount], &[PathBuf]), (program, cwd): (&CStr, &CStr)) -> Result<(), Failure> {
        // Away from the daemon's terminal, and in a group that a stop reaches.
        // SAFETY: no arguments.
        if unsafe { libc::setsid() } < 0 {
            return Err(Failure::new("begin a session", std::io::Error::last_os_error()));
        }
        check(self.join(), "enter the services' network")?;
        let others = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
        // SAFETY: unshare with flags only, of a process with one thread.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID | others) }, "make namespaces")?;
        // Whoever sees to the service stands in the fixture, wherever the daemon does.
        rustix::process::chdir("/").map_err(|error| Failure::new("enter the fixture's root", error))?;
        mask(libc::SIG_BLOCK);
        if let Some(init) = fork()? {
            see_to(init);
        }
        die_with_parent();
        // It is an image of the daemon, whose memory nobody inside may read.
        // SAFETY: prctl with integer arguments.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(|error| Failure::new("keep mounts private", error))?;
        cover(shown)?;
        furnish(hidden)?;
        guard(&self.units)?;
        if let Some(service) = fork()? {
            see_to(service);
        }
        // Not before: what a path means outside it need not mean here.
        let cwd =
            image::found(cwd, image::DIRECTORY).map_err(|error| Failure::new("find the working directory", error))?;
        rustix::process::fchdir(cwd).map_err(|error| Failure::new("enter the working directory", error))?;
        image::program(program).map_err(|error| Failure::new("find the program", error))?;
        // SAFETY: flags only.
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        confine::limit_all(&Limits::default())?;
        confine::give_up_early(false)?;
        confine::give_up_last(false)?;
        mask(libc::SIG_UNBLOCK);
        image::offer()?;
        confine::apply(&self.filter)
    }
}

/// A network namespace with nothing but its loopback, made by a thread that enters it.
fn network() -> Result<OwnedFd, Failure> {
    // SAFETY: unshare with a flag only; the namespace is this thread's alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "make a network")?;
    confine::raise_loopback()?;
    let namespace = File::open("/proc/thread-self/ns/net").map_err(|error| Failure::new("hold a network", error))?;
    Ok(namespace.into())
}

/// Covers what the fixture shows of the machine as it is: a read-only mount keeps nobody from writing into a fifo, but
/// one in an overlay is another one. What no overlay can cover is found empty.
fn cover(shown: &[Mount]) -> Result<(), Failure> {
    // An overlay without an upper layer takes two: the second is an empty directory, which `/sys` soon covers.
    tmpfs(Path::new(EMPTY), MountFlags::RDONLY, c"size=4k,mode=555")?;
    let hold = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Before one is covered that another one lies in.
    let held = shown.iter().map(|mount| rustix::fs::open(&mount.path, hold, Mode::empty()));
    let held: Vec<_> = shown.iter().zip(held.collect::<Vec<_>>()).collect();
    let mut done: Vec<&Path> = Vec::new();
    for (mount, held) in held {
        let place = mount.path.as_path();
        let is_within = done.iter().any(|above| place.starts_with(above));
        if place == Path::new("/") || !(mount.is_read_only || is_within) {
            continue;
        }
        let failed = |errno: Errno| Failure::new(format!("cover {}", place.display()), errno);
        let held = match held {
            // Nothing shows there any more, nor does it inside of what is found empty.
            Err(Errno::NOENT) => continue,
            held => held.map_err(failed)?,
        };
        if is_within && symlink_metadata(place).is_err() {
            continue;
        }
        let from = format!("/proc/self/fd/{}", held.as_raw_fd());
        match FileType::from_raw_mode(fstat(&held).map_err(failed)?.st_mode) {
            FileType::Directory if mount.is_read_only => {
                let layers = format!("lowerdir={from}:{EMPTY}").into_bytes();
                overlay(place, layers, b"", false)
                    .or_else(|_| tmpfs(place, MountFlags::RDONLY, c"size=4k,mode=555"))?;
                done.push(place);
            }
            FileType::Directory | FileType::RegularFile if is_within => {
                mount_bind(&from, place).map_err(failed)?;
            }
            FileType::RegularFile => {}
            _ => shut_out(place)?,
        }
    }
    Ok(())
}

/// Shows nothing in the place of a file.
fn shut_out(place: &Path) -> Result<(), Failure> {
    mount_bind("/dev/null", place).map_err(|error| Failure::new(place.display(), error))?;
    set_attributes(place, 0, OF_A_NODE)
}

/// What belongs to the new namespaces, and what of the machine's nobody inside may change.
fn furnish(hidden: &[PathBuf]) -> Result<(), Failure> {
    for place in hidden {
        match symlink_metadata(place) {
            Ok(found) if found.is_dir() => tmpfs(place, MountFlags::RDONLY, c"size=4k,mode=555")?,
            Ok(found) if !found.is_symlink() => shut_out(place)?,
            _ => {}
        }
    }
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount_fs("proc", Path::new("/proc"), flags, c"")?;
    if mount_fs("sysfs", Path::new("/sys"), flags, c"").is_err() {
        // A container may not show a whole one, and then none may be made (sysfs(5)).
        tmpfs(Path::new("/sys"), flags, c"size=4k,mode=755")?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_fs("devpts", Path::new("/dev/pts"), flags, c"newinstance,ptmxmode=0666,mode=0620")?;
    for name in DEVICES {
        let device = Path::new("/dev").join(name);
        if device.exists() {
            set_attributes(&device, 0, OF_A_NODE)?;
        }
    }
    set_attributes(Path::new("/dev"), 0, libc::MOUNT_ATTR_RDONLY)
}

/// Keeps units as they are. Each directory above them is a mount, too, so that none can be renamed and another be put
/// in its place (rename(2), EBUSY).
fn guard(units: &Path) -> Result<(), Failure> {
    let above: Vec<_> = units.ancestors().filter(|place| place.parent().is_some()).collect();
    for place in above.into_iter().rev() {
        let failed = |error: std::io::Error| Failure::new(format!("keep {}", place.display()), error);
        if !symlink_metadata(place).map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        mount_bind_recursive(place, place).map_err(|errno| failed(errno.into()))?;
    }
    set_attributes(units, libc::AT_RECURSIVE, libc::MOUNT_ATTR_RDONLY)
}

/// The child's number in who forked it.
fn fork() -> Result<Option<libc::pid_t>, Failure> {
    // SAFETY: a process with one thread, as the caller is a child of a fork.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::new("fork", std::io::Error::last_os_error())),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Reaps until the child ends, and ends as it did. A reload is passed on; what is sent to the whole group the child
/// has by itself.
fn see_to(child: libc::pid_t) -> ! {
    // SAFETY: plain system calls with values that live until they return; nothing here uses a descriptor any more.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        loop {
            if libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) == libc::SIGHUP {
                libc::kill(child, libc::SIGHUP);
            }
            let mut status = 0;
            loop {
                match libc::waitpid(-1, &raw mut status, libc::WNOHANG) {
                    stopped if stopped == child && libc::WIFSTOPPED(status) => image::look(child, status),
                    ended if ended == child && libc::WIFEXITED(status) => leave(libc::WEXITSTATUS(status)),
                    ended if ended == child => leave(128 + libc::WTERMSIG(status)),
                    ..=0 => break,
                    _ => {}
                }
            }
        }
    }
}

fn mask(how: libc::c_int) {
    // SAFETY: the set is initialised by sigfillset.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(how, &raw const all, std::ptr::null_mut());
    }
}

fn other(failure: &Failure) -> std::io::Error {
    std::io::Error::other(failure.text.clone())
}
