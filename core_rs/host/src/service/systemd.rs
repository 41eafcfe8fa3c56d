//! Services that systemd keeps, by `systemctl` and `journalctl`: argument lists, no shell, bounded.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cmdop_contract::v1::Reason;

use super::{MAX_LOG_BYTES, State, Status, Supervisor, Verb};
use crate::Error;

/// systemd itself gives up on a unit after 90 s unless that says otherwise.
const TIMEOUT: Duration = Duration::from_secs(120);

const PROPERTIES: &str = "--property=LoadState,ActiveState,MainPID,ExecMainStatus,InvocationID,NRestarts,\
                          ExecMainStartTimestampMonotonic";

/// What another start changes: the invocation when it is wanted, the rest when systemd itself starts it again.
const STARTED: [&str; 3] = ["InvocationID", "NRestarts", "ExecMainStartTimestampMonotonic"];

/// Between two looks at a program that runs.
const STEP: Duration = Duration::from_millis(10);

/// systemd as the machine's first process.
#[derive(Debug)]
pub(crate) struct Systemd;

impl Supervisor for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn status(&self, service: &str) -> Result<Status, Error> {
        let (output, _) = run("systemctl", &["show", PROPERTIES, "--", &unit(service)])?;
        parse(service, &output)
    }

    fn act(&self, service: &str, verb: Verb) -> Result<(), Error> {
        self.status(service)?;
        let verb = match verb {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Reload => "reload",
        };
        run("systemctl", &[verb, "--no-ask-password", "--quiet", "--", &unit(service)]).map(drop)
    }

    fn logs(&self, service: &str, lines: usize) -> Result<(String, bool), Error> {
        self.status(service)?;
        // One more than is wanted tells whether there was more.
        let count = format!("--lines={}", lines.saturating_add(1));
        let unit = format!("--unit={}", unit(service));
        let (text, is_cut) = run("journalctl", &["--no-pager", "--output=short-iso", "--quiet", &count, &unit])?;
        let (text, more) = super::tail(&text, lines);
        Ok((text, more || is_cut))
    }
}

fn unit(service: &str) -> String {
    format!("{service}.service")
}

/// What `systemctl show` says.
fn parse(service: &str, output: &str) -> Result<Status, Error> {
    let value = |key: &str| {
        output.lines().find_map(|line| line.split_once('=').filter(|(name, _)| *name == key)).map(|(_, value)| value)
    };
    if value("LoadState") != Some("loaded") {
        let message = format!("systemd has no usable service `{service}`: {}", value("LoadState").unwrap_or("unknown"));
        return Err(Error::fix(Reason::PathNotFound, message, "/arguments/name", "the name of a service"));
    }
    let state = match value("ActiveState") {
        Some("active") => State::Running,
        Some("inactive") => State::Stopped,
        Some("failed") => State::Failed,
        _ => State::Changing,
    };
    Ok(Status {
        state,
        pid: value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0),
        exit_code: value("ExecMainStatus").and_then(|code| code.parse().ok()),
        healthy: None,
        started: STARTED.map(|key| value(key).unwrap_or_default()).join(" "),
    })
}

/// Runs a program of systemd's and returns what it said, and whether that was cut.
fn run(program: &str, arguments: &[&str]) -> Result<(String, bool), Error> {
    let doing = || format!("run {program}");
    let (output, input) = std::io::pipe().map_err(Error::io(doing()))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(input.try_clone().map_err(Error::io(doing()))?).stderr(input);
    let mut child = command.spawn().map_err(Error::io(doing()))?;
    // Holds the writing end of the pipe.
    drop(command);
    let reading = std::thread::spawn(move || {
        let (mut output, mut kept) = (output, Vec::new());
        let _ = (&mut output).take(MAX_LOG_BYTES as u64).read_to_end(&mut kept);
        let rest = std::io::copy(&mut output, &mut std::io::sink()).unwrap_or_default();
        (String::from_utf8_lossy(&kept).into_owned(), rest > 0)
    });
    let deadline = Instant::now() + TIMEOUT;
    let ended = loop {
        match child.try_wait().map_err(Error::io(doing()))? {
            Some(ended) => break ended,
            None if Instant::now() >= deadline => {
                let _ = child.kill();
                break child.wait().map_err(Error::io(doing()))?;
            }
            None => std::thread::sleep(STEP),
        }
    };
    let (text, is_cut) = reading.join().unwrap_or_default();
    if ended.success() {
        return Ok((text, is_cut));
    }
    let message = format!("{program} {} failed ({ended}): {}", arguments.join(" "), super::tail(&text, 5).0);
    Err(Error::fix(Reason::CommandFailed, message, "/arguments/name", "a service that can do this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        let shown = "LoadState=loaded\nActiveState=active\nMainPID=812\nExecMainStatus=0\n";
        let status = parse("nginx", shown).expect("a status");
        assert_eq!((status.state, status.pid, status.exit_code), (State::Running, Some(812), Some(0)));
        // A oneshot that ran and is over shows in nothing else.
        let over = |invocation: &str| format!("LoadState=loaded\nActiveState=inactive\nInvocationID={invocation}\n");
        let (first, second) =
            (parse("job", &over("1a")).expect("a status"), parse("job", &over("2b")).expect("a status"));
        assert_eq!((first.state, second.state), (State::Stopped, State::Stopped));
        assert_ne!(first.started, second.started);
        assert!(STARTED.iter().all(|key| PROPERTIES.contains(key)));
        let none = parse("x", "LoadState=not-found\nActiveState=inactive\nMainPID=0\n").expect_err("none");
        assert_eq!(none.reason(), Reason::PathNotFound);
    }

    #[test]
    fn a_program_of_which_nothing_is_there_is_an_error() {
        assert!(run("cmdop-no-such-program", &[]).is_err());
        let failed = run("false", &[]).expect_err("it fails");
        assert_eq!(failed.reason(), Reason::CommandFailed);
        assert_eq!(run("printf", &["%s", "a b"]).expect("it runs"), ("a b".to_owned(), false));
    }
}
