//! A unit of the daemon's own supervisor: `NAME.json` in a directory that only its owner may write.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use cmdop_contract::v1::Reason;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde_json::Value;

use crate::Error;

const MAX_UNIT_BYTES: u64 = 64 * 1024;

const OF_ITS_OWNER: &str = "must be a file, not a link, that only the host's user or root may write";

const DEFAULT_TIMEOUT_S: u64 = 10;
const MAX_TIMEOUT_S: u64 = 120;

/// What is run, and how to tell that it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Program and arguments; no shell reads them.
    pub(super) command: Vec<String>,
    pub(super) cwd: String,
    /// All of its environment but for `PATH`.
    pub(super) env: BTreeMap<String, String>,
    /// A port of the machine itself that takes connections when it is well.
    pub(super) port: Option<u16>,
    /// How long it may take to become well, and to end.
    pub(super) timeout: Duration,
    /// It is started again when it ends by itself.
    pub(super) is_kept: bool,
}

impl Unit {
    /// Reads a unit.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, `PATH_NOT_USABLE` saying what to mend.
    pub(super) fn read(directory: &Path, name: &str) -> Result<Self, Error> {
        let path = directory.join(format!("{name}.json"));
        let place = path.display().to_string();
        // A fifo in its place must not make anybody wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => {
                let message = format!("there is no service `{name}`: {place} does not exist");
                Error::fix(Reason::PathNotFound, message, "/arguments/name", "the name of a service")
            }
            // A link, a socket or a device that is not there.
            Errno::LOOP | Errno::NXIO => broken(&place, OF_ITS_OWNER),
            errno => Error::io(place.clone())(errno.into()),
        })?;
        let file = std::fs::File::from(file);
        let meta = file.metadata().map_err(Error::io(place.clone()))?;
        let own = rustix::process::geteuid().as_raw();
        // Whoever may write a unit runs what they like as the host's user.
        if !meta.is_file() || ![0, own].contains(&meta.uid()) || meta.mode() & 0o022 != 0 {
            return Err(broken(&place, OF_ITS_OWNER));
        }
        if meta.len() > MAX_UNIT_BYTES {
            return Err(broken(&place, "must have at most 64 KiB"));
        }
        let mut text = String::new();
        file.take(MAX_UNIT_BYTES).read_to_string(&mut text).map_err(Error::io(place.clone()))?;
        Self::parse(&text).map_err(|why| broken(&place, why))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const KNOWN: [&str; 6] = ["command", "cwd", "env", "port", "timeout_s", "keep"];
        let json = cmdop_contract::json::parse(text).map_err(|_| "must be JSON in which no key stands twice")?;
        let map = json.as_object().ok_or("must be one JSON object")?;
        if map.keys().any(|key| !KNOWN.contains(&key.as_str())) {
            return Err("may have `command`, `cwd`, `env`, `port`, `timeout_s` and `keep`, and nothing else");
        }
        let command = map.get("command").and_then(Value::as_array).and_then(|argv| texts(argv.iter()));
        let command = command.filter(|argv| argv.first().is_some_and(|program| program.starts_with('/')));
        let env = match map.get("env") {
            None => Some(BTreeMap::new()),
            Some(env) => env.as_object().and_then(|env| {
                env.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
            }),
        };
        let cwd = map.get("cwd").map_or(Some("/"), Value::as_str).filter(|cwd| cwd.starts_with('/'));
        let port = match map.get("port") {
            None => None,
            Some(port) => {
                let number = port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
                Some(number.ok_or("must have a `port` from 1 to 65535")?)
            }
        };
        let timeout_s = map.get("timeout_s").map_or(Some(DEFAULT_TIMEOUT_S), Value::as_u64);
        let timeout_s = timeout_s.filter(|seconds| (1..=MAX_TIMEOUT_S).contains(seconds));
        Ok(Self {
            command: command.ok_or("must have a `command`: an absolute program and its arguments")?,
            cwd: cwd.ok_or("must have an absolute `cwd`")?.to_owned(),
            env: env.ok_or("must have texts in `env`")?,
            port,
            timeout: Duration::from_secs(timeout_s.ok_or("must have a `timeout_s` from 1 to 120")?),
            is_kept: map.get("keep").map_or(Some(false), Value::as_bool).ok_or("must have true or false in `keep`")?,
        })
    }
}

fn texts<'a>(values: impl Iterator<Item = &'a Value>) -> Option<Vec<String>> {
    values.map(|value| value.as_str().map(str::to_owned)).collect()
}

fn broken(place: &str, why: &str) -> Error {
    Error::fix(Reason::PathNotUsable, format!("{place} {why}"), "/arguments/name", "a service whose unit is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, place("fifo.json"), Mode::from_raw_mode(0o600)).expect("a fifo");
        std::fs::create_dir(place("directory.json")).expect("a directory");
        std::fs::write(place("true"), r#"{"command": ["/bin/true"]}"#).expect("a file");
        std::os::unix::fs::symlink(place("true"), place("link.json")).expect("a link");
        std::os::unix::net::UnixListener::bind(place("socket.json")).expect("a socket");
        for name in ["fifo", "directory", "link", "socket"] {
            let error = Unit::read(directory.path(), name).expect_err(name);
            assert!(error.to_string().contains(OF_ITS_OWNER), "{name}: {error}");
        }
        let long = format!(r#"{{"command": ["/bin/true"]}}{}"#, " ".repeat(64 * 1024));
        std::fs::write(place("long.json"), long).expect("a file");
        let error = Unit::read(directory.path(), "long").expect_err("too long");
        assert!(error.to_string().contains("at most 64 KiB"), "{error}");
    }

    #[test]
    fn the_unit_of_the_documentation_is_one_with_every_field() {
        let page = include_str!("../../../../docs/services.md");
        let (_, after) = page.split_once("```json\n").expect("an example");
        let (example, _) = after.split_once("```").expect("its end");
        let unit = Unit::parse(example).expect("it is a unit");
        assert_eq!((unit.port, unit.is_kept, unit.cwd.as_str()), (Some(18080), true, "/srv/app/web/current"));
        let fields = serde_json::from_str::<Value>(example).expect("JSON");
        for field in fields.as_object().expect("an object").keys() {
            assert!(page.contains(&format!("| `{field}` |")), "{field} has no row");
        }
    }

    #[test]
    fn a_unit_says_what_to_run_and_nothing_unknown() {
        let unit = Unit::parse(r#"{"command": ["/bin/x", "a b"], "port": 80, "env": {"A": "1"}}"#).expect("a unit");
        assert_eq!((unit.command, unit.cwd.as_str(), unit.port), (vec!["/bin/x".into(), "a b".into()], "/", Some(80)));
        for bad in [
            "[]",
            "{}",
            r#"{"command": []}"#,
            r#"{"command": ["x"]}"#,
            r#"{"command": "/bin/x"}"#,
            r#"{"command": ["/bin/x"], "cwd": "x"}"#,
            r#"{"command": ["/bin/x"], "port": 0}"#,
            r#"{"command": ["/bin/x"], "timeout_s": 0}"#,
            r#"{"command": ["/bin/x"], "restart": true}"#,
        ] {
            assert!(Unit::parse(bad).is_err(), "{bad}");
        }
    }
}
