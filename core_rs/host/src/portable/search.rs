//! `files.search`: names by pattern and lines by regular expression, bounded in everything.

use std::io::Read;
use std::time::{Duration, Instant};

use cap_fs_ext::MetadataExt;
use cap_std::fs::Dir;
use cmdop_contract::path::{PathPattern, escape};
use cmdop_policy::classes::is_secret;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Value, json};

use super::arguments::{Arguments, invalid};
use super::look::{sorted, type_name};
use super::place::{Root, beneath};
use super::tree::open_regular;
use crate::Error;

const DEFAULT_LIMIT: u64 = 200;
const MAX_LIMIT: u64 = 10_000;
const DEFAULT_TIMEOUT_S: u64 = 10;
const MAX_TIMEOUT_S: u64 = 60;

/// Entries that are looked at.
const MAX_ENTRIES: u64 = 1_000_000;

/// Directories within each other that are entered.
const MAX_DEPTH: usize = 128;

/// Larger files are counted and not read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Content that is read in all.
const MAX_READ_BYTES: u64 = 1024 * 1024 * 1024;

/// A result must fit into one frame with room to spare.
const MAX_RESULT_BYTES: usize = 1024 * 1024;

/// What is told of a line.
const MAX_LINE_BYTES: usize = 400;

/// Where a NUL makes a file a binary one.
const PROBED_BYTES: usize = 8 * 1024;

/// Memory of a compiled expression.
const MAX_REGEX_BYTES: usize = 1024 * 1024;

/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(super) fn search(root: &Root, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let bound = |name: &str, default: u64, most: u64| match arguments.number(name)?.unwrap_or(default) {
        number if number <= most => Ok(number),
        _ => Err(invalid(name, &format!("at most {most}"))),
    };
    let timeout = Duration::from_secs(bound("timeout_s", DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S)?);
    let top = root.directory(&path)?;
    let mut search = Search {
        root,
        glob: glob(arguments, &path)?,
        pattern: pattern(arguments)?,
        limit: bound("limit", DEFAULT_LIMIT, MAX_LIMIT)?,
        deadline: Instant::now() + timeout,
        names_secrets: is_secret(&path),
        device: top.dir_metadata().map_err(Error::io("search"))?.dev(),
        matches: Vec::new(),
        result_bytes: 0,
        entries: 0,
        read_bytes: 0,
        files: 0,
        skipped: Skipped::default(),
        truncated: None,
    };
    search.directory(&top, &path, 0);
    Ok(search.told())
}

fn glob(arguments: &Arguments, path: &[u8]) -> Result<Option<PathPattern>, Error> {
    let Some(text) = arguments.text("glob")? else { return Ok(None) };
    if text.starts_with(['/', '~']) {
        return Err(invalid("glob", "a pattern relative to `path`, such as `**/*.py`"));
    }
    PathPattern::parse(text, Some(path), None).map(Some).map_err(|error| invalid("glob", &error.to_string()))
}

fn pattern(arguments: &Arguments) -> Result<Option<Regex>, Error> {
    let Some(text) = arguments.text("pattern")? else { return Ok(None) };
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES);
    builder.case_insensitive(arguments.flag("ignore_case")?);
    let expected = |error| invalid("pattern", &format!("a regular expression without look-around: {error}"));
    builder.build().map(Some).map_err(expected)
}

struct Search<'a> {
    root: &'a Root,
    glob: Option<PathPattern>,
    pattern: Option<Regex>,
    limit: u64,
    deadline: Instant,
    /// Who names a secret place was asked about it; elsewhere secrets are not shown.
    names_secrets: bool,
    /// The file system that is searched.
    device: u64,
    matches: Vec<Value>,
    /// Of all matches together, about.
    result_bytes: usize,
    entries: u64,
    read_bytes: u64,
    files: u64,
    skipped: Skipped,
    truncated: Option<&'static str>,
}

#[derive(Default)]
struct Skipped {
    binary: u64,
    large: u64,
    secret: u64,
    unreadable: u64,
    mounts: u64,
}

impl Search<'_> {
    fn directory(&mut self, dir: &Dir, path: &[u8], depth: usize) {
        let Ok(entries) = sorted(dir, path) else {
            self.skipped.unreadable += 1;
            return;
        };
        for (name, found) in entries {
            let here = beneath(path, &name);
            self.entries += 1;
            self.check_bounds();
            if self.truncated.is_some() {
                return;
            }
            if self.root.holds(&here) {
                continue;
            }
            let below = if found.is_dir() { self.root.open_listed(dir, &name, &here) } else { Ok(None) };
            if found.is_dir() && matches!(below, Ok(None)) {
                continue;
            }
            if self.glob.as_ref().is_none_or(|glob| glob.covers(&here)) {
                match &self.pattern {
                    None => {
                        self.add(here.len(), json!({"path": escape(&here), "type": type_name(&found)}));
                    }
                    Some(pattern) if found.is_file() => {
                        let pattern = pattern.clone();
                        self.content(dir, &name, &here, found.len(), &pattern);
                    }
                    Some(_) => {}
                }
            }
            match below {
                Ok(Some(below)) => self.enter(&below, &here, depth),
                Ok(None) => {}
                Err(_) => self.skipped.unreadable += 1,
            }
        }
    }

    fn enter(&mut self, dir: &Dir, path: &[u8], depth: usize) {
        match dir.dir_metadata() {
            Ok(found) if found.dev() != self.device => self.skipped.mounts += 1,
            Ok(_) if depth < MAX_DEPTH => self.directory(dir, path, depth + 1),
            _ => self.skipped.unreadable += 1,
        }
    }

    fn check_bounds(&mut self) {
        if self.entries > MAX_ENTRIES {
            self.truncated = self.truncated.or(Some("entries"));
        } else if Instant::now() >= self.deadline {
            self.truncated = self.truncated.or(Some("time"));
        } else if self.read_bytes > MAX_READ_BYTES {
            self.truncated = self.truncated.or(Some("bytes"));
        }
    }

    /// Takes one more match, if there is room for it.
    fn add(&mut self, bytes: usize, found: Value) -> bool {
        if self.matches.len() as u64 == self.limit {
            self.truncated = Some("limit");
        } else if self.result_bytes + bytes > MAX_RESULT_BYTES {
            self.truncated = Some("bytes");
        } else {
            self.result_bytes += bytes;
            self.matches.push(found);
        }
        self.truncated.is_none()
    }

    fn content(&mut self, dir: &Dir, name: &std::ffi::OsStr, path: &[u8], size: u64, pattern: &Regex) {
        if !self.names_secrets && is_secret(path) {
            self.skipped.secret += 1;
            return;
        }
        if size > MAX_FILE_BYTES {
            self.skipped.large += 1;
            return;
        }
        let mut content = Vec::new();
        let read = open_regular(dir, name, path)
            .is_ok_and(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).is_ok());
        if !read {
            self.skipped.unreadable += 1;
        } else if content.len() as u64 > MAX_FILE_BYTES {
            self.skipped.large += 1;
        } else if content[..content.len().min(PROBED_BYTES)].contains(&0) {
            self.skipped.binary += 1;
        } else {
            self.read_bytes += content.len() as u64;
            self.files += 1;
            self.lines(path, &content, pattern);
        }
    }

    fn lines(&mut self, path: &[u8], content: &[u8], pattern: &Regex) {
        // What follows the last newline is no line if it is nothing.
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            if index % 1_024 == 1_023 && Instant::now() >= self.deadline {
                self.truncated = Some("time");
                return;
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !pattern.is_match(line) {
                continue;
            }
            let text = String::from_utf8_lossy(&line[..line.len().min(MAX_LINE_BYTES)]).into_owned();
            let found = json!({"path": escape(path), "line": index + 1, "text": text});
            if !self.add(path.len() + text.len(), found) {
                return;
            }
        }
    }

    fn told(self) -> Value {
        let Skipped { binary, large, secret, unreadable, mounts } = self.skipped;
        json!({
            "matches": self.matches,
            "truncated": self.truncated,
            "files": self.files,
            "skipped": {
                "binary": binary, "large": large, "secret": secret, "unreadable": unreadable, "mounts": mounts,
            },
        })
    }
}
