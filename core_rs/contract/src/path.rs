//! Paths and path patterns: which paths does a target mean?
//!
//! Everything is lexical and on bytes: no symbolic link is followed here. What policy decides on a
//! pattern holds for the machine only because the host refuses to walk through links.

mod descent;
mod error;
mod segment;
mod text;

use std::fmt;

pub use descent::{Descent, Place};
pub use error::TargetError;
pub use text::{escape, unescape};

use text::{Token, tokenise};

use crate::matching;
use segment::Segment;

/// Longest pattern, in bytes of what it means: an escape is one. No kernel takes a longer path (`PATH_MAX`).
pub const MAX_PATTERN_BYTES: usize = 4_096;

/// Bytes of the longest escape, `\xHH`.
const ESCAPE_BYTES: usize = 4;

/// Most segments of a pattern from its first wildcard on. Those before it are a path, which may be as deep as its
/// bytes let it: what a host measured, policy can speak about.
pub const MAX_PATTERN_SEGMENTS: usize = 128;

/// A region of the file system: an absolute path in which segments may be wildcards.
///
/// `*` is any run of bytes within one segment and `?` is one byte of it; `**` as a whole segment is
/// any number of segments, so `dir/**` is `dir` and everything beneath. `\` takes the next character
/// literally and `\xHH` is one byte. `[` and `{` mean themselves. `.`, `..` and `//` are resolved
/// lexically. Patterns that mean the same by moving wildcards (`**/*`, `*/**`) have one form.
///
/// ```
/// use cmdop_contract::path::PathPattern;
///
/// let logs = PathPattern::parse("./logs/*.gz", Some(b"/srv/app"), None)?;
/// assert_eq!(logs.to_string(), "/srv/app/logs/*.gz");
/// assert!(logs.covers(b"/srv/app/logs/old.gz"));
/// assert!(!logs.covers(b"/srv/app/logs/2025/old.gz"));
///
/// let app = PathPattern::parse("/srv/app/**", None, None)?;
/// assert!(app.covers_pattern(&logs) && app.covers(b"/srv/app"));
/// # Ok::<(), cmdop_contract::path::TargetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    segments: Box<[Segment]>,
    /// The leading literal segments as a path; `/` if there are none.
    root: Box<[u8]>,
    /// How many segments `root` has.
    fixed: usize,
}

impl PathPattern {
    /// Reads a pattern. A relative one is taken from `base`, `~` and `~/x` from `home`; both are
    /// absolute literal paths.
    ///
    /// # Errors
    /// What is wrong with the text and how to mend it.
    pub fn parse(text: &str, base: Option<&[u8]>, home: Option<&[u8]>) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.len() > MAX_PATTERN_BYTES * ESCAPE_BYTES {
            return Err(TargetError::TooLong { bytes: text.len() });
        }
        let (start, rest) = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                (home.filter(|home| home.starts_with(b"/")).ok_or(TargetError::NoHome)?, rest)
            }
            Some(rest) => {
                let user = rest.split('/').next().unwrap_or_default();
                return Err(TargetError::UnknownUser { user: user.to_owned() });
            }
            None if text.starts_with('/') || text.starts_with("\\/") => (&b"/"[..], text),
            None => {
                let base = base.filter(|base| base.starts_with(b"/"));
                (base.ok_or_else(|| TargetError::Relative { text: text.to_owned() })?, text)
            }
        };
        let mut segments: Vec<Segment> = components(start).map(Segment::literal).collect();
        let tokens = tokenise(rest)?;
        if tokens.len() > MAX_PATTERN_BYTES {
            return Err(TargetError::TooLong { bytes: tokens.len() });
        }
        for raw in tokens.split(|token| *token == Token::Separator) {
            push(&mut segments, Segment::new(raw))?;
        }
        let pattern = Self::of(segments);
        if pattern.segments.len() - pattern.fixed > MAX_PATTERN_SEGMENTS {
            return Err(TargetError::TooDeep);
        }
        Ok(pattern)
    }

    /// The pattern that means exactly one path, whatever characters that has. It is normalised; a
    /// relative one is taken from `/`.
    #[must_use]
    pub fn literal(path: &[u8]) -> Self {
        Self::of(components(path).map(Segment::literal).collect())
    }

    fn of(mut segments: Vec<Segment>) -> Self {
        segment::canonicalise(&mut segments);
        let mut root = Vec::new();
        let mut fixed = 0;
        for name in segments.iter().map_while(Segment::as_literal) {
            root.push(b'/');
            root.extend_from_slice(name);
            fixed += 1;
        }
        if root.is_empty() {
            root.push(b'/');
        }
        Self { segments: segments.into(), root: root.into(), fixed }
    }

    /// Everything beneath each match, and the match itself.
    #[must_use]
    pub fn tree(&self) -> Self {
        if self.is_recursive() {
            return self.clone();
        }
        Self::of(self.segments.iter().cloned().chain([Segment::Deep]).collect())
    }

    /// True if the path is in the region. A path that is not absolute, or holds a NUL, never is.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        if !path.starts_with(b"/") || path.contains(&0) {
            return false;
        }
        if !is_normal(path) {
            return self.covers(&normalise(path));
        }
        if self.is_literal() {
            return *self.root == *path;
        }
        if !is_beneath(path, &self.root) {
            return false;
        }
        let rest = &path[if self.root.len() == 1 { 1 } else { self.root.len() }..];
        match &self.segments[self.fixed..] {
            [Segment::Deep] => true,
            [.., last] if !last.may_end(rest) => false,
            wild => {
                let names: Vec<&[u8]> = rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
                matching::matches(wild, &names, |segment, name| segment.matches(name))
            }
        }
    }

    /// True only if every path of `other` is in this region.
    ///
    /// Sound, not complete: of a region that two alternatives of this one share, it may say no.
    #[must_use]
    pub fn covers_pattern(&self, other: &Self) -> bool {
        if other.is_literal() {
            return self.covers(&other.root);
        }
        is_beneath(&other.root, &self.root)
            && matching::covers(&self.segments[self.fixed..], &other.segments[self.fixed..], Segment::covers)
    }

    /// False only if no path is in both regions.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        if other.is_literal() {
            return self.covers(&other.root);
        }
        if !is_beneath(&other.root, &self.root) && !is_beneath(&self.root, &other.root) {
            return false;
        }
        let shared = self.fixed.min(other.fixed);
        matching::overlaps(&self.segments[shared..], &other.segments[shared..], Segment::meets)
    }

    /// True if the regions overlap and a name with wildcards in this one spells at least half of a name of the other:
    /// `/srv/.en*` aims at `/**/.env`, and `/srv/*` and `/srv/*.json` at no file of theirs in particular.
    #[must_use]
    pub fn aims_at(&self, other: &Self) -> bool {
        let spells = |glob: &Segment| other.segments.iter().any(|name| glob.spells_half_of(name));
        self.overlaps(other) && self.segments.iter().any(spells)
    }

    /// The deepest path that holds the whole region: a literal itself, of `/srv/*/x` it is `/srv`.
    #[must_use]
    pub fn literal_root(&self) -> &[u8] {
        &self.root
    }

    /// Names that every path of the region has, in their order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().filter_map(Segment::as_literal)
    }

    /// True if the region is exactly one path.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.fixed == self.segments.len()
    }

    /// True if the region ends in `**`: with each path it holds everything beneath.
    #[must_use]
    pub fn is_recursive(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Deep))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        for segment in &self.segments {
            write!(f, "/{segment}")?;
        }
        Ok(())
    }
}

/// Adds a segment as a walk would: `.` stays, `..` goes up and stays at the root.
fn push(segments: &mut Vec<Segment>, segment: Segment) -> Result<(), TargetError> {
    match segment.as_literal() {
        Some(b"" | b".") => {}
        Some(b"..") if matches!(segments.last(), Some(Segment::Deep)) => return Err(TargetError::ParentOfAny),
        Some(b"..") => {
            segments.pop();
        }
        _ => segments.push(segment),
    }
    Ok(())
}

/// Names of a path from the root on, `.`, `..` and empty ones resolved.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names.into_iter()
}

/// The path without `.`, `..`, doubled and trailing slashes, lexically. Always absolute.
#[must_use]
pub fn normalise(path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    for name in components(path) {
        normal.push(b'/');
        normal.extend_from_slice(name);
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

/// True if the path is absolute and [`normalise`] would not change it.
#[must_use]
pub fn is_normal(path: &[u8]) -> bool {
    path == b"/"
        || (path.first() == Some(&b'/')
            && path[1..].split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")))
}

/// True if the path is the directory or lies in its tree. Both are normal.
#[must_use]
pub fn is_beneath(path: &[u8], directory: &[u8]) -> bool {
    directory == b"/"
        || (path.starts_with(directory) && (path.len() == directory.len() || path[directory.len()] == b'/'))
}
