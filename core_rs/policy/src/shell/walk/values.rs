//! What parameters expand to, as far as it is known.

use super::Walker;
use super::expand::Expansion;
use super::state::{Field, FieldKind, Value};
use crate::shell::reading::parameter::is_number;
use crate::shell::reading::syntax::{Operation, Parameter, ParameterName, PieceKind, Word};

/// Where a command's own temporary files lie: seen by nobody else, and gone with it.
pub(crate) const PRIVATE_DIRECTORY: &str = "/dev/shm";

impl Walker<'_> {
    /// What is known about a variable.
    pub(in crate::shell) fn lookup(&self, name: &str) -> Value {
        if is_number(name) {
            return Value::Number;
        }
        if let Some(variable) = self.state.variable(name) {
            return variable.value.clone();
        }
        match name {
            "HOME" if !self.ctx.home.is_empty() => Value::Text(self.ctx.home.to_owned()),
            "PWD" => self.state.directory().map_or(Value::Unknown, |directory| Value::Text(directory.to_owned())),
            "IFS" => Value::Text(" \t\n".to_owned()),
            // As the host sets them.
            "SHELL" => Value::Text("/bin/bash".to_owned()),
            "TMPDIR" => Value::Text(PRIVATE_DIRECTORY.to_owned()),
            // It may come from the environment of the host.
            _ => Value::Unknown,
        }
    }

    /// The values of a parameter expansion; more than one only for `"$@"` and `"${a[@]}"`.
    pub(in crate::shell) fn parameter(&mut self, parameter: &Parameter, quoted: bool) -> Vec<Value> {
        if let Operation::Evaluates(why) = &parameter.operation {
            self.unanalysable(why.clone());
            return vec![Value::Unknown];
        }
        let values = self.named(&parameter.name, quoted);
        if matches!(parameter.operation, Operation::None) {
            return values;
        }
        let value = match values.as_slice() {
            [only] => only.clone(),
            [] => Value::Unset,
            _ => Value::Unknown,
        };
        vec![self.operate(parameter, value, quoted)]
    }

    fn named(&mut self, name: &ParameterName, quoted: bool) -> Vec<Value> {
        match name {
            ParameterName::Variable(name) => vec![match self.lookup(name) {
                Value::List(fields) => fields.first().map_or(Value::Unset, Value::from_field),
                other => other,
            }],
            ParameterName::Element(name, index) => {
                let text = index.text.pieces.iter().map(|piece| match &piece.kind {
                    PieceKind::Text(text) => text.as_str(),
                    _ => "?",
                });
                let constant = text.collect::<String>().trim().parse::<usize>().ok();
                self.arithmetic(index);
                vec![match (self.lookup(name), constant) {
                    // An element that is a glob may have become several.
                    (Value::List(fields), Some(at))
                        if fields.iter().take(at).all(|field| field.as_literal().is_some()) =>
                    {
                        fields.get(at).map_or(Value::Unset, Value::from_field)
                    }
                    _ => Value::Unknown,
                }]
            }
            ParameterName::Array { name, joined } => match self.lookup(name) {
                Value::List(fields) => several(&fields, quoted && *joined),
                Value::Unset => Vec::new(),
                // It may have been an array before, of which only the first element was set.
                _ => vec![Value::Unknown],
            },
            ParameterName::Positional(index) => vec![match &self.state.arguments {
                Some(fields) => fields.get(index - 1).map_or(Value::Unset, Value::from_field),
                None => Value::Unknown,
            }],
            ParameterName::Arguments { joined } => match self.state.arguments.clone() {
                Some(fields) => several(&fields, quoted && *joined),
                None => vec![Value::Unknown],
            },
            ParameterName::Number => vec![Value::Number],
            ParameterName::Opaque => vec![Value::Unknown],
        }
    }

    fn operate(&mut self, parameter: &Parameter, value: Value, quoted: bool) -> Value {
        match &parameter.operation {
            Operation::None | Operation::Evaluates(_) => value,
            Operation::Length => Value::Number,
            Operation::Default { or_empty, assign, word } => {
                self.default(&parameter.name, value, *or_empty, *assign, word, quoted)
            }
            Operation::Alternative { or_empty, word } => {
                let given = self.conditional_word(word, quoted);
                match is_given(&value, *or_empty) {
                    Some(true) => given,
                    Some(false) => Value::Unset,
                    None => Value::Unknown,
                }
            }
            Operation::Require { word } => {
                self.conditional_word(word, quoted);
                value
            }
            Operation::Transform { words, arithmetic } => {
                for word in words {
                    self.field(word, Expansion::Single);
                }
                for expression in arithmetic {
                    // `${x:1:2}` is two expressions.
                    self.arithmetic(expression);
                }
                Value::Unknown
            }
            Operation::Trim { suffix, longest, pattern } => {
                let exact = has_only_stars(pattern);
                let pattern = self.field(pattern, Expansion::Target);
                if exact { trimmed(&value, &pattern, *suffix, *longest) } else { Value::Unknown }
            }
        }
    }

    fn default(
        &mut self,
        name: &ParameterName,
        value: Value,
        or_empty: bool,
        assign: bool,
        word: &Word,
        quoted: bool,
    ) -> Value {
        let default = self.conditional_word(word, quoted);
        let result = match is_given(&value, or_empty) {
            Some(true) => value,
            Some(false) => default,
            None => Value::Unknown,
        };
        if assign {
            match name {
                ParameterName::Variable(name) => self.assign(name, result.clone()),
                _ => self.unanalysable("an expansion assigns to an element"),
            }
        }
        result
    }

    /// A word that is expanded only under a condition.
    fn conditional_word(&mut self, word: &Word, quoted: bool) -> Value {
        self.conditions += 1;
        let expansion = if quoted { Expansion::Single } else { Expansion::Target };
        let field = self.field(word, expansion);
        self.conditions -= 1;
        // Quoted parts of an unquoted default are not split, but a value is.
        let mixed = !quoted && word.pieces.iter().any(|piece| piece.quoted);
        match field.kind {
            FieldKind::Literal if !mixed => Value::Text(field.text),
            _ => Value::Unknown,
        }
    }
}

/// Is the pattern written with no other wildcard than `*`? Others are widened to it in a region.
fn has_only_stars(pattern: &Word) -> bool {
    pattern.pieces.iter().all(|piece| match &piece.kind {
        PieceKind::Text(text) => piece.quoted || !text.contains(['?', '[']),
        _ => false,
    })
}

fn several(fields: &[Field], joined: bool) -> Vec<Value> {
    if !joined {
        return fields.iter().map(Value::from_field).collect();
    }
    let literals: Option<Vec<&str>> = fields.iter().map(Field::as_literal).collect();
    vec![literals.map_or(Value::Unknown, |literals| Value::Text(literals.join(" ")))]
}

/// Is the parameter set (and not empty)? `None` if that is not known.
fn is_given(value: &Value, not_empty: bool) -> Option<bool> {
    match value {
        Value::Unset => Some(false),
        Value::Text(text) => Some(!(not_empty && text.is_empty())),
        Value::Number | Value::Pattern(_) => Some(true),
        Value::List(_) | Value::Unknown => None,
    }
}

/// Longest value that is trimmed here: each of its places may be where it is cut.
const MAX_TRIMMED: usize = 4 * 1024;

fn trimmed(value: &Value, pattern: &Field, suffix: bool, longest: bool) -> Value {
    let (Value::Text(text), Some(pattern)) = (value, plain_pattern(pattern)) else { return Value::Unknown };
    if text.len() > MAX_TRIMMED {
        return Value::Unknown;
    }
    let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    // The shortest match first.
    if suffix != longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = text.split_at(cut);
        let (rest, matched) = if suffix { (head, tail) } else { (tail, head) };
        if matches(&pattern, matched) {
            return Value::Text(rest.to_owned());
        }
    }
    value.clone()
}

/// A pattern of literal text and `*` only.
fn plain_pattern(pattern: &Field) -> Option<Vec<String>> {
    match pattern.kind {
        FieldKind::Literal if !pattern.text.contains(['*', '?', '[', '\\']) => Some(vec![pattern.text.clone()]),
        FieldKind::Pattern if !pattern.text.contains(['?', '[', '\\']) => {
            Some(pattern.text.split('*').map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// Does literal text with `*` between its parts match the whole of `text`?
fn matches(parts: &[String], text: &str) -> bool {
    match parts {
        [] => text.is_empty(),
        [only] => only == text,
        [first, middle @ .., last] => {
            let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
            for part in middle {
                let Some(at) = rest.find(part.as_str()) else { return false };
                rest = &rest[at + part.len()..];
            }
            rest.len() >= last.len() && rest.ends_with(last.as_str())
        }
    }
}
