//! Arithmetic: not computed, but searched for what it would run and what it assigns.
//!
//! bash evaluates the *values* of the variables it meets, and a subscript within them may hold a
//! command substitution. So every name must be known to hold a number.

use super::Walker;
use super::state::Value;
use crate::shell::reading::syntax::{Arithmetic, PieceKind};

/// How far values that name other variables are followed.
const MAX_REFERENCES: usize = 8;

const ALLOWED: &str = " \t\n+-*/%<>=!&|^~?:,()[]#";

impl Walker<'_> {
    /// Resolves what an expression runs. The value is a number, whichever.
    pub(in crate::shell) fn arithmetic(&mut self, expression: &Arithmetic) -> Value {
        let mut text = String::new();
        for piece in &expression.text.pieces {
            match &piece.kind {
                PieceKind::Text(part) => text.push_str(part),
                PieceKind::Parameter(parameter) => match self.parameter(parameter, true).as_slice() {
                    [Value::Text(value)] => text.push_str(value),
                    [Value::Number] => text.push('0'),
                    [Value::Unset] | [] => {}
                    _ => return self.uncertain_arithmetic(),
                },
                PieceKind::Arithmetic(inner) => {
                    self.arithmetic(inner);
                    text.push('0');
                }
                PieceKind::Command(script) => {
                    let output = self.substituted_output(script);
                    match output {
                        Value::Text(value) => text.push_str(&value),
                        _ => return self.uncertain_arithmetic(),
                    }
                }
                PieceKind::Process { script, .. } => {
                    self.process(script);
                    return self.uncertain_arithmetic();
                }
                PieceKind::Opaque(why) => {
                    self.unanalysable(why.clone());
                    return Value::Number;
                }
            }
        }
        self.evaluate(&text, 0);
        Value::Number
    }

    /// Text that bash would evaluate as arithmetic.
    pub(in crate::shell) fn evaluate(&mut self, text: &str, references: usize) {
        if references > MAX_REFERENCES || !self.fuel.spend_bytes(text.len()) {
            self.uncertain_arithmetic();
            return;
        }
        let mut rest = text;
        let mut before = "";
        while let Some(char) = rest.chars().next() {
            if char.is_ascii_alphabetic() || char == '_' {
                let length = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
                let (name, after) = rest.split_at(length);
                self.reference(name, before, after, text, references);
                before = name;
                rest = after;
            } else if char.is_ascii_digit() {
                // `16#ff` and `0x1f` are one number.
                let length = rest
                    .find(|char: char| !char.is_ascii_alphanumeric() && !"#@_".contains(char))
                    .unwrap_or(rest.len());
                before = "0";
                rest = &rest[length..];
            } else if ALLOWED.contains(char) {
                if !char.is_whitespace() {
                    let start = text.len() - rest.len();
                    before = &text[start.saturating_sub(1)..=start];
                }
                rest = &rest[1..];
            } else {
                self.unanalysable(format!("an arithmetic expression holds `{char}`"));
                return;
            }
        }
    }

    fn reference(&mut self, name: &str, before: &str, after: &str, text: &str, references: usize) {
        if !self.fuel.spend_bytes(text.len()) {
            self.uncertain_arithmetic();
            return;
        }
        let after = skip_subscript(after.trim_start()).trim_start();
        let assigned = after.starts_with('=') && !after.starts_with("==")
            || after.starts_with("++")
            || after.starts_with("--")
            || before.ends_with("++")
            || before.ends_with("--")
            || after
                .find('=')
                .is_some_and(|at| matches!(&after[..at], "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>"));
        let plain = after.starts_with('=') && !after.starts_with("==");
        if !plain {
            match self.lookup(name) {
                Value::Number | Value::Unset => {}
                Value::Text(value) => self.evaluate(&value, references + 1),
                _ if self.is_nowhere_set(name) => {}
                _ => self.unanalysable(format!("`{name}` is evaluated as arithmetic and its value is not known")),
            }
        }
        if assigned {
            let surely = !text.contains(['?', '&', '|']);
            self.assign(name, if surely { Value::Number } else { Value::Unknown });
        }
    }

    /// Has neither the script nor the call ever set it? The host sets none of this form, nor does the shell.
    fn is_nowhere_set(&self, name: &str) -> bool {
        self.state.variable(name).is_none()
            && name.contains(|char: char| char.is_ascii_lowercase())
            && !matches!(name, "histchars" | "auto_resume")
    }

    fn uncertain_arithmetic(&mut self) -> Value {
        self.unanalysable("an arithmetic expression is not known, and what it holds may run commands");
        Value::Number
    }
}

fn skip_subscript(text: &str) -> &str {
    if !text.starts_with('[') {
        return text;
    }
    crate::shell::reading::scan::end_of_subscript(text, 1).map_or(text, |end| &text[end + 1..])
}
