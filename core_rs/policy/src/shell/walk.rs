//! Walks a script in bash's order, keeping what is known on every path.

mod arithmetic;
mod brace;
mod builtin;
mod declare;
mod expand;
mod hazard;
mod loops;
mod output;
mod redirect;
mod simple;
mod state;
mod values;

pub(crate) use values::PRIVATE_DIRECTORY;

use super::fuel::Fuel;
use super::reading::syntax::{
    Arm, Command, Compound, Connector, List, Pipeline, Redirect, RedirectKind, Script, Test, Word,
};
use super::{Resolution, ShellContext};
use expand::Expansion;
use state::{FieldKind, Flow, State, Value, Variable};

/// Most invocations of one command line.
pub(super) const MAX_INVOCATIONS: usize = 2_000;

/// Most commands that are walked over, repetitions included.
const MAX_STEPS: usize = 20_000;

/// Said when there are too many, or no fuel is left for more.
pub(super) const TOO_MANY: &str = "the script runs too many commands to follow";

/// Fuel for walking over one command, besides what it expands to.
const STEP_COST: u64 = 4;

/// Most functions and `eval`s within one another.
pub(super) const MAX_CALLS: usize = 16;

/// What a command would read from standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stdin {
    /// Whatever the shell itself has.
    Inherited,
    Known(String),
    Unknown,
}

pub(super) struct Walker<'a> {
    pub(super) ctx: ShellContext<'a>,
    pub(super) state: State,
    pub(super) found: Resolution,
    pub(super) stdin: Stdin,
    /// How many conditions the present command is under.
    pub(super) conditions: usize,
    /// Within `if`, `while`, `&&`, `||` or `!`, where `set -e` does not end the shell.
    tested: usize,
    pub(super) calls: usize,
    /// The loops and functions around the present command.
    leaving: Vec<loops::Frame>,
    /// Values that `local` hides, by function.
    pub(super) locals: Vec<Vec<(String, Option<Variable>)>>,
    pub(super) fuel: &'a Fuel,
    steps: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(ctx: ShellContext<'a>, fuel: &'a Fuel) -> Self {
        let mut walker = Self {
            state: State::new(ctx.cwd),
            ctx,
            found: Resolution::default(),
            stdin: Stdin::Inherited,
            conditions: 0,
            tested: 0,
            calls: 0,
            leaving: Vec::new(),
            locals: Vec::new(),
            fuel,
            steps: 0,
        };
        for (name, value) in ctx.env {
            walker.assign(name, Value::Text(value.clone()));
            walker.export(name, true);
        }
        walker
    }

    /// Notes why the effects cannot be known. A reason is told once.
    pub(super) fn unanalysable(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.found.unanalysable.contains(&why) && self.found.unanalysable.len() < 64 {
            self.found.unanalysable.push(why);
        }
    }

    pub(super) fn is_certain(&self) -> bool {
        self.conditions == 0 && self.state.live
    }

    /// False when so much was walked that the rest is left out, which is noted.
    fn may_go_on(&mut self) -> bool {
        self.steps += 1;
        let exhausted = self.steps > MAX_STEPS || self.found.invocations.len() > MAX_INVOCATIONS;
        // A step may copy all that is known.
        if exhausted || !self.fuel.spend(STEP_COST) || !self.fuel.spend_bytes(self.state.weight()) {
            self.steps = MAX_STEPS + 1;
            self.unanalysable(TOO_MANY);
            return false;
        }
        true
    }

    pub(super) fn script(&mut self, script: &Script) -> Flow {
        let mut flow = Flow::same(self.state.clone());
        for list in &script.lists {
            let single = list.rest.is_empty() && !list.first.negated;
            flow = self.list(list);
            if let (Some(failure), true, true) =
                (&mut flow.failure, single && self.tested == 0, self.state.exits_on_error)
            {
                failure.live = false;
            }
            self.state = match &flow.failure {
                Some(failure) => flow.success.clone().join(failure),
                None => flow.success.clone(),
            };
        }
        flow
    }

    fn list(&mut self, list: &List) -> Flow {
        if list.background {
            self.found.notes.push("a background command ends with the call".to_owned());
            self.isolated(|walker| {
                walker.and_or(list);
            });
            return Flow::same(self.state.clone());
        }
        self.and_or(list)
    }

    fn and_or(&mut self, list: &List) -> Flow {
        self.tested += usize::from(!list.rest.is_empty());
        let mut flow = self.pipeline(&list.first);
        for (connector, pipeline) in &list.rest {
            let (taken, skipped, conditions) = match connector {
                Connector::And => (flow.success.clone(), flow.failure(), 0),
                Connector::Or => (flow.failure(), flow.success.clone(), 1),
            };
            self.state = taken;
            self.conditions += conditions;
            let next = self.pipeline(pipeline);
            self.conditions -= conditions;
            flow = match connector {
                Connector::And => Flow { failure: Some(next.failure().join(&skipped)), success: next.success },
                Connector::Or => Flow { failure: Some(next.failure()), success: skipped.join(&next.success) },
            };
        }
        self.tested -= usize::from(!list.rest.is_empty());
        flow
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Flow {
        self.tested += usize::from(pipeline.negated);
        let flow = match pipeline.stages.as_slice() {
            [only] => self.command(only),
            stages => self.stages(stages),
        };
        self.tested -= usize::from(pipeline.negated);
        if pipeline.negated { flow.negated() } else { flow }
    }

    /// Every stage of a pipeline runs in a shell of its own.
    fn stages(&mut self, stages: &[Command]) -> Flow {
        let mut stdin = self.stdin.clone();
        for stage in stages {
            let mut output = None;
            self.isolated(|walker| {
                walker.stdin = stdin.clone();
                output = walker.known_output(stage);
                walker.command(stage);
            });
            stdin = output.map_or(Stdin::Unknown, Stdin::Known);
        }
        Flow::same(self.state.clone())
    }

    /// Walks what runs in a shell of its own: its state ends with it.
    pub(super) fn isolated(&mut self, walk: impl FnOnce(&mut Self)) {
        let state = self.state.clone();
        let stdin = self.stdin.clone();
        let leaving = std::mem::take(&mut self.leaving);
        walk(self);
        self.leaving = leaving;
        self.stdin = stdin;
        self.state = state;
    }

    pub(super) fn command(&mut self, command: &Command) -> Flow {
        if !self.may_go_on() {
            return Flow::same(self.state.clone());
        }
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => self.redirected(compound, redirects),
            Command::Function { name, body } => {
                if name == "command_not_found_handle" || self.state.exports_all {
                    self.unanalysable(format!("the function `{name}` is called by other names or shells"));
                }
                self.state.define(name, body.clone());
                Flow::same(self.state.clone())
            }
        }
    }

    fn redirected(&mut self, compound: &Compound, redirects: &[Redirect]) -> Flow {
        let stdin = self.stdin.clone();
        let before = self.state.clone();
        self.redirects(redirects);
        // Several commands may share it, and the first may take all.
        if matches!(self.stdin, Stdin::Known(_)) && !is_one_command(compound) {
            self.stdin = Stdin::Unknown;
        }
        let mut flow = self.compound(compound);
        self.stdin = stdin;
        if may_fail(redirects) {
            flow.failure = Some(flow.failure().join(&before));
        }
        flow
    }

    fn compound(&mut self, compound: &Compound) -> Flow {
        match compound {
            Compound::Group(script) => return self.script(script),
            Compound::Subshell(script) => self.isolated(|walker| {
                walker.script(script);
            }),
            Compound::For { variable, words, body } => self.for_each(variable, words.as_deref(), body),
            Compound::ArithmeticFor { expressions, body } => {
                if let Some(initial) = expressions.first() {
                    self.arithmetic(initial);
                }
                self.repeat(|walker| {
                    for expression in expressions.iter().skip(1) {
                        walker.arithmetic(expression);
                    }
                    walker.conditions += 1;
                    walker.script(body);
                    walker.conditions -= 1;
                    walker.state.clone()
                });
            }
            Compound::Case { subject, arms } => self.case(subject, arms),
            Compound::If { branches, otherwise } => self.conditional(branches, otherwise.as_ref()),
            Compound::While { until, condition, body } => self.repeat(|walker| {
                let flow = walker.condition(condition);
                let (enter, leave) =
                    if *until { (flow.failure(), flow.success) } else { (flow.success.clone(), flow.failure()) };
                walker.state = enter;
                walker.conditions += 1;
                walker.script(body);
                walker.conditions -= 1;
                leave
            }),
            Compound::Arithmetic(expression) => {
                self.arithmetic(expression);
            }
            Compound::Test(test) => self.test(test),
        }
        Flow::same(self.state.clone())
    }

    fn condition(&mut self, script: &Script) -> Flow {
        self.tested += 1;
        let flow = self.script(script);
        self.tested -= 1;
        flow
    }

    fn conditional(&mut self, branches: &[(Script, Script)], otherwise: Option<&Script>) {
        let mut ends: Vec<State> = Vec::new();
        self.conditions += 1;
        for (index, (condition, body)) in branches.iter().enumerate() {
            self.conditions -= usize::from(index == 0);
            let flow = self.condition(condition);
            self.conditions += usize::from(index == 0);
            let failure = flow.failure();
            self.state = flow.success;
            self.script(body);
            ends.push(std::mem::replace(&mut self.state, failure));
        }
        if let Some(body) = otherwise {
            self.script(body);
        }
        self.conditions -= 1;
        for end in &ends {
            self.state = self.state.clone().join(end);
        }
    }

    fn case(&mut self, subject: &Word, arms: &[Arm]) {
        self.field(subject, Expansion::Single);
        let start = self.state.clone();
        let mut end = start.clone();
        let mut falls_through = false;
        self.conditions += 1;
        for arm in arms {
            self.state = if falls_through { self.state.clone().join(&start) } else { start.clone() };
            falls_through = arm.falls_through;
            for pattern in &arm.patterns {
                self.field(pattern, Expansion::Single);
            }
            self.script(&arm.body);
            end = end.join(&self.state);
        }
        self.conditions -= 1;
        self.state = end;
    }

    fn test(&mut self, test: &Test) {
        match test {
            Test::Both(left, right) => {
                self.test(left);
                self.conditions += 1;
                self.test(right);
                self.conditions -= 1;
            }
            Test::Not(inner) => self.test(inner),
            Test::Look(words) => {
                for word in words {
                    self.field(word, Expansion::Single);
                }
            }
            Test::Evaluate(words) => {
                for word in words {
                    let field = self.field(word, Expansion::Single);
                    match field.as_literal() {
                        Some(text) => {
                            let text = text.to_owned();
                            self.evaluate(&text, 0);
                        }
                        None if field.kind == FieldKind::Number => {}
                        None => self.unanalysable("`[[` evaluates a value that is not known, which may run commands"),
                    }
                }
            }
        }
    }
}

/// A file that cannot be opened keeps the command from running.
pub(super) fn may_fail(redirects: &[Redirect]) -> bool {
    redirects
        .iter()
        .any(|redirect| !matches!(redirect.kind, RedirectKind::HereDocument(_) | RedirectKind::HereString(_)))
}

fn is_one_command(compound: &Compound) -> bool {
    match compound {
        Compound::Group(script) | Compound::Subshell(script) => match script.lists.as_slice() {
            [List { first: Pipeline { stages, .. }, rest, .. }] if rest.is_empty() => {
                matches!(stages.as_slice(), [Command::Simple(_)])
            }
            _ => false,
        },
        _ => false,
    }
}
