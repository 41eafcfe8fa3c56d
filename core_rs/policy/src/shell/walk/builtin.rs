//! Builtins that change what the rest of the script means. The others are invocations like any program.

use super::Walker;
use super::simple::{Expanded, arguments};
use super::state::{Field, Flow, Value};

impl Walker<'_> {
    /// Does what a builtin does to the shell.
    ///
    /// # Errors
    /// The words, if they name no builtin that is done here.
    pub(in crate::shell) fn builtin(&mut self, words: Vec<Expanded>, source: &str) -> Result<Flow, Vec<Field>> {
        let fields = arguments(&words);
        let Some((name, rest)) = fields.split_first() else { return Err(fields) };
        match name.text.as_str() {
            "cd" | "pushd" | "popd" => return Ok(self.directory_builtin(&name.text, rest)),
            "declare" | "typeset" | "local" | "readonly" | "export" => self.declare(&words, source),
            "eval" => return Ok(self.eval(rest)),
            "command" | "builtin" => return self.run_without_functions(&fields, source),
            "exec" => self.exec(rest, source),
            "exit" => self.state.live = false,
            "return" => self.leave_function(),
            "break" | "continue" => {
                self.leave_loops(name.text == "continue", rest.first().is_some_and(|count| count.text != "1"));
            }
            "unset" => self.unset(rest),
            "set" => self.set(rest),
            "shift" => self.shift(rest),
            "shopt" => self.shopt(rest),
            "read" | "mapfile" | "readarray" | "getopts" => self.read(&name.text, rest),
            "let" => self.let_builtin(rest),
            "printf" if rest.first().is_some_and(|word| word.text.starts_with("-v")) => self.printf_to_variable(rest),
            "source" | "." => self.unanalysable(format!("`{source}` runs what a file holds")),
            "trap" if is_harmless_trap(rest) => {}
            "times" | "type" | "umask" | "ulimit" | "dirs" | "help" | "caller" | "unalias" => {}
            "hash" | "wait" | "jobs" if rest.iter().all(is_plain_operand) => {}
            "alias" if rest.is_empty() => {}
            "disown" => self.disown(source),
            "alias" | "trap" | "hash" | "wait" | "jobs" | "enable" | "bind" | "complete" | "compgen" | "compopt"
            | "fc" | "history" | "bg" | "fg" | "suspend" | "logout" | "coproc" => {
                self.unanalysable(format!("`{source}` is not followed"));
            }
            _ => return Err(fields),
        }
        Ok(Flow::same(self.state.clone()))
    }

    /// A string that is run as a script, once it is known.
    fn eval(&mut self, words: &[Field]) -> Flow {
        let literals: Option<Vec<&str>> = words.iter().map(Field::as_literal).collect();
        let Some(text) = literals.map(|literals| literals.join(" ")) else {
            self.unanalysable("`eval` runs text that is not known");
            return Flow::same(self.state.clone());
        };
        if self.calls >= super::MAX_CALLS {
            self.unanalysable("`eval` is nested too deep");
            return Flow::same(self.state.clone());
        }
        match crate::shell::reading::read(&text, self.fuel) {
            Ok(script) => {
                self.calls += 1;
                let flow = self.script(&script);
                self.calls -= 1;
                flow
            }
            Err(refusal) => {
                self.unanalysable(format!("the text of `eval` cannot be read: {}", refusal.why()));
                Flow::same(self.state.clone())
            }
        }
    }

    /// `command x` and `builtin x` pass over functions.
    fn run_without_functions(&mut self, words: &[Field], source: &str) -> Result<Flow, Vec<Field>> {
        let mut rest = &words[1..];
        while let Some(option) = rest.first().and_then(Field::as_literal).filter(|text| text.starts_with('-')) {
            match option {
                "-v" | "-V" | "-pv" | "-pV" if words[0].text == "command" => return Ok(Flow::same(self.state.clone())),
                "-p" | "--" => rest = &rest[1..],
                _ => {
                    self.unanalysable(format!("`{source}` has an option that is not known"));
                    return Ok(Flow::same(self.state.clone()));
                }
            }
        }
        let Some(first) = rest.first() else { return Ok(Flow::same(self.state.clone())) };
        if first.as_literal().is_none() {
            self.unanalysable(format!("the program of `{source}` is not known"));
            return Ok(Flow::same(self.state.clone()));
        }
        let words = rest.iter().cloned().map(Expanded::Field).collect();
        Ok(self.builtin_or_program(words, source))
    }

    /// Replaces the shell: nothing after it runs.
    fn exec(&mut self, words: &[Field], source: &str) {
        match words.first() {
            None => {}
            Some(first) if first.text.starts_with('-') => {
                self.unanalysable(format!("`{source}` has an option that is not known"));
            }
            Some(_) => {
                self.program(words, source);
                self.state.live = false;
            }
        }
    }

    fn unset(&mut self, words: &[Field]) {
        let mut functions = true;
        let mut variables = true;
        for word in words {
            match word.as_literal() {
                Some("-f") => variables = false,
                Some("-v" | "-n") => functions = false,
                Some("--") => {}
                Some(name) if is_name(name) => {
                    if functions {
                        self.state.undefine(name);
                    }
                    if variables {
                        self.assign(name, Value::Unset);
                    }
                }
                Some(name) if !name.contains(['[', '$', '`']) && !name.starts_with('-') => self.state.undefine(name),
                _ => self.unanalysable("`unset` of something that is not a plain name"),
            }
        }
    }

    fn set(&mut self, words: &[Field]) {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let Some(text) = word.as_literal() else {
                return self.unanalysable("`set` with options that are not known");
            };
            at += 1;
            let on = text.starts_with('-');
            match text {
                "-" | "--" => return self.set_arguments(&words[at..]),
                "-o" | "+o" => match words.get(at).and_then(Field::as_literal) {
                    Some(name) => {
                        self.set_option(name, on);
                        at += 1;
                    }
                    None if words.len() == at => {}
                    None => return self.unanalysable("`set -o` with an option that is not known"),
                },
                _ if text.starts_with(['-', '+']) => {
                    for letter in text[1..].chars() {
                        self.set_letter(letter, on);
                    }
                    if text.ends_with('o') {
                        if let Some(name) = words.get(at).and_then(Field::as_literal).map(str::to_owned) {
                            self.set_option(&name, on);
                        }
                        at += 1;
                    }
                }
                _ => return self.set_arguments(&words[at - 1..]),
            }
        }
    }

    fn set_arguments(&mut self, words: &[Field]) {
        let known = words.iter().all(|word| word.as_literal().is_some());
        self.state.arguments = known.then(|| std::rc::Rc::new(words.to_vec()));
    }

    fn set_letter(&mut self, letter: char, on: bool) {
        match letter {
            'e' => self.state.exits_on_error = on,
            'a' => self.state.exports_all = on,
            // Each runs less, prints more, or matches less than what is assumed.
            'u' | 'x' | 'v' | 'f' | 'b' | 'h' | 'm' | 'C' | 'n' | 't' | 'E' | 'T' | 'o' => {}
            _ => self.unanalysable(format!("`set` changes the option `{letter}`")),
        }
    }

    fn set_option(&mut self, name: &str, on: bool) {
        match name {
            "errexit" => self.state.exits_on_error = on,
            "allexport" => self.state.exports_all = on,
            "nounset" | "xtrace" | "verbose" | "noglob" | "notify" | "hashall" | "monitor" | "noclobber" | "noexec"
            | "onecmd" | "errtrace" | "functrace" | "pipefail" => {}
            _ => self.unanalysable(format!("`set` changes the option `{name}`")),
        }
    }

    fn shift(&mut self, words: &[Field]) {
        let count = match words.first().map(|word| word.as_literal().and_then(|text| text.parse::<usize>().ok())) {
            None => Some(1),
            Some(count) => count,
        };
        let shifted = match (&self.state.arguments, count) {
            (Some(arguments), Some(count)) if count <= arguments.len() => {
                Some(std::rc::Rc::new(arguments[count..].to_vec()))
            }
            (Some(arguments), Some(_)) => Some(arguments.clone()),
            _ => None,
        };
        self.state.arguments = shifted;
    }

    fn shopt(&mut self, words: &[Field]) {
        for word in words {
            match word.as_literal() {
                // Patterns are regions with hidden files, and may match nothing, in any case.
                Some(
                    "-s" | "-u" | "-q" | "-p" | "nullglob" | "failglob" | "dotglob" | "inherit_errexit"
                    | "checkwinsize" | "histappend" | "nocasematch",
                ) => {}
                _ => return self.unanalysable("`shopt` changes how the shell reads or matches"),
            }
        }
    }

    /// Builtins that set variables from input.
    fn read(&mut self, name: &str, words: &[Field]) {
        let mut operands = Vec::new();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let Some(text) = word.as_literal() else {
                return self.unanalysable(format!("`{name}` with words that are not known"));
            };
            match (name, text) {
                ("getopts", _) => operands.push(text),
                ("mapfile" | "readarray", _) if text.starts_with("-C") || text.starts_with("-c") => {
                    return self.unanalysable(format!("`{name} {text}` runs a command for each line"));
                }
                // An array's name follows.
                ("read", _) if text.starts_with('-') && text.ends_with('a') => {
                    operands.extend(rest.next().map(|word| word.text.as_str()))
                }
                _ if text.starts_with('-') && text.len() > 1 => {
                    if text.ends_with(['d', 'i', 'n', 'N', 'p', 't', 'u', 'O', 's'])
                        && !(name == "read" && text.ends_with('s'))
                    {
                        rest.next();
                    }
                }
                _ => operands.push(text),
            }
        }
        let names: Vec<String> = match name {
            "getopts" => operands
                .get(1)
                .map(|name| (*name).to_owned())
                .into_iter()
                .chain(["OPTARG".into(), "OPTIND".into()])
                .collect(),
            "read" if operands.is_empty() => vec!["REPLY".into()],
            "mapfile" | "readarray" if operands.is_empty() => vec!["MAPFILE".into()],
            _ => operands.into_iter().map(str::to_owned).collect(),
        };
        for name in names {
            if is_name(&name) {
                self.assign(&name, Value::Unknown);
            } else {
                self.unanalysable("input is read into something that is not a plain name");
            }
        }
    }

    fn let_builtin(&mut self, words: &[Field]) {
        for word in words {
            match word.as_literal() {
                Some(text) => {
                    let text = text.to_owned();
                    self.evaluate(&text, 0);
                }
                None => self.unanalysable("`let` evaluates text that is not known"),
            }
        }
    }

    fn printf_to_variable(&mut self, words: &[Field]) {
        let name = match words[0].text.strip_prefix("-v") {
            Some("") => words.get(1).and_then(Field::as_literal),
            attached => attached,
        };
        match name.map(str::to_owned) {
            Some(name) if is_name(&name) => self.assign(&name, Value::Unknown),
            _ => self.unanalysable("`printf -v` sets something that is not a plain name"),
        }
    }

    fn disown(&mut self, source: &str) {
        let certain = self.is_certain();
        self.predict(cmdop_contract::v1::EffectKind::ProcessLeaveRunning, "*".to_owned(), certain, source);
    }
}

fn is_harmless_trap(words: &[Field]) -> bool {
    match words.first().and_then(Field::as_literal) {
        None => words.is_empty(),
        Some(handler) => matches!(handler, "" | "-" | "-p" | "-l"),
    }
}

/// Options of these builtins may set a variable (`wait -p`), run a program (`jobs -x`) or say where one is
/// found (`hash -p`).
fn is_plain_operand(word: &Field) -> bool {
    word.as_literal().is_some_and(|text| !text.starts_with('-') || !text.contains(['p', 'x']))
}

pub(in crate::shell) fn is_name(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}
