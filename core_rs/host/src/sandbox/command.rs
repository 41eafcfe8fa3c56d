//! The command itself: gives up what it does not need and becomes the program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use prost::Message;
use rustix::io::Errno;

use super::stage::Stage;
use super::view::{self, View};
use super::{Bind, Failure, Job, Kind, Told, confine, direct, image, landlock, plan, tell, trap};
use crate::spawner::{MAX_JOB_BYTES, leave, receive};

/// What `exec` is given.
struct Program {
    /// Where it may lie, in the order in which it is looked for.
    places: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// The way to those around it.
pub(super) struct Ways {
    /// Its job comes here.
    pub(super) jobs: OwnedFd,
    /// Closes when the program runs; else why it does not is said here.
    pub(super) failed: UnixStream,
    /// To the worker, which hands a listener over.
    pub(super) outside: UnixStream,
}

/// Waits for a job and becomes its program. Never returns.
pub(super) fn stand_by(stage: &Stage, ways: Ways, bind: Bind<'_>) -> ! {
    let Ways { jobs, mut failed, outside } = ways;
    let is_user = plan::identity().is_some();
    let prepared = begin().and_then(|()| confine::give_up_early(is_user));
    let ground = if is_user { None } else { direct::Ground::lay(stage) };
    let filters = trap::Filters::make(is_user);
    let mut buffer = vec![0; MAX_JOB_BYTES];
    let Some((bytes, [control, stdin, stdout, stderr])) = receive(&jobs, &mut buffer) else { leave(0) };
    let failure = match Job::decode(&buffer[..bytes]) {
        Ok(job) => {
            let streams = [stdin, stdout, stderr];
            let run = prepared
                .and_then(|()| prepare(&job, (stage, ground, &filters), control.into(), streams, outside, bind));
            run.map_or_else(|failure| failure, |program| execute(&program))
        }
        Err(error) => Failure::new("read the job", error),
    };
    tell(&mut failed, &failure.into());
    leave(127)
}

/// What needs no job. Ignored and blocked signals would outlive `exec`; the runtime of the daemon ignores
/// SIGPIPE.
fn begin() -> Result<(), Failure> {
    // SAFETY: plain system calls of a process that has a single thread; the set is initialised by
    // sigemptyset.
    unsafe {
        if libc::setsid() < 0 {
            return Err(Failure::new("begin a session", std::io::Error::last_os_error()));
        }
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::umask(0o022);
    }
    Ok(())
}

fn prepare(
    job: &Job,
    (stage, ground, filters): (&Stage, Option<direct::Ground>, &trap::Filters),
    mut control: UnixStream,
    streams: [OwnedFd; 3],
    outside: UnixStream,
    bind: Bind<'_>,
) -> Result<Program, Failure> {
    let program = program(job)?;
    let cwd = CString::new(job.cwd.clone()).map_err(|error| Failure::new("the working directory", error))?;
    let (held, limits) = bind(&job.limits.unwrap_or_default());
    let (view, top) = match &job.direct {
        Some(direct) => direct::mount_all(job, direct, stage, ground)?,
        None => view::mount_all(job, stage)?,
    };
    let View { read_only, no_unix, has_landlock } = &view;
    let read_only = read_only.clone();
    let told = Told { held: Some(held), read_only, no_unix: *no_unix, has_landlock: *has_landlock, ..Told::default() };
    tell(&mut control, &told);
    let streams = match job.terminal {
        Some(size) => view::terminal(&top, size, &streams[1])?,
        None => streams,
    };
    // Init's, too. Nothing else is shared with it from then on.
    top.enter()?;
    // SAFETY: unshare with a flag only.
    confine::check(unsafe { libc::unshare(libc::CLONE_FS) }, "begin with directories of its own")?;
    connect(&cwd, &streams, job.terminal.is_some())?;
    if let Some(direct) = &job.direct {
        landlock::restrict(direct)?;
    } else if view.has_landlock {
        let layers = job.covers.iter().filter(|cover| !cover.upper.is_empty() && !view.read_only.contains(&cover.path));
        confine::write_within(layers.map(|cover| view::path(&cover.path)))?;
    }
    confine::limit_all(&limits)?;
    confine::give_up_last(job.identity.is_some())?;
    if !job.is_watched {
        image::offer()?;
    }
    trap::set(job, view.no_unix, filters, outside)?;
    Ok(program)
}

/// Working directory and standard streams. What the stage has open leads to the machine, so nothing is looked up by
/// links of `/proc`.
fn connect(cwd: &CStr, streams: &[OwnedFd; 3], is_terminal: bool) -> Result<(), Failure> {
    let entered = image::found(cwd, image::DIRECTORY).and_then(rustix::process::fchdir);
    entered.map_err(|errno| Failure { kind: Kind::NoDirectory, text: image::told(errno, "it") })?;
    // SAFETY: plain system calls on descriptors that live until they return.
    unsafe {
        for (number, stream) in streams.iter().enumerate() {
            if libc::dup2(stream.as_raw_fd(), number as libc::c_int) < 0 {
                return Err(Failure::new("connect the standard streams", std::io::Error::last_os_error()));
            }
        }
        if is_terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
            return Err(Failure::new("take the terminal", std::io::Error::last_os_error()));
        }
        // Whatever was forgotten elsewhere, nothing but the streams is inherited.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

fn program(job: &Job) -> Result<Program, Failure> {
    let string = |bytes: &[u8]| CString::new(bytes).map_err(|error| Failure::new("an argument", error));
    let strings = |list: &[Vec<u8>]| list.iter().map(|bytes| string(bytes)).collect::<Result<Vec<_>, _>>();
    let name = job.argv.first().map_or(&b""[..], Vec::as_slice);
    let path = job.env.iter().find_map(|line| line.strip_prefix(b"PATH=")).unwrap_or_default();
    let places = if name.contains(&b'/') {
        vec![string(name)?]
    } else {
        // An empty element of PATH would mean the working directory (execvp(3)): it means nothing here.
        let directories = path.split(|byte| *byte == b':').filter(|directory| directory.starts_with(b"/"));
        directories.map(|directory| string(&[directory, b"/", name].concat())).collect::<Result<_, _>>()?
    };
    Ok(Program { places, argv: strings(&job.argv)?, env: strings(&job.env)? })
}

fn execute(program: &Program) -> Failure {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(&program.argv), pointers(&program.env));
    let mut found = std::io::Error::from_raw_os_error(libc::ENOENT);
    for place in &program.places {
        if let Err(errno @ (Errno::LOOP | Errno::XDEV)) = image::program(place) {
            return Failure { kind: Kind::NotExecutable, text: image::told(errno, &place.to_string_lossy()) };
        }
        // SAFETY: null-terminated arrays of strings that live until the call.
        unsafe { libc::execve(place.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let error = std::io::Error::last_os_error();
        let is_absent = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        if !is_absent {
            found = error;
        }
        if !is_absent && found.raw_os_error() != Some(libc::EACCES) {
            break;
        }
    }
    let kind = match found.raw_os_error() {
        Some(libc::E2BIG) => Kind::TooLarge,
        Some(libc::EACCES | libc::ENOEXEC) => Kind::NotExecutable,
        Some(libc::ENOENT | libc::ELOOP | libc::ENAMETOOLONG) => Kind::NoProgram,
        _ => Kind::Failed,
    };
    let name = program.argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Failure { kind, text: format!("execute `{name}`: {found}") }
}
