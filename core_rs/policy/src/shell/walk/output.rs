//! Output that is known without running anything: `echo lit | sh`, `$(cat <<'E' …)`.

use super::expand::Expansion;
use super::state::Field;
use super::{Stdin, Walker};
use crate::shell::reading::syntax::{Argument, Command, List, PieceKind, Redirect, RedirectKind, Script, Simple, Word};

impl Walker<'_> {
    /// What a script of one command prints.
    pub(in crate::shell) fn known_output_of_script(&mut self, script: &Script) -> Option<String> {
        match script.lists.as_slice() {
            [List { first, rest, background: false }] if rest.is_empty() => match first.stages.as_slice() {
                [only] => self.known_output(only),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a command prints, if all its words are known and none of them runs anything.
    pub(in crate::shell) fn known_output(&mut self, command: &Command) -> Option<String> {
        let Command::Simple(simple) = command else { return None };
        if !simple.assignments.is_empty() || !is_plain(simple) {
            return None;
        }
        let stdin = self.known_stdin(&simple.redirects)?;
        let words: Option<Vec<Field>> = simple
            .words
            .iter()
            .map(|word| match word {
                Argument::Word(word) => Some(self.fields(word)),
                Argument::Assignment(_) => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|fields| fields.into_iter().flatten().collect());
        let words = words?;
        let words: Vec<&str> = words.iter().map(Field::as_literal).collect::<Option<_>>()?;
        let (name, arguments) = words.split_first()?;
        if self.state.function(name).is_some() {
            return None;
        }
        match *name {
            "echo" => echo(arguments),
            "printf" => printf(arguments),
            "cat" if arguments.is_empty() || arguments == ["-"] => stdin,
            "pwd" if arguments.is_empty() => self.state.directory().map(|directory| format!("{directory}\n")),
            _ => None,
        }
    }

    /// The standard input of a command that has no other redirection. The outer option says whether it may be looked at.
    fn known_stdin(&mut self, redirects: &[Redirect]) -> Option<Option<String>> {
        let mut stdin = match &self.stdin {
            Stdin::Known(text) => Some(text.clone()),
            _ => None,
        };
        for redirect in redirects {
            match (&redirect.kind, redirect.fd.unwrap_or(0)) {
                (RedirectKind::HereDocument(word), 0) if runs_nothing(word) => {
                    stdin = self.field(word, Expansion::Single).as_literal().map(str::to_owned);
                }
                (RedirectKind::HereString(word), 0) if runs_nothing(word) => {
                    stdin = self.field(word, Expansion::Single).as_literal().map(|text| format!("{text}\n"));
                }
                _ => return None,
            }
        }
        Some(stdin)
    }
}

/// Expanding twice would show the commands of a substitution twice, and assign twice.
fn is_plain(simple: &Simple) -> bool {
    simple.words.iter().all(|word| match word {
        Argument::Word(word) => runs_nothing(word),
        Argument::Assignment(_) => false,
    })
}

fn runs_nothing(word: &Word) -> bool {
    word.pieces.iter().all(|piece| match &piece.kind {
        PieceKind::Text(_) => true,
        PieceKind::Parameter(parameter) => {
            matches!(parameter.operation, crate::shell::reading::syntax::Operation::None)
        }
        _ => false,
    })
}

fn echo(arguments: &[&str]) -> Option<String> {
    let mut newline = true;
    let mut rest = arguments;
    while let [first, after @ ..] = rest {
        match *first {
            "-n" => newline = false,
            "-E" => {}
            option
                if option.len() > 1
                    && option.starts_with('-')
                    && option[1..].chars().all(|char| "neE".contains(char)) =>
            {
                return None;
            }
            _ => break,
        }
        rest = after;
    }
    Some(rest.join(" ") + if newline { "\n" } else { "" })
}

fn printf(arguments: &[&str]) -> Option<String> {
    match arguments {
        [format] if !format.contains(['%', '\\']) && !format.starts_with('-') => Some((*format).to_owned()),
        [format, values @ ..] if !values.is_empty() => {
            let ending = match *format {
                "%s" => "",
                "%s\\n" => "\n",
                _ => return None,
            };
            Some(values.iter().flat_map(|value| [*value, ending]).collect())
        }
        _ => None,
    }
}
