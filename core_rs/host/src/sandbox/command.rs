//! The command itself: gives up what it does not need and becomes the program.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::view::{self, View};
use super::{Failure, Job, Kind, confine, landlock, tell, trap};
use crate::spawner::leave;

/// What `exec` is given.
struct Program {
    /// Where it may lie, in the order in which it is looked for.
    places: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// Never returns; `failed` closes when the program runs, else it says why it does not.
pub(super) fn become_command(
    job: &Job,
    view: &View,
    streams: [OwnedFd; 3],
    mut failed: UnixStream,
    outside: UnixStream,
) -> ! {
    let failure = match prepare(job, view, &streams, outside) {
        Ok(program) => execute(&program),
        Err(failure) => failure,
    };
    tell(&mut failed, &failure.into());
    leave(127)
}

fn prepare(job: &Job, view: &View, streams: &[OwnedFd; 3], outside: UnixStream) -> Result<Program, Failure> {
    let program = program(job)?;
    let cwd = CString::new(job.cwd.clone()).map_err(|error| Failure::new("the working directory", error))?;
    // SAFETY: plain system calls on descriptors and strings that live until they return; the process
    // has a single thread.
    unsafe {
        if libc::chdir(cwd.as_ptr()) != 0 {
            let error = std::io::Error::last_os_error();
            return Err(Failure { kind: Kind::NoDirectory, text: error.to_string() });
        }
        for (number, stream) in streams.iter().enumerate() {
            if libc::dup2(stream.as_raw_fd(), number as libc::c_int) < 0 {
                return Err(Failure::new("connect the standard streams", std::io::Error::last_os_error()));
            }
        }
        libc::setsid();
        if job.terminal.is_some() && libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
            return Err(Failure::new("take the terminal", std::io::Error::last_os_error()));
        }
        // Whatever was forgotten elsewhere, nothing but the streams is inherited.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // Ignored and blocked signals would outlive `exec`; the runtime of the daemon ignores SIGPIPE.
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::umask(0o022);
    }
    if let Some(direct) = &job.direct {
        landlock::restrict(direct)?;
    } else if view.has_landlock {
        let layers = job.covers.iter().filter(|cover| !cover.upper.is_empty() && !view.read_only.contains(&cover.path));
        confine::write_within(layers.map(|cover| view::path(&cover.path)))?;
    }
    confine::limit_all(&job.limits.unwrap_or_default())?;
    confine::give_up_privileges(job.identity.is_some(), &view.filters)?;
    if job.is_trapped || job.is_watched {
        trap::set(job, outside)?;
    }
    Ok(program)
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
        Some(libc::ENOENT | libc::EACCES | libc::ENOEXEC | libc::ELOOP | libc::ENAMETOOLONG) => Kind::NoProgram,
        _ => Kind::Failed,
    };
    let name = program.argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Failure { kind, text: format!("execute `{name}`: {found}") }
}
