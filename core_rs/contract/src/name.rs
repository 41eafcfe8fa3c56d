//! Names of actors, hosts and keys: one grammar, so that no record, policy or terminal is surprised by one.

use std::fmt;

/// Longest name.
pub const MAX_CHARS: usize = 128;

/// What a name looks like, for whoever has to mend one.
pub const GRAMMAR: &str = "1 to 128 ASCII letters, digits and `. _ @ + : / -`, the first a letter, a digit or `_`";

/// The name of an agent, user, tenant, run, session, host, tool or approver, or an idempotency key.
///
/// ASCII alone: two names that look the same are the same.
///
/// ```
/// use cmdop_contract::name::Name;
///
/// assert!(Name::parse("web-1.example.org").is_ok());
/// assert!(Name::parse("grace@example.org").is_ok());
/// assert!(Name::parse("").is_err());
/// assert!(Name::parse("jаnitor").is_err(), "the second letter is Cyrillic");
/// assert!(Name::parse("janitor\u{1b}[2J").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {GRAMMAR}")]
pub struct NotAName;

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// The text has not the form of [`GRAMMAR`].
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(NotAName) }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Has a text the form of [`GRAMMAR`]?
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+:/-".contains(&byte);
    let is_first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.len() <= MAX_CHARS && text.as_bytes().first().is_some_and(is_first) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_made_of_what_everybody_sees() {
        for good in ["a", "_apt", "uid-1000", "team/janitor", "py-0f3c", "web:8080", "a+b", &"n".repeat(MAX_CHARS)] {
            assert!(is_name(good), "{good}");
        }
        let long = "n".repeat(MAX_CHARS + 1);
        let bad =
            ["", "-rf", ".", " ", "a b", "a\n", "a\0", "a\u{1b}[31m", "a\u{202e}b", "a\u{200b}", "ünal", "a\\b", "a`b"];
        for bad in bad.into_iter().chain([long.as_str()]) {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
