//! The second parser, brush: its tree turned into ours, every word read once.

use std::rc::Rc;

use brush_parser::ast;
use brush_parser::{ParserOptions, parse_tokens, uncached_tokenize_str};

use super::guard::has_here_document;
use super::syntax::{
    Argument, Arithmetic, Arm, Assignment, Command, Compound, Connector, List, Piece, PieceKind, Pipeline, Redirect,
    RedirectKind, Script, Simple, Test, Value, Word,
};
use super::word::{Quoting, Scripts, read_arithmetic, read_word};
use super::{TOO_COSTLY, effort, is_measured};
use crate::shell::fuel::Fuel;

/// Substitutions nest no deeper than the guards let parentheses nest.
const MAX_SUBSTITUTIONS: usize = 12;

/// Longest source text that is kept for messages, in characters.
const MAX_SOURCE: usize = 200;

/// Fuel for starting to parse, besides the text.
const PARSE_COST: u64 = 50;

/// A script and the names of all its commands, substitutions included, as they are written.
pub(in crate::shell) struct Lowered {
    pub(in crate::shell) script: Script,
    pub(in crate::shell) names: Vec<String>,
}

/// Why there is no tree.
#[derive(Debug)]
pub(in crate::shell) enum Refused {
    /// It is no bash.
    Syntax(String),
    /// It may be, but this resolver does not follow it.
    Unsupported(String),
}

/// # Errors
/// Why the text could not be turned into a tree.
pub(in crate::shell) fn lower(text: &str, fuel: &Fuel) -> Result<Lowered, Refused> {
    let program = parse(text, fuel).map_err(Refused::Syntax)?;
    let mut lowering = Lowering { names: Vec::new(), depth: 0, fuel };
    let script = lowering.program(&program).map_err(Refused::Unsupported)?;
    Ok(Lowered { script, names: lowering.names })
}

fn parse(text: &str, fuel: &Fuel) -> Result<ast::Program, String> {
    // `bash -c` starts with extglob off: there, `!(a)` runs `a`.
    let options = ParserOptions { enable_extended_globbing: false, ..ParserOptions::default() };
    if !fuel.spend(PARSE_COST + text.len() as u64 / 4) {
        return Err(TOO_COSTLY.to_owned());
    }
    let tokens = uncached_tokenize_str(text, &options.tokenizer_options()).map_err(|error| error.to_string())?;
    if !fuel.spend(effort::of(&tokens)) {
        return Err(TOO_COSTLY.to_owned());
    }
    parse_tokens(&tokens, &options).map_err(|error| error.to_string())
}

struct Lowering<'a> {
    names: Vec<String>,
    depth: usize,
    fuel: &'a Fuel,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Scripts for Lowering<'_> {
    fn script(&mut self, text: &str) -> Result<Rc<Script>> {
        if self.depth >= MAX_SUBSTITUTIONS {
            return Err("substitutions are nested too deep".to_owned());
        }
        if !is_measured(text, self.fuel) {
            return Err("a substitution cannot be parsed by itself".to_owned());
        }
        let program = parse(text, self.fuel).map_err(|error| format!("a substitution cannot be parsed: {error}"))?;
        self.depth += 1;
        let script = self.program(&program);
        self.depth -= 1;
        substituted(script?, text)
    }
}

impl Lowering<'_> {
    fn program(&mut self, program: &ast::Program) -> Result<Script> {
        let mut lists = Vec::new();
        for complete in &program.complete_commands {
            lists.extend(self.list(complete)?.lists);
        }
        Ok(Script { lists })
    }

    fn list(&mut self, list: &ast::CompoundList) -> Result<Script> {
        let lists = list.0.iter().map(|item| self.and_or(item)).collect::<Result<_>>()?;
        Ok(Script { lists })
    }

    fn and_or(&mut self, item: &ast::CompoundListItem) -> Result<List> {
        let ast::CompoundListItem(list, separator) = item;
        let first = self.pipeline(&list.first)?;
        let mut rest = Vec::with_capacity(list.additional.len());
        for additional in &list.additional {
            rest.push(match additional {
                ast::AndOr::And(pipeline) => (Connector::And, self.pipeline(pipeline)?),
                ast::AndOr::Or(pipeline) => (Connector::Or, self.pipeline(pipeline)?),
            });
        }
        Ok(List { first, rest, background: matches!(separator, ast::SeparatorOperator::Async) })
    }

    fn pipeline(&mut self, pipeline: &ast::Pipeline) -> Result<Pipeline> {
        let stages = pipeline.seq.iter().map(|command| self.command(command)).collect::<Result<_>>()?;
        Ok(Pipeline { negated: pipeline.bang, stages })
    }

    fn command(&mut self, command: &ast::Command) -> Result<Command> {
        Ok(match command {
            ast::Command::Simple(simple) => Command::Simple(self.simple(simple)?),
            ast::Command::Compound(compound, redirects) => {
                Command::Compound(self.compound(compound)?, self.redirects(redirects.as_ref())?)
            }
            ast::Command::Function(function) => {
                let name = function.fname.value.clone();
                if name.contains(['$', '`', '\'', '"', '\\']) {
                    return Err("a function has a quoted name".to_owned());
                }
                let ast::FunctionBody(compound, redirects) = &function.body;
                let body = Command::Compound(self.compound(compound)?, self.redirects(redirects.as_ref())?);
                Command::Function { name, body: Rc::new(body) }
            }
            ast::Command::ExtendedTest(test, redirects) => {
                Command::Compound(Compound::Test(self.test(&test.expr)?), self.redirects(redirects.as_ref())?)
            }
        })
    }

    fn compound(&mut self, compound: &ast::CompoundCommand) -> Result<Compound> {
        use ast::CompoundCommand as C;
        Ok(match compound {
            C::Arithmetic(command) => Compound::Arithmetic(self.arithmetic(&command.expr)?),
            C::ArithmeticForClause(clause) => {
                let parts = [&clause.initializer, &clause.condition, &clause.updater];
                let expressions =
                    parts.into_iter().flatten().map(|part| self.arithmetic(part)).collect::<Result<_>>()?;
                Compound::ArithmeticFor { expressions, body: self.list(&clause.body.list)? }
            }
            C::BraceGroup(group) => Compound::Group(self.list(&group.list)?),
            C::Subshell(subshell) => Compound::Subshell(self.list(&subshell.list)?),
            C::ForClause(clause) => Compound::For {
                variable: clause.variable_name.clone(),
                words: clause.values.as_deref().map(|words| self.words(words)).transpose()?,
                body: self.list(&clause.body.list)?,
            },
            C::CaseClause(clause) => self.case(clause)?,
            C::IfClause(clause) => self.conditional(clause)?,
            C::WhileClause(clause) => self.repetition(clause, false)?,
            C::UntilClause(clause) => self.repetition(clause, true)?,
            C::Coprocess(_) => return Err("`coproc` is not followed".to_owned()),
        })
    }

    fn case(&mut self, clause: &ast::CaseClauseCommand) -> Result<Compound> {
        let subject = self.word(&clause.value)?;
        let mut arms = Vec::with_capacity(clause.cases.len());
        for item in &clause.cases {
            let patterns = self.words(&item.patterns)?;
            let body = item.cmd.as_ref().map(|list| self.list(list)).transpose()?.unwrap_or_default();
            let falls_through = !matches!(item.post_action, ast::CaseItemPostAction::ExitCase);
            arms.push(Arm { patterns, body, falls_through });
        }
        Ok(Compound::Case { subject, arms })
    }

    fn conditional(&mut self, clause: &ast::IfClauseCommand) -> Result<Compound> {
        let mut branches = vec![(self.list(&clause.condition)?, self.list(&clause.then)?)];
        let mut otherwise = None;
        for part in clause.elses.iter().flatten() {
            match &part.condition {
                Some(condition) => branches.push((self.list(condition)?, self.list(&part.body)?)),
                None => otherwise = Some(self.list(&part.body)?),
            }
        }
        Ok(Compound::If { branches, otherwise })
    }

    fn repetition(&mut self, clause: &ast::WhileOrUntilClauseCommand, until: bool) -> Result<Compound> {
        let ast::WhileOrUntilClauseCommand(condition, body, _) = clause;
        Ok(Compound::While { until, condition: self.list(condition)?, body: self.list(&body.list)? })
    }

    fn test(&mut self, test: &ast::ExtendedTestExpr) -> Result<Test> {
        use ast::BinaryPredicate as B;
        use ast::ExtendedTestExpr as E;
        use ast::UnaryPredicate as U;
        Ok(match test {
            E::And(left, right) | E::Or(left, right) => {
                Test::Both(Box::new(self.test(left)?), Box::new(self.test(right)?))
            }
            E::Not(inner) => Test::Not(Box::new(self.test(inner)?)),
            E::Parenthesized(inner) => self.test(inner)?,
            // `-v a[$(cmd)]` evaluates the subscript.
            E::UnaryTest(U::ShellVariableIsSetAndAssigned | U::ShellVariableIsSetAndNameRef, word) => {
                Test::Evaluate(vec![self.word(word)?])
            }
            E::UnaryTest(_, word) => Test::Look(vec![self.word(word)?]),
            E::BinaryTest(predicate, left, right) => {
                let operands = vec![self.word(left)?, self.word(right)?];
                match predicate {
                    B::ArithmeticEqualTo
                    | B::ArithmeticNotEqualTo
                    | B::ArithmeticLessThan
                    | B::ArithmeticLessThanOrEqualTo
                    | B::ArithmeticGreaterThan
                    | B::ArithmeticGreaterThanOrEqualTo => Test::Evaluate(operands),
                    _ => Test::Look(operands),
                }
            }
        })
    }

    fn simple(&mut self, simple: &ast::SimpleCommand) -> Result<Simple> {
        let mut lowered = Simple { source: source(simple), ..Simple::default() };
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            self.item(item, true, &mut lowered)?;
        }
        let mut declares = false;
        if touches(simple) {
            return Err("words touch that one parser takes apart".to_owned());
        }
        if let Some(name) = &simple.word_or_name {
            self.names.push(name.value.clone());
            declares = matches!(name.value.as_str(), "declare" | "typeset" | "export" | "readonly" | "local");
            lowered.words.push(Argument::Word(self.word(name)?));
        }
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            self.item(item, declares, &mut lowered)?;
        }
        Ok(lowered)
    }

    fn item(&mut self, item: &ast::CommandPrefixOrSuffixItem, assigns: bool, simple: &mut Simple) -> Result<()> {
        use ast::CommandPrefixOrSuffixItem as I;
        match item {
            I::IoRedirect(redirect) => simple.redirects.extend(self.redirect(redirect)?),
            I::Word(word) => simple.words.push(Argument::Word(self.word(word)?)),
            I::AssignmentWord(_, word) if assigns && !simple.words.is_empty() && word.value.contains('{') => {
                return self.braced_declaration(item, word, simple);
            }
            I::AssignmentWord(assignment, _) if assigns => {
                let assignment = self.assignment(assignment)?;
                if simple.words.is_empty() {
                    simple.assignments.push(assignment);
                } else {
                    simple.words.push(Argument::Assignment(assignment));
                }
            }
            I::AssignmentWord(_, word) => simple.words.push(Argument::Word(self.word(word)?)),
            I::ProcessSubstitution(kind, subshell) => {
                let script = substituted(self.list(&subshell.list)?, &subshell.to_string())?;
                let output = matches!(kind, ast::ProcessSubstitutionKind::Write);
                let piece = Piece { quoted: false, kind: PieceKind::Process { script, output } };
                simple.words.push(Argument::Word(Word { pieces: vec![piece] }));
            }
        }
        Ok(())
    }

    /// After a declaring builtin, unlike before a command, braces in an assignment are expanded.
    fn braced_declaration(
        &mut self,
        item: &ast::CommandPrefixOrSuffixItem,
        word: &ast::Word,
        simple: &mut Simple,
    ) -> Result<()> {
        let ast::CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) = item else { return Ok(()) };
        let mark = self.names.len();
        let read = self.word(word)?;
        let bare = |piece: &Piece| matches!(&piece.kind, PieceKind::Text(text) if !piece.quoted && text.contains('{'));
        if read.pieces.iter().any(bare) {
            if read.pieces.iter().any(|piece| !piece.quoted && !matches!(piece.kind, PieceKind::Text(_))) {
                return Err("a declaration has braces beside an expansion".to_owned());
            }
            simple.words.push(Argument::Word(read));
            return Ok(());
        }
        self.names.truncate(mark);
        let assignment = self.assignment(assignment)?;
        simple.words.push(Argument::Assignment(assignment));
        Ok(())
    }

    fn assignment(&mut self, assignment: &ast::Assignment) -> Result<Assignment> {
        let (name, index) = match &assignment.name {
            ast::AssignmentName::VariableName(name) => (name.clone(), None),
            ast::AssignmentName::ArrayElementName(name, index) => (name.clone(), Some(read_arithmetic(index, self)?)),
        };
        if !is_name(&name) {
            return Err("an assignment has an unusual name".to_owned());
        }
        let value = match &assignment.value {
            ast::AssignmentValue::Scalar(word) => Value::Scalar(self.word(word)?),
            ast::AssignmentValue::Array(elements) => {
                let indices = elements.iter().filter_map(|(index, _)| index.as_ref());
                let indices = indices.map(|index| read_arithmetic(&index.value, self)).collect::<Result<_>>()?;
                let elements = elements.iter().map(|(_, word)| self.word(word)).collect::<Result<_>>()?;
                Value::Array { indices, elements }
            }
        };
        Ok(Assignment { name, index, append: assignment.append, value })
    }

    fn redirects(&mut self, list: Option<&ast::RedirectList>) -> Result<Vec<Redirect>> {
        let mut redirects = Vec::new();
        for redirect in list.iter().flat_map(|list| &list.0) {
            redirects.extend(self.redirect(redirect)?);
        }
        Ok(redirects)
    }

    fn redirect(&mut self, redirect: &ast::IoRedirect) -> Result<Option<Redirect>> {
        use ast::IoFileRedirectTarget as T;
        Ok(match redirect {
            ast::IoRedirect::File(fd, kind, T::Filename(word)) => {
                Some(Redirect { fd: *fd, kind: file_redirect(kind, self.word(word)?) })
            }
            ast::IoRedirect::File(_, _, T::Fd(_)) => None,
            ast::IoRedirect::File(fd, kind, T::ProcessSubstitution(_, subshell)) => {
                let output = !matches!(kind, ast::IoFileRedirectKind::Read);
                let script = substituted(self.list(&subshell.list)?, &subshell.to_string())?;
                Some(Redirect { fd: *fd, kind: RedirectKind::Process { script, output } })
            }
            ast::IoRedirect::File(fd, kind, T::Duplicate(word)) => {
                let output = matches!(kind, ast::IoFileRedirectKind::DuplicateOutput);
                Some(Redirect { fd: *fd, kind: RedirectKind::Duplicate { word: self.word(word)?, output } })
            }
            ast::IoRedirect::HereDocument(fd, document) => {
                Some(Redirect { fd: *fd, kind: RedirectKind::HereDocument(self.document(document)?) })
            }
            ast::IoRedirect::HereString(fd, word) => {
                Some(Redirect { fd: *fd, kind: RedirectKind::HereString(self.word(word)?) })
            }
            ast::IoRedirect::OutputAndError(word, _) => {
                Some(Redirect { fd: None, kind: RedirectKind::Write(self.word(word)?) })
            }
        })
    }

    fn document(&mut self, document: &ast::IoHereDocument) -> Result<Word> {
        let text = &document.doc.value;
        if document.requires_expansion {
            return read_word(text, Quoting::Document, self);
        }
        Ok(Word { pieces: vec![Piece { quoted: true, kind: PieceKind::Text(text.clone()) }] })
    }

    fn words(&mut self, words: &[ast::Word]) -> Result<Vec<Word>> {
        words.iter().map(|word| self.word(word)).collect()
    }

    fn word(&mut self, word: &ast::Word) -> Result<Word> {
        read_word(&word.value, Quoting::None, self)
    }

    fn arithmetic(&mut self, expression: &ast::UnexpandedArithmeticExpr) -> Result<Arithmetic> {
        read_arithmetic(&expression.value, self)
    }
}

/// A script of a substitution. bash 5.2 prints such a script and reads it again before it runs it, and
/// loses the `;` behind a here-document: `v=1; cmd $v` becomes `v=1 cmd $v`.
fn substituted(script: Script, text: &str) -> Result<Rc<Script>> {
    let single = match script.lists.as_slice() {
        [list] => list.rest.is_empty() && list.first.stages.iter().all(|stage| matches!(stage, Command::Simple(_))),
        _ => false,
    };
    if has_here_document(text) && !single {
        return Err("commands stand beside a here-document within a substitution".to_owned());
    }
    Ok(Rc::new(script))
}

/// Does an array or a process substitution touch the word beside it? For bash they are one word.
fn touches(simple: &ast::SimpleCommand) -> bool {
    use ast::CommandPrefixOrSuffixItem as I;
    let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
    let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
    let place = |item: &I| match item {
        I::ProcessSubstitution(_, subshell) => {
            Some((subshell.loc.start.index.saturating_sub(1), subshell.loc.end.index, true))
        }
        I::AssignmentWord(assignment, _) => {
            let is_array = matches!(assignment.value, ast::AssignmentValue::Array(_));
            Some((assignment.loc.start.index, assignment.loc.end.index, is_array))
        }
        I::Word(word) => word.loc.as_ref().map(|loc| (loc.start.index, loc.end.index, false)),
        I::IoRedirect(_) => None,
    };
    let name = simple.word_or_name.iter().filter_map(|word| word.loc.as_ref());
    let name = name.map(|loc| (loc.start.index, loc.end.index, false));
    let places: Vec<_> = prefix.filter_map(place).chain(name).chain(suffix.filter_map(place)).collect();
    places.windows(2).any(|pair| (pair[0].2 || pair[1].2) && pair[0].1 >= pair[1].0)
}

fn file_redirect(kind: &ast::IoFileRedirectKind, word: Word) -> RedirectKind {
    use ast::IoFileRedirectKind as K;
    match kind {
        K::Read => RedirectKind::Read(word),
        K::Write | K::Append | K::Clobber => RedirectKind::Write(word),
        K::ReadAndWrite => RedirectKind::ReadWrite(word),
        K::DuplicateInput => RedirectKind::Duplicate { word, output: false },
        K::DuplicateOutput => RedirectKind::Duplicate { word, output: true },
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|char| char.is_ascii_alphabetic() || char == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
}

fn source(simple: &ast::SimpleCommand) -> String {
    simple.to_string().chars().take(MAX_SOURCE).collect()
}
