//! The arguments of `terminal.exec`, read once. The server validated them by the schema already; the
//! host trusts nobody and checks what it rests on again.

use std::collections::HashMap;
use std::time::Duration;

use cmdop_contract::json;
use cmdop_contract::v1::Reason;
use serde_json::{Map, Value};

use crate::Error;
use crate::exec::{DEFAULT_LIMITS, Limits, Program};
use crate::sandbox::Size;

const MIB: u64 = 1 << 20;

/// What a command is made from.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) program: Program,
    pub(super) cwd: String,
    pub(super) env: HashMap<String, String>,
    pub(super) stdin: Vec<u8>,
    pub(super) limits: Limits,
    pub(super) terminal: Option<Size>,
}

impl Arguments {
    /// # Errors
    /// MALFORMED_JSON and INVALID_ARGUMENTS, with what to mend.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let Ok(Value::Object(given)) = json::parse(text) else {
            let message = "the arguments are not one JSON object";
            return Err(Error::fix(Reason::MalformedJson, message, "/arguments", "a JSON object"));
        };
        let program = program(&given)?;
        let cwd = given.get("cwd").and_then(Value::as_str).unwrap_or_default();
        if !cwd.starts_with('/') || cwd.contains('\0') {
            let message = "`cwd` must be absolute and may not hold a NUL character";
            return Err(invalid(message, "/arguments/cwd", "an absolute path"));
        }
        let terminal = given.get("pty").filter(|pty| !pty.is_null()).map(size).transpose()?;
        Ok(Self {
            program,
            cwd: cwd.to_owned(),
            env: environment(&given)?,
            stdin: given.get("stdin").and_then(Value::as_str).unwrap_or_default().as_bytes().to_vec(),
            limits: limits(&given),
            terminal,
        })
    }
}

/// Exactly one of `command` and `argv`.
fn program(given: &Map<String, Value>) -> Result<Program, Error> {
    let present = |name: &str| given.get(name).filter(|value| !value.is_null());
    let program = match (present("command"), present("argv")) {
        (Some(line), None) => {
            line.as_str().filter(|line| !line.contains('\0')).map(|line| Program::Line(line.to_owned()))
        }
        (None, Some(words)) => {
            let word = |word: &Value| word.as_str().filter(|word| !word.contains('\0')).map(str::to_owned);
            let words: Option<Vec<_>> = words.as_array().and_then(|words| words.iter().map(word).collect());
            words.filter(|words| words.first().is_some_and(|name| !name.is_empty())).map(Program::Words)
        }
        _ => {
            let message = "exactly one of `command` and `argv` says what to run";
            return Err(invalid(message, "/arguments", "either `command` or `argv`"));
        }
    };
    program.ok_or_else(|| {
        let pointer = if present("argv").is_some() { "/arguments/argv" } else { "/arguments/command" };
        invalid("what to run must be text without NUL characters, and name a program", pointer, "text without NUL")
    })
}

fn limits(given: &Map<String, Value>) -> Limits {
    let number =
        |name: &str, default: u64, most: u64| given.get(name).and_then(Value::as_u64).unwrap_or(default).clamp(1, most);
    let Limits { time, cpu, memory, processes, file, disk } = DEFAULT_LIMITS;
    Limits {
        time: Duration::from_secs(number("timeout_s", time.as_secs(), 3_600)),
        cpu: Duration::from_secs(number("cpu_s", cpu.as_secs(), 14_400)),
        memory: number("memory_mb", memory / MIB, 65_536) * MIB,
        processes: number("processes", processes, 16_384),
        file: number("file_mb", file / MIB, 262_144) * MIB,
        disk: number("disk_mb", disk / MIB, 262_144) * MIB,
    }
}

fn size(pty: &Value) -> Result<Size, Error> {
    let side = |name: &str, default: u64| {
        let given = pty.get(name).map_or(Some(default), Value::as_u64).filter(|side| (1..=1_000).contains(side));
        given.and_then(|side| u32::try_from(side).ok())
    };
    match (side("rows", 24), side("cols", 80)) {
        (Some(rows), Some(cols)) if pty.is_object() => Ok(Size { rows, cols }),
        _ => Err(invalid("`pty` is no size of a terminal", "/arguments/pty", "`rows` and `cols` from 1 to 1000")),
    }
}

fn environment(arguments: &Map<String, Value>) -> Result<HashMap<String, String>, Error> {
    let Some(given) = arguments.get("env").and_then(Value::as_object) else { return Ok(HashMap::new()) };
    let is_good = |name: &str, value: &str| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    given
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(value) if is_good(name, value) => Ok((name.clone(), value.to_owned())),
            _ => {
                let message = format!("environment variable `{name}` cannot be set to that");
                let expected = "a name without `=` and a string without NUL";
                Err(Error::fix(Reason::InvalidArguments, message, "/arguments/env", expected))
            }
        })
        .collect()
}

fn invalid(message: impl Into<String>, pointer: &str, expected: &str) -> Error {
    Error::fix(Reason::InvalidArguments, message, pointer, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_refused_with_its_place() {
        for (text, pointer) in [
            (r#"{"cwd":"/"}"#, "/arguments"),
            (r#"{"cwd":"/","command":"ls","argv":["ls"]}"#, "/arguments"),
            (r#"{"cwd":"/","argv":[]}"#, "/arguments/argv"),
            (r#"{"cwd":"/","argv":["ls","a\u0000b"]}"#, "/arguments/argv"),
            (r#"{"cwd":"/","command":"ls \u0000"}"#, "/arguments/command"),
            (r#"{"cwd":"srv","command":"ls"}"#, "/arguments/cwd"),
            (r#"{"cwd":"/","command":"ls","pty":{"rows":0}}"#, "/arguments/pty"),
            (r#"{"cwd":"/","command":"ls","env":{"A=B":"c"}}"#, "/arguments/env"),
        ] {
            let error = cmdop_contract::v1::Error::from(Arguments::read(text).expect_err(text));
            assert_eq!(error.reason(), Reason::InvalidArguments, "{text}");
            assert!(format!("{:?}", error.remedy).contains(&format!("{pointer:?}")), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_however_it_is_written() {
        let text = r#"{"cwd":"/","command":"ls","timeout_s":5.0,"memory_mb":1e2,"pty":{"rows":30.0}}"#;
        let read = Arguments::read(text).expect("valid");
        assert_eq!((read.limits.time.as_secs(), read.limits.memory / MIB), (5, 100));
        assert_eq!(read.terminal.map(|size| size.rows), Some(30));
    }
}
