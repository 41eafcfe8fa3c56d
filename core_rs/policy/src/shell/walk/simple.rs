//! Simple commands: expand, redirect, assign, and find out what the first word means.

use std::collections::BTreeMap;

use cmdop_contract::v1;

use super::expand::Expansion;
use super::hazard;
use super::state::{ENTRY_BYTES, Field, FieldKind, Flow, Value, Variable};
use super::{MAX_INVOCATIONS, Stdin, TOO_MANY, Walker, may_fail};
use crate::shell::reading::syntax::{self, Argument, Assignment, ParameterName, PieceKind, Simple};

/// Longest value of a variable that is kept.
const MAX_VALUE: usize = 64 * 1024;

/// One word of a command after expansion, or an assignment that a declaration makes.
pub(in crate::shell) enum Expanded {
    Field(Field),
    Assignment { name: String, value: Value, append: bool },
}

impl Walker<'_> {
    pub(in crate::shell) fn simple(&mut self, simple: &Simple) -> Flow {
        let words = self.words(&simple.words);
        let keeps_redirects = is_bare_exec(&words);
        let stdin = self.stdin.clone();
        let before = self.state.clone();
        self.redirects(&simple.redirects);
        let mut flow = if words.is_empty() {
            for assignment in &simple.assignments {
                self.assignment(assignment);
            }
            Flow::same(self.state.clone())
        } else {
            self.with_assignments(simple, words)
        };
        // `exec < file` alone moves the shell's own standard input.
        if !keeps_redirects {
            self.stdin = stdin;
        }
        if may_fail(&simple.redirects) {
            flow.failure = Some(flow.failure().join(&before));
        }
        flow
    }

    fn words(&mut self, words: &[Argument]) -> Vec<Expanded> {
        let mut expanded = Vec::with_capacity(words.len());
        for word in words {
            match word {
                Argument::Word(word) => expanded.extend(self.fields(word).into_iter().map(Expanded::Field)),
                Argument::Assignment(assignment) => {
                    let value = self.value(assignment);
                    let (name, append) = (assignment.name.clone(), assignment.append);
                    expanded.push(Expanded::Assignment { name, value, append });
                }
            }
        }
        expanded
    }

    /// Runs a command under the assignments before it, which end with it.
    fn with_assignments(&mut self, simple: &Simple, words: Vec<Expanded>) -> Flow {
        let reads = matches!(words.first(), Some(Expanded::Field(field)) if matches!(field.text.as_str(), "read" | "mapfile" | "readarray"));
        if let Some(name) = expanded_before_it_is_set(simple).filter(|name| self.state.variable(name).is_none()) {
            // Whoever wrote it means the new value, and bash takes the host's.
            self.unanalysable(format!("`{name}` is set for the command and expanded before that"));
        }
        let mut hidden = Vec::with_capacity(simple.assignments.len());
        for assignment in &simple.assignments {
            hidden.push((assignment.name.clone(), self.state.variable(&assignment.name).cloned()));
            if reads && assignment.name == "IFS" {
                // It only says how the line that is read is split.
                self.value(assignment);
                continue;
            }
            self.assignment(assignment);
            self.export(&assignment.name, true);
        }
        let mut flow = self.run(words, &simple.source);
        for (name, variable) in hidden.into_iter().rev() {
            for state in [Some(&mut flow.success), flow.failure.as_mut()].into_iter().flatten() {
                match &variable {
                    Some(variable) => state.set_variable(&name, variable.clone()),
                    None => state.remove_variable(&name),
                }
            }
        }
        self.state = flow.success.clone();
        flow
    }

    /// Finds out what the words run: a function, a builtin or a program.
    pub(in crate::shell) fn run(&mut self, words: Vec<Expanded>, source: &str) -> Flow {
        let Some(Expanded::Field(first)) = words.first() else {
            return Flow::same(self.state.clone());
        };
        if first.kind != FieldKind::Literal {
            self.unanalysable(format!("the program of `{source}` is not known"));
            return Flow::same(self.state.clone());
        }
        let name = first.text.clone();
        let mut fallthrough = true;
        let mut flow = None;
        if let Some(function) = self.state.function(&name).cloned() {
            let arguments: Vec<Field> = words.iter().skip(1).map(argument).collect();
            fallthrough = function.may_be_missing;
            let start = self.state.clone();
            let stdin = self.stdin.clone();
            if stdin != Stdin::Inherited {
                self.stdin = Stdin::Unknown;
            }
            self.conditions += usize::from(fallthrough);
            flow = Some(self.call(&function.bodies, &arguments));
            self.conditions -= usize::from(fallthrough);
            self.stdin = stdin;
            if fallthrough {
                self.state = start;
            }
        }
        if !fallthrough {
            return flow.unwrap_or_else(|| Flow::same(self.state.clone()));
        }
        self.conditions += usize::from(flow.is_some());
        let outside = self.builtin_or_program(words, source);
        self.conditions -= usize::from(flow.is_some());
        match flow {
            None => outside,
            Some(flow) => Flow::same(flow.merged().join(&outside.merged())),
        }
    }

    /// The words without any function of that name.
    pub(in crate::shell) fn builtin_or_program(&mut self, words: Vec<Expanded>, source: &str) -> Flow {
        match self.builtin(words, source) {
            Ok(flow) => flow,
            Err(words) => {
                self.program(&words, source);
                Flow::same(self.state.clone())
            }
        }
    }

    /// Notes a program run.
    pub(in crate::shell) fn program(&mut self, words: &[Field], source: &str) {
        let Some(name) = words.first().map(|field| field.text.clone()) else { return };
        if words[0].kind != FieldKind::Literal {
            self.unanalysable(format!("the program of `{source}` is not known"));
            return;
        }
        let unknown = words.iter().any(|field| field.is_unknown());
        if unknown && !hazard::tolerates_unknown(&name, &words[1..]) {
            self.unanalysable(format!("a word of `{source}` is not known"));
        }
        if hazard::runs_subscript(&name, &words[1..]) {
            self.unanalysable(format!("`{source}` evaluates a subscript"));
        }
        let directories = match self.state.directories() {
            [] => vec![String::new()],
            several => several.to_vec(),
        };
        let env = self.environment();
        let texts = words.iter().map(|field| field.text.len()).chain(env.values().map(String::len));
        let stdin = if let Stdin::Known(text) = &self.stdin { text.len() } else { 0 };
        let weight = texts.map(|length| length + ENTRY_BYTES).sum::<usize>() + stdin;
        for (index, cwd) in directories.into_iter().enumerate() {
            if self.found.invocations.len() > MAX_INVOCATIONS || !self.fuel.spend_bytes(weight) {
                return self.unanalysable(TOO_MANY);
            }
            let invocation = v1::Invocation {
                argv: words.iter().map(|field| field.text.clone()).collect(),
                globbed: globbed(words),
                env: env.clone(),
                cwd,
                stdin: match &self.stdin {
                    Stdin::Known(text) => Some(text.clone()),
                    _ => None,
                },
                stdin_unknown: self.stdin == Stdin::Unknown,
                // In another directory it runs only if a `cd` failed.
                certain: self.is_certain() && index == 0 && !unknown,
                source: source.to_owned(),
            };
            self.found.invocations.push(invocation);
        }
    }

    fn environment(&mut self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for (name, value) in self.state.exported() {
            if let Value::Text(text) = value {
                env.insert(name.to_owned(), text.clone());
            }
        }
        env
    }

    fn assignment(&mut self, assignment: &Assignment) {
        let value = self.value(assignment);
        match &assignment.index {
            Some(index) => {
                self.arithmetic(index);
                self.assign(&assignment.name, Value::Unknown);
            }
            None => self.assign_or_append(&assignment.name, value, assignment.append),
        }
    }

    fn value(&mut self, assignment: &Assignment) -> Value {
        match &assignment.value {
            syntax::Value::Scalar(word) => Value::from_field(&self.field(word, Expansion::Assignment)),
            syntax::Value::Array { indices, elements } => {
                for index in indices {
                    self.arithmetic(index);
                }
                let fields: Vec<Field> = elements.iter().flat_map(|word| self.fields(word)).collect();
                let known = indices.is_empty() && fields.iter().all(|field| !field.is_unknown());
                if known { Value::List(fields) } else { Value::Unknown }
            }
        }
    }

    pub(in crate::shell) fn assign_or_append(&mut self, name: &str, value: Value, append: bool) {
        let value = match (append, value) {
            (false, value) => value,
            (true, value) => match (self.lookup(name), value) {
                (Value::Text(before), Value::Text(after)) if before.len() + after.len() <= MAX_VALUE => {
                    Value::Text(before + &after)
                }
                (Value::Unset, value) => value,
                (Value::List(mut before), Value::List(after)) if before.len() + after.len() <= 1_000 => {
                    before.extend(after);
                    Value::List(before)
                }
                _ => Value::Unknown,
            },
        };
        self.assign(name, value);
    }

    /// Sets a variable. One that changes what is executed makes the script unanalysable.
    pub(in crate::shell) fn assign(&mut self, name: &str, value: Value) {
        if let Some(why) = hazard::variable(name) {
            self.unanalysable(format!("`{name}` is set, and it {why}"));
        }
        let (exported, stubborn) =
            self.state.variable(name).map_or((false, false), |known| (known.exported, known.stubborn));
        let was_array = matches!(self.state.variable(name), Some(Variable { value: Value::List(_), .. }));
        let value = match value {
            Value::Text(text) if text.len() > MAX_VALUE => Value::Unknown,
            // Only the first element is set.
            Value::Text(_) | Value::Pattern(_) | Value::Number if was_array => Value::Unknown,
            value => value,
        };
        let variable = Variable {
            value: if stubborn { Value::Unknown } else { value },
            exported: exported || self.state.exports_all,
            stubborn,
        };
        self.state.set_variable(name, variable);
    }

    pub(in crate::shell) fn export(&mut self, name: &str, exported: bool) {
        if let Some(why) = hazard::variable(name) {
            self.unanalysable(format!("`{name}` is exported, and it {why}"));
        }
        let value = self.lookup(name);
        let stubborn = self.state.variable(name).is_some_and(|known| known.stubborn);
        self.state.set_variable(name, Variable { value, exported, stubborn });
    }
}

/// A variable that is assigned before a command and stands in its words, which are expanded first.
fn expanded_before_it_is_set(simple: &Simple) -> Option<&str> {
    let words = simple.words.iter().filter_map(|word| match word {
        Argument::Word(word) => Some(word),
        Argument::Assignment(_) => None,
    });
    let names = words.flat_map(|word| &word.pieces).filter_map(|piece| match &piece.kind {
        PieceKind::Parameter(parameter) => match &parameter.name {
            ParameterName::Variable(name) => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    });
    names.into_iter().find(|name| simple.assignments.iter().any(|assignment| assignment.name == *name))
}

/// `exec`, however it is written, without a program: its redirections stay.
fn is_bare_exec(words: &[Expanded]) -> bool {
    let text = |word: &Expanded| match word {
        Expanded::Field(field) => field.as_literal().map(str::to_owned),
        Expanded::Assignment { .. } => None,
    };
    let texts: Option<Vec<String>> = words.iter().map(text).collect();
    texts.is_some_and(|texts| match texts.split_last() {
        Some((last, rest)) => last == "exec" && rest.iter().all(|word| word == "command" || word == "builtin"),
        None => false,
    })
}

/// An argument of a function: what was split as an assignment is one word again.
fn argument(word: &Expanded) -> Field {
    match word {
        Expanded::Field(field) => field.clone(),
        Expanded::Assignment { name, value: Value::Text(text), append } => {
            Field::literal(format!("{name}{}={text}", if *append { "+" } else { "" }))
        }
        Expanded::Assignment { .. } => Field::unknown(FieldKind::Unknown),
    }
}

pub(in crate::shell) fn arguments(words: &[Expanded]) -> Vec<Field> {
    words.iter().map(argument).collect()
}

fn globbed(words: &[Field]) -> Vec<u32> {
    let patterns = words.iter().enumerate().filter(|(_, field)| field.kind != FieldKind::Literal);
    patterns.filter_map(|(index, _)| u32::try_from(index).ok()).collect()
}
