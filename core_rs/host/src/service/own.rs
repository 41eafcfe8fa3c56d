//! The daemon's own supervisor, for machines without systemd: a process per service, its output kept
//! with a bound, nothing left behind when the daemon ends.

#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use cmdop_contract::v1::Reason;
use parking_lot::{Condvar, Mutex};
use rustix::fs::fstat;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::family::{self, Family};
use super::unit::Unit;
use super::{MAX_LOG_BYTES, State, Status, Supervisor, Verb, tail};
use crate::Error;
use crate::sandbox::Fence;

/// A service without a check is well if it lives this long.
const SETTLED: Duration = Duration::from_millis(300);

/// Between an end and the next start of a service that is kept.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks at a service that comes up.
const STEP: Duration = Duration::from_millis(20);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Services of the units in one directory.
#[derive(Debug)]
pub(crate) struct Own {
    units: PathBuf,
    services: Mutex<HashMap<String, Arc<Service>>>,
    /// One change at a time.
    changing: Mutex<()>,
    /// Around each service of a fixture.
    fence: Option<Arc<Fence>>,
}

/// A service that was started at least once.
#[derive(Debug, Default)]
struct Service {
    run: Mutex<Run>,
    /// Processes that were started for it.
    starts: AtomicU64,
    changed: Condvar,
    log: Mutex<Log>,
    fence: Option<Arc<Fence>>,
}

#[derive(Debug, Default)]
struct Run {
    /// Whether it shall run.
    is_wanted: bool,
    /// Its main process, not yet reaped: the number cannot be another's.
    pid: Option<u32>,
    /// What else is of it, while it has a main process.
    family: Option<Arc<Family>>,
    ended: Option<ExitStatus>,
    /// True while a thread keeps it.
    has_keeper: bool,
}

#[derive(Debug, Default)]
struct Log {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Own {
    pub(crate) fn new(units: PathBuf) -> Self {
        family::sweep();
        Self { units, services: Mutex::default(), changing: Mutex::default(), fence: None }
    }

    /// The same for a fixture, whose services reach nothing of the machine.
    pub(crate) fn of_fixture(units: PathBuf, fence: Arc<Fence>) -> Self {
        Self { units, services: Mutex::default(), changing: Mutex::default(), fence: Some(fence) }
    }

    fn service(&self, name: &str) -> Arc<Service> {
        let made = || Arc::new(Service { fence: self.fence.clone(), ..Service::default() });
        self.services.lock().entry(name.to_owned()).or_insert_with(made).clone()
    }

    fn start(&self, name: &str, unit: &Unit) -> Result<(), Error> {
        let service = self.service(name);
        if service.run.lock().pid.is_some() {
            return Ok(());
        }
        self.stop(name, unit)?;
        let usable = match &self.fence {
            Some(_) => Fence::check(&unit.command[0], &unit.cwd),
            None => directory(&unit.cwd),
        };
        usable.map_err(|why| failed(name, &why))?;
        *service.run.lock() = Run { is_wanted: true, has_keeper: true, ..Run::default() };
        let (told, started) = sync_channel(1);
        let kept = (service.clone(), unit.clone());
        let keeper = std::thread::Builder::new().name(format!("service {name}"));
        let spawned = keeper.spawn(move || kept.0.keep(&kept.1, &told));
        if let Err(error) = spawned {
            *service.run.lock() = Run::default();
            return Err(Error::io("start a thread")(error));
        }
        let begun = started.recv().unwrap_or_else(|_| Err(std::io::Error::other("its keeper ended")));
        begun.map_err(|error| {
            let _ = self.stop(name, unit);
            failed(name, &format!("{} could not be run: {error}", unit.command[0]))
        })?;
        service.settle(unit).map_err(|why| {
            let _ = self.stop(name, unit);
            let (said, _) = tail(&service.log.lock().text(), 5);
            failed(name, &format!("{why}, so it was stopped again; it said last: {said}"))
        })
    }

    /// Ends the service with all its processes, politely first.
    fn stop(&self, name: &str, unit: &Unit) -> Result<(), Error> {
        let service = self.service(name);
        let mut run = service.run.lock();
        run.is_wanted = false;
        service.changed.notify_all();
        for (signal, patience) in [(Signal::TERM, unit.timeout), (Signal::KILL, SETTLED * 10)] {
            run.signal(signal);
            let deadline = Instant::now() + patience;
            while run.has_keeper && !service.changed.wait_until(&mut run, deadline).timed_out() {}
            if !run.has_keeper {
                return Ok(());
            }
        }
        Err(failed(name, "it does not end"))
    }
}

impl Supervisor for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    fn status(&self, service: &str) -> Result<Status, Error> {
        let unit = Unit::read(&self.units, service)?;
        let known = self.services.lock().get(service).cloned();
        let Some(known) = known else {
            let started = String::new();
            return Ok(Status { state: State::Stopped, pid: None, exit_code: None, healthy: None, started });
        };
        let (pid, ended, state) = {
            let run = known.run.lock();
            let state = match (run.pid, run.is_wanted) {
                (Some(_), _) => State::Running,
                (None, true) if run.has_keeper => State::Changing,
                (None, true) => State::Failed,
                (None, false) => State::Stopped,
            };
            (run.pid, run.ended, state)
        };
        let exit_code = ended.and_then(|ended| ended.code().or(ended.signal().map(|signal| 128 + signal)));
        let started = match known.starts.load(Ordering::Relaxed) {
            0 => String::new(),
            starts => starts.to_string(),
        };
        let healthy = pid.and(unit.port).map(|port| known.is_open(port));
        // What the daemon started is not the service itself, where one is fenced in.
        let pid = pid.map(|pid| known.fence.as_ref().and_then(|fence| fence.service_of(pid)).unwrap_or(pid));
        Ok(Status { state, pid, exit_code, healthy, started })
    }

    fn act(&self, service: &str, verb: Verb) -> Result<(), Error> {
        let unit = Unit::read(&self.units, service)?;
        let _one = self.changing.lock();
        match verb {
            Verb::Start => self.start(service, &unit),
            Verb::Stop => self.stop(service, &unit),
            Verb::Restart => self.stop(service, &unit).and_then(|()| self.start(service, &unit)),
            Verb::Reload => {
                let known = self.service(service);
                let mut run = known.run.lock();
                let before = run.pid;
                let process = before.and_then(group).ok_or_else(|| failed(service, "it does not run"))?;
                kill_process(process, Signal::HUP).map_err(|errno| Error::io("signal a service")(errno.into()))?;
                // Who does not know the signal dies of it.
                let deadline = Instant::now() + SETTLED;
                while run.pid == before && !known.changed.wait_until(&mut run, deadline).timed_out() {}
                while run.pid.is_none() && run.has_keeper && !unit.is_kept {
                    // Its keeper is about to end, too.
                    known.changed.wait(&mut run);
                }
                if run.pid == before { Ok(()) } else { Err(failed(service, "it ended when it was told to reload")) }
            }
        }
    }

    fn logs(&self, service: &str, lines: usize) -> Result<(String, bool), Error> {
        Unit::read(&self.units, service)?;
        let known = self.services.lock().get(service).cloned();
        Ok(known.map_or_else(Default::default, |known| {
            let log = known.log.lock();
            let (text, more) = tail(&log.text(), lines);
            (text, more || log.is_cut)
        }))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for service in self.services.lock().values() {
            let mut run = service.run.lock();
            run.is_wanted = false;
            run.signal(Signal::KILL);
            if let Some((main, family)) = run.pid.and_then(group).zip(run.family.take()) {
                family.end(main);
            }
            service.changed.notify_all();
        }
    }
}

impl Run {
    /// Signals all of its processes, each once.
    fn signal(&self, signal: Signal) {
        let Some(main) = self.pid.and_then(group) else { return };
        // First, while those elsewhere can still be found by their parents.
        if let Some(family) = &self.family {
            family.signal(main, signal);
        }
        let _ = kill_process_group(main, signal);
    }
}

impl Service {
    /// Runs it until it is no longer wanted. The thread lives as long as the process: the process's
    /// death signal is bound to the thread that made it (prctl(2), `PR_SET_PDEATHSIG`).
    fn keep(self: &Arc<Self>, unit: &Unit, told: &SyncSender<std::io::Result<()>>) {
        loop {
            let begun = self.run_once(unit, told);
            let is_failed = begun.is_err();
            if let Err(error) = begun {
                // Only the first start is waited for.
                let _ = told.try_send(Err(error));
            }
            let mut run = self.run.lock();
            if run.is_wanted && unit.is_kept && !is_failed {
                let deadline = Instant::now() + PAUSE;
                while run.is_wanted && !self.changed.wait_until(&mut run, deadline).timed_out() {}
            }
            if !run.is_wanted || !unit.is_kept || is_failed {
                run.has_keeper = false;
                self.changed.notify_all();
                return;
            }
        }
    }

    fn run_once(self: &Arc<Self>, unit: &Unit, told: &SyncSender<std::io::Result<()>>) -> std::io::Result<()> {
        let (mut output, input) = std::io::pipe()?;
        let mut command = Command::new(&unit.command[0]);
        command.args(&unit.command[1..]).env_clear().env("PATH", PATH).envs(&unit.env);
        command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
        if self.fence.is_none() {
            command.process_group(0).current_dir(&unit.cwd);
        }
        let family = Arc::new(Family::new(fstat(&output)?.st_ino));
        let door = family.door();
        // SAFETY: the closure makes system calls only and touches no memory of the parent.
        unsafe {
            command.pre_exec(move || {
                if let Some(door) = &door {
                    // Its other processes are then found as they are where there is no group.
                    let _ = rustix::io::write(door, b"0");
                }
                // What the daemon ignores would be ignored by the service, a reload's signal among it.
                for signal in 1..=libc::SIGRTMAX() {
                    libc::signal(signal, libc::SIG_DFL);
                }
                match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        if let Some(fence) = &self.fence {
            let enter = fence.around((&unit.command[0], &unit.cwd))?;
            // SAFETY: the child has one thread, and the C library makes its memory usable to it (fork(2)).
            unsafe { command.pre_exec(enter) };
        }
        let mut child = command.spawn()?;
        if let Some(fence) = &self.fence {
            fence.begun(child.id());
        }
        // Holds the writing end of the pipe.
        drop(command);
        self.starts.fetch_add(1, Ordering::Relaxed);
        {
            let mut run = self.run.lock();
            run.pid = Some(child.id());
            run.family = Some(family.clone());
        }
        let _ = told.try_send(Ok(()));
        let (log, (ended, read_all)) = (self.clone(), sync_channel(1));
        let reader = std::thread::Builder::new().name("service log".to_owned());
        let reading = reader.spawn(move || {
            let mut buffer = [0; 8 * 1024];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                log.log.lock().add(&buffer[..read]);
            }
            let _ = ended.send(());
        });
        if reading.is_err() {
            let _ = child.kill();
        }
        // Ended, and its number still its own: what it left running goes with it.
        let waited = rustix::process::waitid(
            rustix::process::WaitId::Pid(group(child.id()).ok_or(rustix::io::Errno::SRCH)?),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        );
        if waited.is_ok()
            && let Some(group) = group(child.id())
        {
            let _ = kill_process_group(group, Signal::KILL);
            family.end(group);
        }
        // What it said last is told with its end; whoever else holds its output is not waited for.
        let _ = read_all.recv_timeout(PAUSE);
        let mut run = self.run.lock();
        run.ended = child.wait().ok();
        if let Some(fence) = &self.fence {
            fence.ended(child.id());
        }
        run.pid = None;
        run.family = None;
        self.changed.notify_all();
        Ok(())
    }

    /// Does its port take connections?
    fn is_open(&self, port: u16) -> bool {
        Fence::connect(self.fence.as_deref(), port, Duration::from_millis(500)).is_ok()
    }

    /// Waits until it is well, or says why it is not.
    fn settle(&self, unit: &Unit) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            if let Some(ended) = self.run.lock().ended {
                return Err(format!("it ended at once ({ended})"));
            }
            let is_well = unit.port.map_or(begun.elapsed() >= SETTLED, |port| self.is_open(port));
            if is_well {
                return Ok(());
            }
            if begun.elapsed() >= unit.timeout {
                return Err(format!("its port took no connection for {} s", unit.timeout.as_secs()));
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Log {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(MAX_LOG_BYTES);
        self.bytes.drain(..over);
        self.is_cut |= over > 0;
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn group(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn directory(cwd: &str) -> Result<(), String> {
    let found = std::fs::metadata(cwd).and_then(|found| match found.is_dir() {
        true => Ok(()),
        false => Err(ErrorKind::NotADirectory.into()),
    });
    found.map_err(|error| format!("the working directory {cwd} could not be found: {error}"))
}

fn failed(name: &str, why: &str) -> Error {
    let message = format!("service `{name}`: {why}");
    Error::fix(Reason::CommandFailed, message, "/arguments/name", "a service that can do this")
}
