//! From words to fields: tilde, parameters, substitutions, splitting and globs, in bash's order.

use std::rc::Rc;

use super::Walker;
use super::brace;
use super::state::{Field, FieldKind, Value};
use crate::shell::reading::syntax::{PieceKind, Script, Word};

/// Most fields of one command.
const MAX_FIELDS: usize = 4_096;

/// Longest field in bytes. Repeated assignments could double a value until memory ends.
const MAX_FIELD_BYTES: usize = 128 * 1024;

/// Longest field with wildcards, in characters.
const MAX_PATTERN: usize = 4 * 1024;

/// How a word is expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shell) enum Expansion {
    /// An argument: brace expansion, splitting and globs.
    Argument,
    /// The value of an assignment: tilde also after `=` and `:`, neither splitting nor globs.
    Assignment,
    /// One field without globs: here-strings, `case`, `[[`.
    Single,
    /// The target of a redirection: globs, but one field.
    Target,
}

/// A part of a field that is being put together.
enum Part {
    Text {
        text: String,
        quoted: bool,
    },
    /// A region that a glob or a number stands for.
    Pattern(String),
    Number,
    Unknown {
        many: bool,
    },
}

#[derive(Default)]
struct Builder {
    fields: Vec<Field>,
    parts: Vec<Part>,
    /// A field is open even if it is empty.
    open: bool,
    globs: bool,
}

impl Walker<'_> {
    /// All fields of an argument.
    pub(in crate::shell) fn fields(&mut self, word: &Word) -> Vec<Field> {
        let words = match brace::expand(word) {
            Ok(words) => words,
            Err(why) => {
                self.unanalysable(why);
                return vec![Field::unknown(FieldKind::Many)];
            }
        };
        let mut fields = Vec::with_capacity(words.len());
        for word in words {
            fields.extend(self.expand(&word, Expansion::Argument));
            if fields.len() > MAX_FIELDS {
                self.unanalysable(format!("a command has more than {MAX_FIELDS} words"));
                return vec![Field::unknown(FieldKind::Many)];
            }
        }
        fields
    }

    /// The one field that a word becomes where it is not split.
    pub(in crate::shell) fn field(&mut self, word: &Word, expansion: Expansion) -> Field {
        let mut fields = self.expand(word, expansion);
        match (fields.pop(), fields.is_empty()) {
            (Some(only), true) => only,
            (None, _) => Field::literal(""),
            _ => Field::unknown(FieldKind::Unknown),
        }
    }

    fn expand(&mut self, word: &Word, expansion: Expansion) -> Vec<Field> {
        if self.fuel.is_spent() {
            return self.too_much();
        }
        let mut builder = Builder {
            globs: matches!(expansion, Expansion::Argument | Expansion::Target),
            open: matches!(expansion, Expansion::Assignment | Expansion::Single),
            ..Builder::default()
        };
        let splits = expansion == Expansion::Argument;
        let mut assigns = expansion == Expansion::Assignment;
        for (index, piece) in word.pieces.iter().enumerate() {
            match &piece.kind {
                PieceKind::Text(text) if piece.quoted => builder.push(Part::Text { text: text.clone(), quoted: true }),
                PieceKind::Text(text) => {
                    let ends = index + 1 == word.pieces.len();
                    assigns |= index == 0 && expansion == Expansion::Argument && looks_like_assignment(text);
                    self.bare_text(text, index == 0, ends, assigns, &mut builder);
                }
                PieceKind::Parameter(parameter) => {
                    let values = self.parameter(parameter, piece.quoted);
                    if !self.fuel.spend_bytes(values.iter().map(Value::weight).sum()) {
                        return self.too_much();
                    }
                    let whole = piece.quoted || !splits;
                    builder.values(values, whole, whole && !parameter.name.is_several());
                }
                PieceKind::Command(script) => {
                    let output = self.substituted_output(script);
                    let whole = piece.quoted || !splits;
                    builder.values(vec![output], whole, whole);
                }
                PieceKind::Process { script, output } => {
                    self.process(script);
                    let part =
                        if *output { Part::Unknown { many: false } } else { Part::Pattern("/dev/fd/*".to_owned()) };
                    builder.push(part);
                }
                PieceKind::Arithmetic(expression) => {
                    let value = self.arithmetic(expression);
                    builder.values(vec![value], true, true);
                }
                PieceKind::Opaque(why) => {
                    self.unanalysable(why.clone());
                    builder.push(Part::Unknown { many: false });
                }
            }
        }
        let fields = builder.finish();
        for field in &fields {
            self.fuel.spend_bytes(field.text.len());
        }
        fields
    }

    /// Stands for words that would cost more than is left.
    fn too_much(&mut self) -> Vec<Field> {
        self.unanalysable("the words of the script become too much to follow");
        vec![Field::unknown(FieldKind::Many)]
    }

    /// Unquoted text as it was written: the place of tildes.
    fn bare_text(&mut self, text: &str, first: bool, ends: bool, assigns: bool, builder: &mut Builder) {
        let mut rest = text;
        let mut at_prefix = first;
        while let Some(at) = rest.find('~') {
            let (before, from) = rest.split_at(at);
            let starts = (at == 0 && at_prefix) || (assigns && before.ends_with(['=', ':']));
            if !before.is_empty() {
                builder.push(Part::Text { text: before.to_owned(), quoted: false });
            }
            at_prefix = false;
            let length = from.find(if assigns { &['/', ':'][..] } else { &['/'][..] }).unwrap_or(from.len());
            let whole = length < from.len() || ends;
            let (prefix, after) = from.split_at(if starts && whole { length } else { 1 });
            builder.push(if starts && whole {
                self.tilde(prefix)
            } else {
                Part::Text { text: "~".into(), quoted: false }
            });
            rest = after;
        }
        if !rest.is_empty() {
            builder.push(Part::Text { text: rest.to_owned(), quoted: false });
        }
    }

    fn tilde(&self, prefix: &str) -> Part {
        let directory = match prefix {
            "~" => match self.lookup("HOME") {
                Value::Text(home) => Some(home),
                _ => None,
            },
            "~+" => self.state.directory().map(str::to_owned),
            _ => None,
        };
        directory.map_or(Part::Unknown { many: false }, |text| Part::Text { text, quoted: true })
    }

    /// What `$(…)` is replaced by. Its commands are resolved on the way.
    pub(in crate::shell) fn substituted_output(&mut self, script: &Rc<Script>) -> Value {
        let known = self.known_output_of_script(script);
        self.isolated(|walker| {
            walker.script(script);
        });
        match known {
            Some(text) => Value::Text(text.trim_end_matches('\n').to_owned()),
            None => Value::Unknown,
        }
    }

    /// A process substitution runs beside the command.
    pub(in crate::shell) fn process(&mut self, script: &Rc<Script>) {
        self.isolated(|walker| {
            walker.stdin = super::Stdin::Unknown;
            walker.script(script);
        });
    }
}

impl Builder {
    fn push(&mut self, part: Part) {
        self.open = true;
        self.parts.push(part);
    }

    /// Adds what a parameter or substitution became; more than one value makes more than one field.
    fn values(&mut self, values: Vec<Value>, whole: bool, one: bool) {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.close();
            }
            match value {
                Value::Text(text) if whole => self.push(Part::Text { text, quoted: true }),
                Value::Text(text) => self.split(&text),
                Value::Pattern(pattern) if whole => self.push(Part::Pattern(pattern)),
                Value::Number => self.push(Part::Number),
                Value::Unset if whole => self.push(Part::Text { text: String::new(), quoted: true }),
                Value::Unset => {}
                Value::Pattern(_) | Value::List(_) | Value::Unknown => self.push(Part::Unknown { many: !one }),
            }
        }
    }

    /// Splits at the default IFS; what changes IFS is unanalysable.
    fn split(&mut self, text: &str) {
        if text.starts_with([' ', '\t', '\n']) && self.open {
            self.close();
        }
        for (index, part) in text.split([' ', '\t', '\n']).filter(|part| !part.is_empty()).enumerate() {
            if index > 0 {
                self.close();
            }
            self.push(Part::Text { text: part.to_owned(), quoted: false });
        }
        if text.ends_with([' ', '\t', '\n']) && self.open {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.open {
            let parts = std::mem::take(&mut self.parts);
            self.fields.push(field(&parts, self.globs));
        }
        self.open = false;
    }

    fn finish(mut self) -> Vec<Field> {
        self.close();
        self.fields
    }
}

fn looks_like_assignment(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    name.len() < text.len()
        && name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

fn field(parts: &[Part], globs: bool) -> Field {
    let mut length = 0;
    let mut pattern = false;
    if parts.iter().any(|part| matches!(part, Part::Unknown { many: true })) {
        return Field::unknown(FieldKind::Many);
    }
    if let [Part::Number] = parts {
        return Field { text: "*".to_owned(), kind: FieldKind::Number };
    }
    for part in parts {
        match part {
            Part::Number => pattern = true,
            Part::Unknown { .. } => return Field::unknown(FieldKind::Unknown),
            Part::Pattern(text) => {
                pattern = true;
                length += text.len();
            }
            Part::Text { text, quoted } => {
                // A backslash that comes out of a value may or may not escape a glob.
                if !quoted && text.contains('\\') {
                    return Field::unknown(FieldKind::Unknown);
                }
                length += text.len();
            }
        }
    }
    if length > MAX_FIELD_BYTES {
        return Field::unknown(FieldKind::Unknown);
    }
    let is_wild = |part: &Part| matches!(part, Part::Text { text, quoted: false } if text.contains(['*', '?', '[']));
    pattern |= globs && parts.iter().any(is_wild);
    if !pattern {
        let text = parts
            .iter()
            .map(|part| if let Part::Text { text, .. } = part { text.as_str() } else { "" })
            .collect::<String>();
        return Field::literal(text);
    }
    glob(parts, globs)
}

/// Writes the field as a region. Each wildcard of bash becomes `*`, which holds at least as much:
/// `?` is one character in bash and one byte in a region, `[…]` has no counterpart.
fn glob(parts: &[Part], globs: bool) -> Field {
    let mut out = String::new();
    let mut wild = false;
    let units = units(parts, globs);
    if units.len() > MAX_PATTERN {
        return Field::unknown(FieldKind::Unknown);
    }
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        match unit {
            Unit::Literal(char) => push_escaped(&mut out, *char),
            Unit::Region(region) => {
                out.push_str(region);
                wild = true;
            }
            Unit::Wild('[') => match closing_bracket(&units, at) {
                Some(close) => {
                    push_star(&mut out);
                    wild = true;
                    at = close;
                }
                None => out.push('['),
            },
            Unit::Wild(_) => {
                push_star(&mut out);
                wild = true;
            }
        }
        at += 1;
    }
    if wild {
        return Field { text: out, kind: FieldKind::Pattern };
    }
    let literal = units.iter().map(|unit| match unit {
        Unit::Literal(char) | Unit::Wild(char) => *char,
        Unit::Region(_) => '*',
    });
    Field::literal(literal.collect::<String>())
}

enum Unit<'a> {
    Literal(char),
    Wild(char),
    Region(&'a str),
}

fn units(parts: &[Part], globs: bool) -> Vec<Unit<'_>> {
    let mut units = Vec::new();
    for part in parts {
        match part {
            Part::Text { text, quoted } => units.extend(text.chars().map(|char| match char {
                '*' | '?' | '[' | ']' if globs && !quoted && char != ']' => Unit::Wild(char),
                _ => Unit::Literal(char),
            })),
            Part::Pattern(text) => units.push(Unit::Region(text)),
            Part::Number => units.push(Unit::Region("*")),
            Part::Unknown { .. } => {}
        }
    }
    units
}

/// The last `]` of the same segment: between them stands at least the bracket expression.
fn closing_bracket(units: &[Unit<'_>], open: usize) -> Option<usize> {
    let segment = units[open..].iter().take_while(|unit| !matches!(unit, Unit::Literal('/') | Unit::Region(_)));
    segment.enumerate().filter(|(_, unit)| matches!(unit, Unit::Literal(']'))).map(|(at, _)| open + at).last()
}

/// Never two in a row: `**` alone in a segment would hold whole trees, and bash's does not.
fn push_star(out: &mut String) {
    if !out.ends_with('*') || out.ends_with("\\*") {
        out.push('*');
    }
}

fn push_escaped(out: &mut String, char: char) {
    out.push_str(&cmdop_contract::path::escape(char.encode_utf8(&mut [0; 4]).as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> Field {
        field(&[Part::Text { text: text.to_owned(), quoted: false }], true)
    }

    #[test]
    fn every_wildcard_of_bash_becomes_one_that_holds_at_least_as_much() {
        for (text, expected) in [
            ("*.log", "*.log"),
            ("a?c", "a*c"),
            ("[ab]*.txt", "*.txt"),
            ("a[0]", "a*"),
            ("**", "*"),
            ("a**b", "a*b"),
            ("[[:alpha:]]x[!y]z", "*z"),
            ("/a[b]/c[d]", "/a*/c*"),
            ("*[a", "*[a"),
        ] {
            assert_eq!(bare(text), Field { text: expected.into(), kind: FieldKind::Pattern }, "{text}");
        }
    }

    #[test]
    fn a_bracket_that_closes_nowhere_is_text() {
        for text in ["[", "a[b", "[a/b]", "]"] {
            assert_eq!(bare(text), Field::literal(text), "{text}");
        }
    }

    #[test]
    fn quoted_wildcards_are_escaped_beside_real_ones() {
        let parts = [Part::Text { text: "*".into(), quoted: false }, Part::Text { text: "*?".into(), quoted: true }];
        assert_eq!(field(&parts, true), Field { text: "*\\*\\?".into(), kind: FieldKind::Pattern });
    }
}
