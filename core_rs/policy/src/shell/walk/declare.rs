//! `declare`, `local`, `readonly`, `export`; `cd`, `pushd`, `popd`.

use super::Walker;
use super::builtin::is_name;
use super::simple::Expanded;
use super::state::{Field, Flow, Value, Variable};

/// What the options of a declaration ask for.
#[derive(Default)]
struct Attributes {
    exports: bool,
    unexports: bool,
    stubborn: bool,
    functions: bool,
}

impl Walker<'_> {
    pub(in crate::shell) fn declare(&mut self, words: &[Expanded], source: &str) {
        let Some(Expanded::Field(name)) = words.first() else { return };
        let name = name.text.clone();
        let mut attributes =
            Attributes { exports: name == "export", stubborn: name == "readonly", ..Attributes::default() };
        for word in &words[1..] {
            match word {
                Expanded::Assignment { name: variable, value, append } => {
                    self.declare_one(&name, variable, Some((value.clone(), *append)), &attributes);
                }
                Expanded::Field(field) => match field.as_literal() {
                    Some(text) if text.starts_with(['-', '+']) => {
                        if !read_options(&name, text, &mut attributes) {
                            return self.unanalysable(format!("`{source}` declares more than a plain variable"));
                        }
                    }
                    Some(text) => self.declare_text(&name, text, &attributes, source),
                    None => return self.unanalysable(format!("`{source}` declares a name that is not known")),
                },
            }
        }
    }

    /// A word that was no assignment when it was parsed may be one now.
    fn declare_text(&mut self, builtin: &str, text: &str, attributes: &Attributes, source: &str) {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.strip_suffix('+').unwrap_or(name), Some(value)),
            None => (text, None),
        };
        if !is_name(name) || value.is_some_and(|value| value.starts_with('(')) {
            return self.unanalysable(format!("`{source}` declares something that is not a plain name"));
        }
        let append = value.is_some() && text[name.len()..].starts_with('+');
        self.declare_one(builtin, name, value.map(|value| (Value::Text(value.to_owned()), append)), attributes);
    }

    fn declare_one(&mut self, builtin: &str, name: &str, value: Option<(Value, bool)>, attributes: &Attributes) {
        if attributes.functions {
            if attributes.exports {
                self.unanalysable(format!("the function `{name}` is handed to other shells"));
            }
            return;
        }
        if matches!(builtin, "declare" | "typeset" | "local") {
            let hidden = self.state.variable(name).cloned();
            if let Some(locals) = self.locals.last_mut() {
                locals.push((name.to_owned(), hidden));
            }
        }
        if let Some((value, append)) = value {
            self.assign_or_append(name, value, append);
        }
        if attributes.exports || attributes.unexports {
            self.export(name, attributes.exports);
        }
        if attributes.stubborn {
            let known = self.state.variable(name).cloned();
            let exported = known.as_ref().is_some_and(|known| known.exported);
            let value = known.map_or_else(|| self.lookup(name), |known| known.value);
            self.state.set_variable(name, Variable { value, exported, stubborn: true });
        }
    }

    /// Follows the working directory. Until `&&` or `||` says which, it may have failed.
    pub(in crate::shell) fn directory_builtin(&mut self, builtin: &str, words: &[Field]) -> Flow {
        let before = self.state.clone();
        let mut operands = Vec::new();
        for word in words {
            match word.as_literal() {
                Some("-L" | "-e" | "--" | "-P" | "-LP" | "-Pe") if operands.is_empty() => {}
                Some(text) => operands.push(Some(text)),
                None => operands.push(None),
            }
        }
        let target = match (builtin, operands.as_slice()) {
            ("popd", []) => {
                let target = self.state.stack.pop().flatten();
                return self.enter(before, target.into_iter().collect());
            }
            ("cd", []) => match self.lookup("HOME") {
                Value::Text(home) => Some(home),
                _ => None,
            },
            ("cd" | "pushd", [Some(text)]) if !text.starts_with(['-', '+']) || text.starts_with("./") => {
                Some((*text).to_owned())
            }
            _ => None,
        };
        if builtin == "pushd" {
            let from = before.directory().map(str::to_owned);
            self.state.stack.push(from);
        }
        let directories = match target {
            None => Vec::new(),
            Some(target) if target.is_empty() => before.directories().to_vec(),
            Some(target) if target.starts_with('/') => vec![normalised(&target)],
            Some(target) => before.directories().iter().map(|base| normalised(&format!("{base}/{target}"))).collect(),
        };
        self.enter(before, directories)
    }

    fn enter(&mut self, before: super::state::State, directories: Vec<String>) -> Flow {
        self.state.change_directory(directories);
        Flow { success: self.state.clone(), failure: Some(before) }
    }
}

/// False if an option makes later assignments mean something else.
fn read_options(builtin: &str, text: &str, attributes: &mut Attributes) -> bool {
    let on = text.starts_with('-');
    text[1..].chars().all(|letter| {
        match (letter, builtin) {
            ('n', "export") => {
                attributes.exports = false;
                attributes.unexports = true;
            }
            ('x', _) => {
                attributes.exports = on;
                attributes.unexports = !on;
            }
            ('r' | 'l' | 'u' | 'c', _) => attributes.stubborn = true,
            ('f' | 'F' | 'p', _) => attributes.functions = true,
            ('a' | 'A' | 'g' | 't' | 'I' | '-', _) => {}
            _ => return false,
        }
        true
    })
}

fn normalised(path: &str) -> String {
    let normal = cmdop_contract::path::normalise(path.as_bytes());
    String::from_utf8(normal).unwrap_or_else(|_| path.to_owned())
}
