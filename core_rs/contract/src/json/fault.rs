//! What is wrong with a text that should be JSON: which kind of fault, where, and what to write instead.

use std::fmt;
use std::str::Utf8Error;

use serde_json::error::Category;

use super::mend::mend;
use super::twice;
use crate::reason::{self, Change};
use crate::v1::{Error, Reason};

/// Characters of a key that an error quotes.
const QUOTED: usize = 60;

/// The kinds of fault. Each is mended in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// There is nothing in it.
    Empty,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It ends before what it opened is closed.
    Unfinished,
    /// Something follows the value.
    Trailing,
    /// `NaN` or `Infinity`, which JSON does not have.
    NotFinite,
    /// A number that no 64 bits hold.
    NumberTooLarge,
    /// Nested deeper than is read.
    TooDeep,
    /// A key that stands twice in one object.
    Twice,
    /// Half of a surrogate pair, which is no character.
    LoneSurrogate,
    /// Any other fault of syntax.
    Syntax,
}

impl Fault {
    /// What to write instead.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Empty => "one JSON object, such as `{\"path\": \"/srv/app\"}`",
            Self::NotUtf8 => "text in UTF-8; save it in that encoding",
            Self::ByteOrderMark => "UTF-8 without a byte order mark; save it without one",
            Self::Unfinished => "the rest of the text: a bracket, brace or quote is still open",
            Self::Trailing => "one JSON object and nothing after it",
            Self::NotFinite => "a finite number, or null",
            Self::NumberTooLarge => "a number of at most 64 bits; write a larger one as text",
            Self::TooDeep => "at most 64 levels of nesting",
            Self::Twice => "each key once in its object; remove the one that is not meant",
            Self::LoneSurrogate => "escapes of whole characters: both halves of a surrogate pair, or none",
            Self::Syntax => "JSON as in RFC 8259 at that place",
        }
    }
}

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    fault: Fault,
    /// What the parser says, with line and column.
    said: String,
    /// The JSON text that was meant, if it is certain.
    meant: Option<String>,
    /// JSON pointer of the place; empty where there is none, or where the whole text is mended.
    pointer: String,
}

impl JsonError {
    /// Which kind of fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// What to write instead.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        self.fault.expected()
    }

    /// The JSON text that was meant, if the text can mean only one thing.
    #[must_use]
    pub fn meant(&self) -> Option<&str> {
        self.meant.as_deref()
    }

    /// JSON pointer of the place in the text; empty for the whole of it.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// As a typed error about what `name` is.
    #[must_use]
    pub fn typed(&self, name: &str) -> Error {
        let message = format!("{name} is no valid JSON: {self}; expected {}", self.expected());
        let error = reason::error(Reason::MalformedJson, message).fix_arguments(&self.pointer, self.expected());
        match &self.meant {
            Some(meant) => error.by(Change::ValueJson(meant.clone())),
            None => error,
        }
    }

    pub(super) fn of(text: &str, error: &serde_json::Error, noticed: Option<Fault>) -> Self {
        let said = error.to_string();
        let fault = match noticed {
            // An error of the parser itself can come after one was noticed only if it was not raised.
            Some(fault) if error.classify() == Category::Data => fault,
            _ => syntax(text, error, &said),
        };
        let said = if fault == Fault::NotFinite && error.classify() == Category::Syntax {
            format!("NaN and Infinity are no JSON numbers, at line {} column {}", error.line(), error.column())
        } else {
            said
        };
        let meant = mend(text);
        let pointer = (fault == Fault::Twice && meant.is_none()).then(|| twice::pointer(text)).flatten();
        Self { fault, said, meant, pointer: pointer.unwrap_or_default() }
    }

    pub(super) fn not_utf8(bytes: &[u8], error: Utf8Error) -> Self {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        let found = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let said = format!("byte 0x{found:02x} is no UTF-8 at line {line} column {column}");
        Self { fault: Fault::NotUtf8, said, meant: None, pointer: String::new() }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.said)
    }
}

impl std::error::Error for JsonError {}

/// What a parser would only call unexpected.
pub(super) fn check_start(text: &str) -> Result<(), JsonError> {
    if text.starts_with('\u{feff}') {
        let said = "a byte order mark at line 1 column 1".to_owned();
        return Err(JsonError { fault: Fault::ByteOrderMark, said, meant: mend(text), pointer: String::new() });
    }
    if text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        let said = if text.is_empty() { "the text is empty" } else { "the text is empty but for blanks" };
        let said = format!("{said}, at line 1 column 1");
        return Err(JsonError { fault: Fault::Empty, said, meant: None, pointer: String::new() });
    }
    Ok(())
}

/// The parser's own faults by its words, which its tests hold; the default is never wrong.
fn syntax(text: &str, error: &serde_json::Error, said: &str) -> Fault {
    if error.classify() == Category::Eof {
        return Fault::Unfinished;
    }
    for (words, fault) in [
        ("trailing characters", Fault::Trailing),
        ("number out of range", Fault::NumberTooLarge),
        ("lone leading surrogate", Fault::LoneSurrogate),
        ("unexpected end of hex escape", Fault::LoneSurrogate),
    ] {
        if said.starts_with(words) {
            return fault;
        }
    }
    let rest = at(text, error.line(), error.column()).trim_start_matches('-');
    let is_word = ["NaN", "Infinity"].iter().any(|word| rest.starts_with(word));
    if is_word { Fault::NotFinite } else { Fault::Syntax }
}

/// The text from a place on. Columns count bytes from 1.
fn at(text: &str, line: usize, column: usize) -> &str {
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    text.get(start + column.saturating_sub(1)..).unwrap_or_default()
}

/// A key as it may stand in a message: short, and without characters that a terminal would obey.
pub(super) fn shown(key: &str) -> String {
    let mut text: String = key.chars().take(QUOTED).flat_map(char::escape_default).collect();
    if key.chars().nth(QUOTED).is_some() {
        text.push('…');
    }
    text
}
