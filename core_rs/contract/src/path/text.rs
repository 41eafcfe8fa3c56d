//! The text form of paths and patterns: escapes both ways.

use std::fmt;

use super::TargetError;

/// One unit of a target's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Token {
    /// This byte.
    Byte(u8),
    /// `?`: any one byte.
    One,
    /// `*`: any run of bytes.
    Many,
    /// `/`.
    Separator,
}

/// Reads escapes and wildcards.
pub(crate) fn tokenise(text: &str) -> Result<Vec<Token>, TargetError> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b'*' => {
                tokens.push(Token::Many);
                continue;
            }
            b'?' => {
                tokens.push(Token::One);
                continue;
            }
            b'\\' => match bytes.next().ok_or(TargetError::DanglingEscape)? {
                b'x' => (hex_digit(bytes.next())? << 4) | hex_digit(bytes.next())?,
                escaped => escaped,
            },
            byte => byte,
        };
        tokens.push(match literal {
            0 => return Err(TargetError::Nul),
            b'/' => Token::Separator,
            byte => Token::Byte(byte),
        });
    }
    Ok(tokens)
}

fn hex_digit(byte: Option<u8>) -> Result<u8, TargetError> {
    let digit = byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(TargetError::BadHex)?;
    u8::try_from(digit).map_err(|_| TargetError::BadHex)
}

/// The text that means exactly this path: wildcards and backslashes escaped, and everything that a
/// reader would not see as `\xHH`.
///
/// ```
/// # use cmdop_contract::path::{escape, unescape};
/// assert_eq!(escape(b"/srv/a*b\n\xff"), "/srv/a\\*b\\x0a\\xff");
/// assert_eq!(unescape("/srv/a\\*b\\x0a\\xff")?, b"/srv/a*b\n\xff");
/// # Ok::<(), cmdop_contract::path::TargetError>(())
/// ```
#[must_use]
pub fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len() + 8);
    // A leading `~` would be read as the home directory.
    if path.first() == Some(&b'~') {
        text.push('\\');
    }
    write_escaped(&mut text, path, |character| matches!(character, '*' | '?')).expect("a string takes all text");
    text
}

/// Reads what [`escape`] writes.
///
/// # Errors
/// An escape that is not one, a NUL, or an unescaped wildcard.
pub fn unescape(text: &str) -> Result<Vec<u8>, TargetError> {
    // Most paths hold nothing to decode, and observations hold very many paths.
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'*' | b'?' | 0)) {
        return Ok(text.as_bytes().to_vec());
    }
    tokenise(text)?
        .into_iter()
        .map(|token| match token {
            Token::Byte(byte) => Ok(byte),
            Token::Separator => Ok(b'/'),
            Token::One | Token::Many => Err(TargetError::NotLiteral),
        })
        .collect()
}

/// Writes bytes so that [`tokenise`] reads them back as literal ones.
pub(crate) fn write_escaped(
    out: &mut impl fmt::Write,
    bytes: &[u8],
    is_wildcard: impl Fn(char) -> bool,
) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' || is_wildcard(character) {
                out.write_char('\\')?;
                out.write_char(character)?;
            } else if is_invisible(character) {
                write_hex(out, character.encode_utf8(&mut [0; 4]).as_bytes())?;
            } else {
                out.write_char(character)?;
            }
        }
        write_hex(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_hex(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))
}

/// Characters that a person who approves a path would not see, or that would change how the rest of
/// it is shown: controls, zero-width and bidirectional marks, line and paragraph separators.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}
