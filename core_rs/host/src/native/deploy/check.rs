//! Health checks against loopback: is the port open, and does it answer with the expected status?

use std::io::{ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cmdop_contract::v1::{EffectKind, ObservedEffect};
use serde_json::{Value, json};

use crate::Error;
use crate::native::Means;
use crate::native::arguments::{Arguments, invalid};
use crate::sandbox::Fence;

/// All attempts of one check together.
const MAX_TOTAL_MS: u64 = 120_000;

/// No longer status line is read.
const MAX_LINE: usize = 1_024;

/// What to ask, how often, and what to expect.
#[derive(Debug, Clone)]
pub(super) struct Check {
    port: u16,
    /// Of an HTTP request; without one an open port is enough.
    path: Option<String>,
    status: u16,
    timeout: Duration,
    retries: u64,
    interval: Duration,
}

/// How a check went.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) attempts: u64,
    pub(super) status: Option<u16>,
    /// Why the last attempt failed; empty if it passed.
    pub(super) why: String,
}

impl Check {
    /// # Errors
    /// `INVALID_ARGUMENTS`.
    pub(super) fn of(arguments: &Arguments, name: &str) -> Result<Option<Self>, Error> {
        let Some(given) = arguments.object(name)? else { return Ok(None) };
        let number = |key: &str, default: u64, least: u64, most: u64| -> Result<u64, Error> {
            let value = given.number(key)?.unwrap_or(default);
            let expected = format!("a check whose `{key}` is from {least} to {most}");
            if (least..=most).contains(&value) { Ok(value) } else { Err(invalid(name, &expected)) }
        };
        let port = number("port", 0, 1, 65_535)?;
        let path = given.text("path")?.map(str::to_owned);
        let is_plain = |path: &String| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if path.as_ref().is_some_and(|path| !is_plain(path) || path.len() > MAX_LINE) {
            return Err(invalid(name, "a check whose `path` starts with `/` and is printable ASCII without spaces"));
        }
        let status = number("status", 200, 100, 599)?;
        let timeout = number("timeout_ms", 2_000, 10, 30_000)?;
        let retries = number("retries", 5, 0, 100)?;
        let interval = number("interval_ms", 500, 0, 10_000)?;
        if (retries + 1) * timeout + retries * interval > MAX_TOTAL_MS {
            return Err(invalid(name, "a check that takes two minutes at most with all its retries"));
        }
        let whole = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        Ok(Some(Self {
            port: whole(port),
            path,
            status: whole(status),
            timeout: Duration::from_millis(timeout),
            retries,
            interval: Duration::from_millis(interval),
        }))
    }

    /// Asks until it passes or no attempt is left: in a fixture that has services, where these listen.
    pub(super) fn run(&self, with: &Means<'_>) -> Checked {
        let mut checked = Checked { attempts: 0, status: None, why: String::new() };
        loop {
            checked.attempts += 1;
            match self.attempt(with) {
                Ok(status) => {
                    checked.status = status;
                    let is_expected = status.is_none_or(|status| status == self.status);
                    let found = status.unwrap_or_default();
                    checked.why =
                        if is_expected { String::new() } else { format!("status {found} instead of {}", self.status) };
                }
                Err(why) => {
                    checked.status = None;
                    checked.why = why;
                }
            }
            if checked.why.is_empty() || checked.attempts > self.retries {
                return checked;
            }
            sleep(self.interval);
        }
    }

    pub(super) fn effect(&self, checked: Option<&Checked>) -> ObservedEffect {
        let target = format!("127.0.0.1:{}", self.port);
        let count = checked.map_or(1, |checked| checked.attempts);
        ObservedEffect { kind: EffectKind::NetConnect.into(), target, count, ..ObservedEffect::default() }
    }

    /// The status of the answer; `None` if an open port is enough.
    fn attempt(&self, with: &Means<'_>) -> Result<Option<u16>, String> {
        let deadline = Instant::now() + self.timeout;
        // Which network it is does not depend on who listens: what the machine runs must not answer for a service that
        // is dead.
        let fence = with.fence.filter(|fence| fence.has_services());
        let mut stream = Fence::connect(fence, self.port, self.timeout)
            .map_err(|error| format!("port {} cannot be reached: {error}", self.port))?;
        let Some(path) = &self.path else { return Ok(None) };
        let headers = "User-Agent: cmdop-check\r\nAccept: */*\r\nConnection: close";
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{headers}\r\n\r\n", self.port);
        let left = |deadline: Instant| match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err("no answer in time".to_owned()),
            left => Ok(left),
        };
        stream.set_write_timeout(Some(left(deadline)?)).map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).map_err(|error| format!("the request failed: {error}"))?;
        let (mut line, mut buffer) = (Vec::new(), [0; 256]);
        // An answer that comes in drops must not take longer than one that does not come.
        while !line.contains(&b'\n') && line.len() < MAX_LINE {
            stream.set_read_timeout(Some(left(deadline)?)).map_err(|error| error.to_string())?;
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => line.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err("no answer in time".to_owned());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("the answer broke off: {error}")),
            }
        }
        status_of(&line).map(Some).ok_or_else(|| "the answer is not HTTP".to_owned())
    }
}

impl Checked {
    pub(super) fn is_healthy(&self) -> bool {
        self.why.is_empty()
    }

    pub(super) fn told(&self) -> Value {
        json!({
            "healthy": self.is_healthy(),
            "attempts": self.attempts,
            "status": self.status,
            "why": self.why,
        })
    }
}

/// `HTTP/1.1 200 OK`
fn status_of(answer: &[u8]) -> Option<u16> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&answer[..end]).ok()?.trim_end();
    let (version, rest) = line.split_once(' ')?;
    let digits = rest.get(..3).filter(|_| rest.len() == 3 || rest.as_bytes()[3] == b' ')?;
    if version.starts_with("HTTP/1.") && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}
