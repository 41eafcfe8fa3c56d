//! What is known about the shell at one point of a script, and what remains known when paths meet.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::shell::reading::syntax::Command;

/// More working directories than this count as unknown.
const MAX_DIRECTORIES: usize = 4;

/// What an entry of a map or list costs to copy, besides its text, in bytes.
pub(in crate::shell) const ENTRY_BYTES: usize = 64;

/// One word after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shell) struct Field {
    pub(in crate::shell) text: String,
    pub(in crate::shell) kind: FieldKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shell) enum FieldKind {
    Literal,
    /// A region in the effect language's grammar.
    Pattern,
    /// Some integer; the text is the region `*`.
    Number,
    /// One word with any text.
    Unknown,
    /// Any number of words with any text.
    Many,
}

impl Field {
    pub(in crate::shell) fn literal(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: FieldKind::Literal }
    }

    pub(in crate::shell) fn unknown(kind: FieldKind) -> Self {
        Self { text: "**".to_owned(), kind }
    }

    /// Is the text a region?
    pub(in crate::shell) fn is_pattern(&self) -> bool {
        matches!(self.kind, FieldKind::Pattern | FieldKind::Number)
    }

    pub(in crate::shell) fn is_unknown(&self) -> bool {
        matches!(self.kind, FieldKind::Unknown | FieldKind::Many)
    }

    pub(in crate::shell) fn as_literal(&self) -> Option<&str> {
        (self.kind == FieldKind::Literal).then_some(self.text.as_str())
    }
}

/// What is known about the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shell) enum Value {
    Text(String),
    /// One path that a glob matched, as a region.
    Pattern(String),
    /// Some integer.
    Number,
    List(Vec<Field>),
    Unset,
    Unknown,
}

impl Value {
    pub(in crate::shell) fn from_field(field: &Field) -> Self {
        match field.kind {
            FieldKind::Literal => Self::Text(field.text.clone()),
            FieldKind::Pattern => Self::Pattern(field.text.clone()),
            FieldKind::Number => Self::Number,
            FieldKind::Unknown | FieldKind::Many => Self::Unknown,
        }
    }

    /// What it costs to copy, in bytes.
    pub(in crate::shell) fn weight(&self) -> usize {
        match self {
            Self::Text(text) | Self::Pattern(text) => text.len(),
            Self::List(fields) => fields.iter().map(|field| field.text.len() + ENTRY_BYTES).sum(),
            Self::Number | Self::Unset | Self::Unknown => 0,
        }
    }

    fn is_number(&self) -> bool {
        match self {
            Self::Number => true,
            Self::Text(text) => !text.is_empty() && text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        }
    }

    fn join(self, other: &Self) -> Self {
        match (self, other) {
            (mine, other) if mine == *other => mine,
            (mine, other) if mine.is_number() && other.is_number() => Self::Number,
            _ => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::shell) struct Variable {
    pub(in crate::shell) value: Value,
    pub(in crate::shell) exported: bool,
    /// Read-only or changed on assignment: what is assigned is not what it holds.
    pub(in crate::shell) stubborn: bool,
}

/// What a name may mean as a function.
#[derive(Debug, Clone)]
pub(in crate::shell) struct Function {
    pub(in crate::shell) bodies: Vec<Rc<Command>>,
    /// It may also be undefined here.
    pub(in crate::shell) may_be_missing: bool,
}

impl Variable {
    fn weight(&self, name: &str) -> usize {
        name.len() + self.value.weight() + ENTRY_BYTES
    }
}

#[derive(Debug, Clone)]
pub(in crate::shell) struct State {
    /// False after `exit`: nothing here runs.
    pub(in crate::shell) live: bool,
    /// Possible working directories, the intended one first; empty if unknown.
    directories: Vec<String>,
    /// What `popd` returns to.
    pub(in crate::shell) stack: Vec<Option<String>>,
    variables: Rc<BTreeMap<String, Variable>>,
    /// Of all variables, so that nobody has to add it up at each step.
    variables_weight: usize,
    functions: Rc<BTreeMap<String, Function>>,
    /// `$1` and so on, if they are known.
    pub(in crate::shell) arguments: Option<Rc<Vec<Field>>>,
    /// `set -e`.
    pub(in crate::shell) exits_on_error: bool,
    /// `set -a`.
    pub(in crate::shell) exports_all: bool,
}

impl State {
    pub(in crate::shell) fn new(directory: &str) -> Self {
        Self {
            live: true,
            directories: if directory.is_empty() { Vec::new() } else { vec![directory.to_owned()] },
            stack: Vec::new(),
            variables: Rc::default(),
            variables_weight: 0,
            functions: Rc::default(),
            arguments: None,
            exits_on_error: false,
            exports_all: false,
        }
    }

    pub(in crate::shell) fn directories(&self) -> &[String] {
        &self.directories
    }

    /// The working directory, if there is only one candidate.
    pub(in crate::shell) fn directory(&self) -> Option<&str> {
        match self.directories.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    pub(in crate::shell) fn change_directory(&mut self, directories: Vec<String>) {
        self.directories = directories;
        if self.variables.contains_key("PWD") {
            self.remove_variable("PWD");
        }
    }

    pub(in crate::shell) fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    pub(in crate::shell) fn set_variable(&mut self, name: &str, variable: Variable) {
        self.variables_weight += variable.weight(name);
        let replaced = Rc::make_mut(&mut self.variables).insert(name.to_owned(), variable);
        self.variables_weight -= replaced.map_or(0, |replaced| replaced.weight(name));
    }

    pub(in crate::shell) fn remove_variable(&mut self, name: &str) {
        let removed = Rc::make_mut(&mut self.variables).remove(name);
        self.variables_weight -= removed.map_or(0, |removed| removed.weight(name));
    }

    /// What it may cost to copy this state, or to join it with another, in bytes.
    pub(in crate::shell) fn weight(&self) -> usize {
        let directories = self.directories.iter().chain(self.stack.iter().flatten()).map(String::len).sum::<usize>();
        let entries = self.functions.len() + self.stack.len();
        self.variables_weight + directories + entries * ENTRY_BYTES
    }

    pub(in crate::shell) fn exported(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.exported)
            .map(|(name, variable)| (name.as_str(), &variable.value))
    }

    pub(in crate::shell) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    pub(in crate::shell) fn define(&mut self, name: &str, body: Rc<Command>) {
        let function = Function { bodies: vec![body], may_be_missing: false };
        Rc::make_mut(&mut self.functions).insert(name.to_owned(), function);
    }

    pub(in crate::shell) fn undefine(&mut self, name: &str) {
        if self.functions.contains_key(name) {
            Rc::make_mut(&mut self.functions).remove(name);
        }
    }

    /// What is known when either path may have been taken.
    pub(in crate::shell) fn join(mut self, other: &Self) -> Self {
        if !other.live {
            return self;
        }
        if !self.live {
            return other.clone();
        }
        self.join_directories(other);
        if self.stack != other.stack {
            self.stack.clear();
        }
        if !Rc::ptr_eq(&self.variables, &other.variables) {
            self.join_variables(other);
        }
        if !Rc::ptr_eq(&self.functions, &other.functions) {
            self.join_functions(other);
        }
        if self.arguments != other.arguments {
            self.arguments = None;
        }
        self.exits_on_error &= other.exits_on_error;
        self.exports_all |= other.exports_all;
        self
    }

    fn join_directories(&mut self, other: &Self) {
        if self.directories.is_empty() || other.directories.is_empty() {
            self.directories.clear();
            return;
        }
        for directory in &other.directories {
            if !self.directories.contains(directory) {
                self.directories.push(directory.clone());
            }
        }
        if self.directories.len() > MAX_DIRECTORIES {
            self.directories.clear();
        }
    }

    fn join_variables(&mut self, other: &Self) {
        let mine = Rc::make_mut(&mut self.variables);
        for (name, variable) in mine.iter_mut() {
            match other.variables.get(name) {
                Some(theirs) => {
                    variable.value = std::mem::replace(&mut variable.value, Value::Unknown).join(&theirs.value);
                    variable.exported |= theirs.exported;
                    variable.stubborn |= theirs.stubborn;
                }
                None => variable.value = Value::Unknown,
            }
        }
        for (name, theirs) in other.variables.iter() {
            mine.entry(name.clone()).or_insert_with(|| Variable { value: Value::Unknown, ..theirs.clone() });
        }
        self.variables_weight = mine.iter().map(|(name, variable)| variable.weight(name)).sum();
    }

    fn join_functions(&mut self, other: &Self) {
        let mine = Rc::make_mut(&mut self.functions);
        for (name, function) in mine.iter_mut() {
            match other.functions.get(name) {
                Some(theirs) => {
                    function.may_be_missing |= theirs.may_be_missing;
                    for body in &theirs.bodies {
                        if !function.bodies.iter().any(|known| Rc::ptr_eq(known, body)) {
                            function.bodies.push(body.clone());
                        }
                    }
                }
                None => function.may_be_missing = true,
            }
        }
        for (name, theirs) in other.functions.iter() {
            mine.entry(name.clone()).or_insert_with(|| Function { may_be_missing: true, ..theirs.clone() });
        }
    }

    /// True if nothing that matters to a repetition differs.
    pub(in crate::shell) fn is_settled(&self, other: &Self) -> bool {
        let functions = self.functions.len() == other.functions.len()
            && self.functions.iter().all(|(name, function)| {
                other.functions.get(name).is_some_and(|theirs| {
                    theirs.may_be_missing == function.may_be_missing && theirs.bodies.len() == function.bodies.len()
                })
            });
        functions
            && self.live == other.live
            && self.directories == other.directories
            && self.stack == other.stack
            && self.arguments == other.arguments
            && self.exits_on_error == other.exits_on_error
            && self.exports_all == other.exports_all
            && *self.variables == *other.variables
    }
}

/// The states after success and after failure.
#[derive(Debug)]
pub(in crate::shell) struct Flow {
    pub(in crate::shell) success: State,
    /// `None` if it is the same.
    pub(in crate::shell) failure: Option<State>,
}

impl Flow {
    pub(in crate::shell) fn same(state: State) -> Self {
        Self { success: state, failure: None }
    }

    pub(in crate::shell) fn failure(&self) -> State {
        self.failure.clone().unwrap_or_else(|| self.success.clone())
    }

    pub(in crate::shell) fn negated(self) -> Self {
        match self.failure {
            Some(failure) => Self { success: failure, failure: Some(self.success) },
            None => self,
        }
    }

    pub(in crate::shell) fn merged(self) -> State {
        match self.failure {
            Some(failure) => self.success.join(&failure),
            None => self.success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: Value) -> State {
        let mut state = State::new("/w");
        state.set_variable(name, Variable { value, exported: false, stubborn: false });
        state
    }

    #[test]
    fn what_differs_between_paths_is_unknown_afterwards() {
        let joined = with("x", Value::Text("a".into())).join(&with("x", Value::Text("b".into())));
        assert_eq!(joined.variable("x").map(|x| x.value.clone()), Some(Value::Unknown));
        let joined = with("x", Value::Text("a".into())).join(&State::new("/w"));
        assert_eq!(joined.variable("x").map(|x| x.value.clone()), Some(Value::Unknown));
        let joined = with("x", Value::Text("1".into())).join(&with("x", Value::Text("2".into())));
        assert_eq!(joined.variable("x").map(|x| x.value.clone()), Some(Value::Number));
    }

    #[test]
    fn both_directories_stay_possible_and_a_dead_path_adds_nothing() {
        assert_eq!(State::new("/a").join(&State::new("/b")).directories(), ["/a", "/b"]);
        let mut dead = State::new("/b");
        dead.live = false;
        assert_eq!(State::new("/a").join(&dead).directories(), ["/a"]);
        assert_eq!(dead.join(&State::new("/a")).directories(), ["/a"]);
        assert!(State::new("/a").join(&State::new("")).directories().is_empty());
    }
}
