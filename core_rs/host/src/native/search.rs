//! `files.search`: names by pattern and lines by regular expression, bounded in everything.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdop_contract::path::{PathPattern, escape};
use cmdop_contract::v1::FileType;
use cmdop_policy::classes::is_secret;
use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::{Value, json};

use super::Hidden;
use super::arguments::{Arguments, invalid};
use super::beneath::{READ, Root, open_child, readable};
use super::list::type_name;
use super::measure::Stamp;
use super::walk::{Next, Seen, Visitor, walk};
use crate::Error;

const DEFAULT_LIMIT: u64 = 200;
const MAX_LIMIT: u64 = 10_000;
const DEFAULT_TIMEOUT_S: u64 = 10;
const MAX_TIMEOUT_S: u64 = 60;

/// Entries that are looked at.
const MAX_ENTRIES: u64 = 1_000_000;

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

/// Searches as the arguments say.
///
/// # Errors
/// `PATH_NOT_FOUND`, `PATH_NOT_USABLE`, `INVALID_ARGUMENTS`.
pub(crate) fn search(root: &Root, hidden: &Hidden, arguments: &Arguments) -> Result<Value, Error> {
    let path = arguments.path()?;
    let bound = |name: &str, default: u64, most: u64| match arguments.number(name)?.unwrap_or(default) {
        number if number <= most => Ok(number),
        _ => Err(invalid(name, &format!("at most {most}"))),
    };
    let timeout = Duration::from_secs(bound("timeout_s", DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S)?);
    let mut search = Search {
        hidden,
        glob: glob(arguments, &path)?,
        pattern: pattern(arguments)?,
        limit: bound("limit", DEFAULT_LIMIT, MAX_LIMIT)?,
        deadline: Instant::now() + timeout,
        names_secrets: is_secret(&path),
        matches: Vec::new(),
        result_bytes: 0,
        entries: 0,
        read_bytes: 0,
        files: 0,
        skipped: Skipped::default(),
        truncated: None,
    };
    let top = root.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    walk(top, &path, &mut search)?;
    Ok(search.told())
}

fn glob(arguments: &Arguments, path: &[u8]) -> Result<Option<PathPattern>, Error> {
    let Some(text) = arguments.text("glob")? else { return Ok(None) };
    if text.starts_with(['/', '~']) {
        return Err(invalid("glob", "a pattern relative to `path`, such as `**/*.py`"));
    }
    PathPattern::parse(text, Some(path), None).map(Some).map_err(|error| invalid("glob", &error.to_string()))
}

fn pattern(arguments: &Arguments) -> Result<Option<Arc<Regex>>, Error> {
    let Some(text) = arguments.text("pattern")? else { return Ok(None) };
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES);
    builder.case_insensitive(arguments.flag("ignore_case")?);
    let expected = |error| invalid("pattern", &format!("a regular expression without look-around: {error}"));
    builder.build().map(|regex| Some(Arc::new(regex))).map_err(expected)
}

struct Search<'a> {
    hidden: &'a Hidden,
    glob: Option<PathPattern>,
    pattern: Option<Arc<Regex>>,
    limit: u64,
    deadline: Instant,
    /// Who names a secret place was asked about it; elsewhere secrets are not shown.
    names_secrets: bool,
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

impl Visitor for Search<'_> {
    fn is_on_one_mount(&self) -> bool {
        true
    }

    fn entry(&mut self, seen: &Seen<'_>) -> Result<Next, Error> {
        self.entries += 1;
        if self.hidden.holds(seen.path) {
            return Ok(Next::Skip);
        }
        if self.entries > MAX_ENTRIES {
            self.truncated = Some("entries");
        } else if Instant::now() >= self.deadline {
            self.truncated = Some("time");
        } else if self.glob.as_ref().is_none_or(|glob| glob.covers(seen.path)) {
            match (self.pattern.clone(), seen.stamp.file_type()) {
                (None, file_type) => {
                    self.add(seen.path.len(), json!({"path": escape(seen.path), "type": type_name(file_type)}));
                }
                (Some(pattern), FileType::Regular) => self.content(seen, &pattern),
                _ => {}
            }
        }
        Ok(if self.truncated.is_some() { Next::Stop } else { Next::Enter })
    }

    fn cannot_enter(&mut self, _path: &[u8], errno: Errno) -> Result<(), Error> {
        match errno {
            Errno::XDEV => self.skipped.mounts += 1,
            _ => self.skipped.unreadable += 1,
        }
        Ok(())
    }
}

impl Search<'_> {
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

    fn content(&mut self, seen: &Seen<'_>, pattern: &Regex) {
        if !self.names_secrets && is_secret(seen.path) {
            self.skipped.secret += 1;
            return;
        }
        if seen.stamp.size > MAX_FILE_BYTES {
            self.skipped.large += 1;
            return;
        }
        let Some(content) = read(seen.dir, seen) else {
            self.skipped.unreadable += 1;
            return;
        };
        if content.len() as u64 > MAX_FILE_BYTES {
            self.skipped.large += 1;
        } else if content[..content.len().min(PROBED_BYTES)].contains(&0) {
            self.skipped.binary += 1;
        } else {
            self.read_bytes += content.len() as u64;
            self.files += 1;
            self.lines(seen.path, &content, pattern);
        }
        if self.read_bytes > MAX_READ_BYTES {
            self.truncated = self.truncated.or(Some("bytes"));
        }
    }

    fn lines(&mut self, path: &[u8], content: &[u8], pattern: &Regex) {
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            // An empty rest behind the last newline is no line.
            let is_rest = line.is_empty() && index > 0 && content.ends_with(b"\n") && is_end(line, content);
            if index % 1_024 == 1_023 && Instant::now() >= self.deadline {
                self.truncated = Some("time");
                return;
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if is_rest || !pattern.is_match(line) {
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

/// Does the line begin where the content ends?
fn is_end(line: &[u8], content: &[u8]) -> bool {
    std::ptr::eq(line.as_ptr(), content.as_ptr_range().end)
}

/// Content of a regular file, at most one byte more than is searched.
fn read(dir: BorrowedFd<'_>, seen: &Seen<'_>) -> Option<Vec<u8>> {
    let opened: File = readable(open_child(dir, seen.name, READ).ok()?, seen.path).ok()?;
    let now = Stamp::of(&opened).ok()?;
    if (now.dev, now.ino) != (seen.stamp.dev, seen.stamp.ino) {
        return None;
    }
    let mut content = Vec::new();
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).ok()?;
    Some(content)
}
