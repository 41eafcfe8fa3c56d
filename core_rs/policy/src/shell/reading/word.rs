//! Splits the raw text of a word into pieces: quotations, parameters, substitutions.

use std::rc::Rc;

use super::parameter::read_parameter;
use super::quote;
use super::scan;
use super::syntax::{Arithmetic, Parameter, Piece, PieceKind, Script, Word};

/// Parses the script of a substitution.
pub(in crate::shell) trait Scripts {
    /// # Errors
    /// Why it cannot be parsed.
    fn script(&mut self, text: &str) -> Result<Rc<Script>, String>;
}

/// Which characters are special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shell) enum Quoting {
    /// An ordinary word.
    None,
    /// Between double quotes, or an arithmetic expression.
    Double,
    /// The body of a here-document.
    Document,
}

/// # Errors
/// Why the word cannot be understood.
pub(in crate::shell) fn read_word(text: &str, quoting: Quoting, scripts: &mut dyn Scripts) -> Result<Word, String> {
    let mut reader = Reader { text, at: 0, quoting, pieces: Vec::new(), lone_dollar: false, scripts };
    reader.read()?;
    Ok(Word { pieces: reader.pieces })
}

/// # Errors
/// Why the expression cannot be understood.
pub(in crate::shell) fn read_arithmetic(text: &str, scripts: &mut dyn Scripts) -> Result<Arithmetic, String> {
    Ok(Arithmetic { text: read_word(text, Quoting::Double, scripts)? })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    quoting: Quoting,
    pieces: Vec<Piece>,
    lone_dollar: bool,
    scripts: &'a mut dyn Scripts,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(char) = self.peek() {
            match char {
                '\\' => self.backslash(),
                '\'' if self.quoting == Quoting::None => self.single_quotes()?,
                '"' if self.quoting == Quoting::None => self.double_quotes()?,
                '$' => self.dollar()?,
                '`' => self.backquote()?,
                '<' | '>' if self.quoting == Quoting::None && self.starts_with_at(self.at + 1, "(") => {
                    self.process()?
                }
                _ => {
                    let quoted = self.quoting != Quoting::None;
                    self.text(quoted, char);
                    self.at += char.len_utf8();
                }
            }
        }
        let expands = self.pieces.iter().any(|piece| !matches!(piece.kind, PieceKind::Text(_)));
        if self.lone_dollar && expands {
            self.push(false, PieceKind::Opaque("bash does not split a word with a lone `$`".to_owned()));
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn starts_with_at(&self, at: usize, wanted: &str) -> bool {
        self.text.as_bytes()[at..].starts_with(wanted.as_bytes())
    }

    fn text(&mut self, quoted: bool, char: char) {
        match self.pieces.last_mut() {
            Some(Piece { quoted: same, kind: PieceKind::Text(text) }) if *same == quoted => text.push(char),
            _ => self.push(quoted, PieceKind::Text(char.to_string())),
        }
    }

    fn push(&mut self, quoted: bool, kind: PieceKind) {
        self.pieces.push(Piece { quoted, kind });
    }

    fn push_expansion(&mut self, kind: PieceKind) {
        self.push(self.quoting != Quoting::None, kind);
    }

    fn backslash(&mut self) {
        self.at += 1;
        let Some(next) = self.peek() else {
            return self.text(true, '\\');
        };
        self.at += next.len_utf8();
        let special = match self.quoting {
            Quoting::None => true,
            Quoting::Double => matches!(next, '$' | '`' | '"' | '\\' | '\n'),
            Quoting::Document => matches!(next, '$' | '`' | '\\' | '\n'),
        };
        if !special {
            self.text(true, '\\');
        }
        if next != '\n' || !special {
            self.text(true, next);
        }
    }

    fn single_quotes(&mut self) -> Result<(), String> {
        let start = self.at + 1;
        let length = self.text[start..].find('\'').ok_or("a single quote is not closed")?;
        self.push(true, PieceKind::Text(self.text[start..start + length].to_owned()));
        self.at = start + length + 1;
        Ok(())
    }

    fn double_quotes(&mut self) -> Result<(), String> {
        let start = self.at + 1;
        let length = closing_double_quote(&self.text[start..]).ok_or("a double quote is not closed")?;
        let inner = read_word(&self.text[start..start + length], Quoting::Double, self.scripts)?;
        if inner.pieces.is_empty() {
            // Even an empty quotation makes a word; `"$@"` alone need not.
            self.push(true, PieceKind::Text(String::new()));
        }
        self.pieces.extend(inner.pieces);
        self.at = start + length + 1;
        Ok(())
    }

    fn dollar(&mut self) -> Result<(), String> {
        let next = self.at + 1;
        let following = self.text.as_bytes().get(next).copied();
        match following {
            Some(b'(') => self.command_or_arithmetic(next + 1),
            Some(b'{') => {
                let in_quotes = self.quoting != Quoting::None;
                let end = scan::end_of_parameter(self.text, next + 1, in_quotes).ok_or("`${` is not closed")?;
                let parameter = read_parameter(&self.text[next + 1..end], in_quotes, self.scripts)?;
                self.push_expansion(PieceKind::Parameter(Rc::new(parameter)));
                self.at = end + 1;
                Ok(())
            }
            Some(b'\'') if self.quoting == Quoting::None => {
                let end = scan::end_of_ansi_c(self.text, next + 1).ok_or("`$'` is not closed")?;
                let kind = match quote::ansi_c(&self.text[next + 1..end]) {
                    Some(text) => PieceKind::Text(text),
                    None => PieceKind::Opaque("`$'…'` holds bytes that are no text".to_owned()),
                };
                self.push(true, kind);
                self.at = end + 1;
                Ok(())
            }
            Some(b'"') if self.quoting == Quoting::None => {
                self.push(true, PieceKind::Opaque("`$\"…\"` depends on the locale".to_owned()));
                self.at = next;
                Ok(())
            }
            Some(b'[') => Err("`$[…]` is not understood".to_owned()),
            _ => self.simple_parameter(next),
        }
    }

    fn simple_parameter(&mut self, start: usize) -> Result<(), String> {
        let rest = &self.text[start..];
        let length = match rest.chars().next() {
            Some(char) if char.is_ascii_alphabetic() || char == '_' => {
                rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len())
            }
            Some(char) if char.is_ascii_digit() || "@*#?-$!".contains(char) => 1,
            _ => 0,
        };
        self.at = start + length;
        if length == 0 {
            let quoted = self.quoting != Quoting::None;
            self.lone_dollar |= !quoted;
            self.text(quoted, '$');
            return Ok(());
        }
        let parameter: Parameter = read_parameter(&rest[..length], true, self.scripts)?;
        self.push_expansion(PieceKind::Parameter(Rc::new(parameter)));
        Ok(())
    }

    fn command_or_arithmetic(&mut self, start: usize) -> Result<(), String> {
        let end = scan::end_of_command(self.text, start).ok_or("`$(` is not closed")?;
        let inner = &self.text[start..end];
        let kind = match arithmetic_text(inner) {
            Some(expression) => PieceKind::Arithmetic(Rc::new(read_arithmetic(expression, self.scripts)?)),
            None => PieceKind::Command(self.scripts.script(inner)?),
        };
        self.push_expansion(kind);
        self.at = end + 1;
        Ok(())
    }

    fn backquote(&mut self) -> Result<(), String> {
        let start = self.at + 1;
        let end = scan::end_of_backquote(self.text, start).ok_or("a backquote is not closed")?;
        let inner = unescape_backquoted(&self.text[start..end], self.quoting == Quoting::Double);
        let kind = PieceKind::Command(self.scripts.script(&inner)?);
        self.push_expansion(kind);
        self.at = end + 1;
        Ok(())
    }

    fn process(&mut self) -> Result<(), String> {
        let start = self.at + 2;
        let output = self.peek() == Some('>');
        let end = scan::end_of_command(self.text, start).ok_or("a process substitution is not closed")?;
        let kind = PieceKind::Process { script: self.scripts.script(&self.text[start..end])?, output };
        self.push_expansion(kind);
        self.at = end + 1;
        Ok(())
    }
}

/// The expression of `$((…))`, given what stands between `$(` and `)`.
///
/// Like bash, takes `$((a) (b))` for a command: its outer parentheses do not belong together.
fn arithmetic_text(inner: &str) -> Option<&str> {
    let inside = inner.strip_prefix('(')?;
    let end = scan::end_of_command(inside, 0)?;
    (end + 1 == inside.len()).then(|| &inside[..end])
}

fn closing_double_quote(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.as_bytes().get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            b'`' => at = scan::end_of_backquote(text, at + 1)? + 1,
            b'$' if text.as_bytes().get(at + 1) == Some(&b'(') => at = scan::end_of_command(text, at + 2)? + 1,
            b'$' if text.as_bytes().get(at + 1) == Some(&b'{') => at = scan::end_of_parameter(text, at + 2, true)? + 1,
            _ => at += 1,
        }
    }
}

/// Within backquotes a backslash keeps its meaning only before `$`, a backquote and itself.
fn unescape_backquoted(text: &str, in_double_quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let escapes = char == '\\'
            && chars.peek().is_some_and(|next| matches!(next, '$' | '`' | '\\') || (in_double_quotes && *next == '"'));
        match (escapes, chars.peek()) {
            (true, Some(_)) => out.extend(chars.next()),
            _ => out.push(char),
        }
    }
    out
}
