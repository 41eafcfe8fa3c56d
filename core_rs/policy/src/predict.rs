//! Prediction: what an action would do, found out without input or output.
//!
//! Of a native tool the effects follow from its arguments. A shell command is resolved into
//! invocations; whoever knows what commands do judges them, all that are known so far at once, and
//! what they would run in turn is resolved and judged again. What nobody can say is recorded as
//! `unanalysable`; it is never left out.

mod collect;
mod native;

use std::borrow::Cow;
use std::collections::BTreeMap;

use cmdop_contract::tool::COMMAND;
use cmdop_contract::v1::{Error, Invocation, Judgement, NestedScript, Prediction};
use cmdop_contract::validate::Validated;

use crate::shell::{Fuel, Resolution, ShellContext, resolve_with};
use collect::Collected;

/// Deepest chain of programs that run programs: `sudo env xargs sh -c …`.
pub const MAX_DEPTH: usize = 8;

/// Most invocations of one action, nested ones included.
pub const MAX_INVOCATIONS: usize = 2_000;

/// What has to happen next.
#[derive(Debug)]
pub enum Step {
    /// Have these judged, then [`Predictor::answer`].
    Judge(Predictor, Vec<Invocation>),
    /// Everything that can be said is said.
    Done(Prediction),
    /// The command must be written differently (MALFORMED_COMMAND).
    Malformed(Error),
}

/// A prediction under way. It holds no resources and may be dropped at any time.
#[derive(Debug)]
pub struct Predictor {
    home: String,
    collected: Collected,
    asked: Vec<Asked>,
    invocations: usize,
    /// What its scripts may still cost, all together.
    fuel: Fuel,
}

/// An invocation that awaits its judgement, and how many programs stand above it.
#[derive(Debug)]
struct Asked {
    invocation: Invocation,
    depth: usize,
}

impl Predictor {
    /// Starts predicting an action for a host whose user has this home directory.
    #[must_use]
    pub fn start(validated: &Validated, home: &str) -> Step {
        if validated.tool().name() != COMMAND {
            return Step::Done(native::predict(validated));
        }
        let env = environment(validated);
        let ctx = ShellContext { cwd: validated.cwd().unwrap_or_default(), home, env: &env };
        let fuel = Fuel::full();
        let mut resolution = match resolve_with(&line(validated), &ctx, &fuel) {
            Ok(resolution) => resolution,
            Err(malformed) => return Step::Malformed(malformed.into()),
        };
        if let Some(stdin) = validated.text("stdin").filter(|stdin| !stdin.is_empty()) {
            feed(&mut resolution.invocations, stdin);
        }
        let mut predictor =
            Self { home: home.to_owned(), collected: Collected::default(), asked: Vec::new(), invocations: 0, fuel };
        predictor.absorb(resolution, 0, true);
        predictor.next()
    }

    /// Takes the judgements of the invocations that were asked about, in their order.
    ///
    /// An invocation without a judgement is unanalysable.
    #[must_use]
    pub fn answer(mut self, judgements: Vec<Judgement>) -> Step {
        let mut judgements = judgements.into_iter();
        for asked in std::mem::take(&mut self.asked) {
            match judgements.next() {
                Some(judgement) => self.take(&asked, judgement),
                None => self.collected.unanalysable(&asked.invocation.source, "nobody says what it does"),
            }
        }
        self.next()
    }

    fn next(self) -> Step {
        if self.asked.is_empty() {
            return Step::Done(self.collected.into_prediction());
        }
        let invocations = self.asked.iter().map(|asked| asked.invocation.clone()).collect();
        Step::Judge(self, invocations)
    }

    fn take(&mut self, asked: &Asked, judgement: Judgement) {
        let invocation = &asked.invocation;
        if !judgement.unanalysable.is_empty() {
            self.collected.unanalysable(&invocation.source, &judgement.unanalysable);
        }
        for effect in judgement.effects {
            self.collected.judged(effect, invocation);
        }
        for script in judgement.scripts {
            self.script(&script, asked);
        }
        for nested in judgement.invocations {
            self.ask(inherit(nested, invocation), asked.depth + 1);
        }
    }

    /// Resolves a script that an invocation would run.
    fn script(&mut self, script: &NestedScript, asked: &Asked) {
        let invocation = &asked.invocation;
        if asked.depth + 1 > MAX_DEPTH {
            return self.too_deep(invocation);
        }
        let env = script.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let ctx = ShellContext { cwd: &script.cwd, home: &self.home, env: &env };
        match resolve_with(&script.command, &ctx, &self.fuel) {
            Ok(mut resolution) => {
                for nested in &mut resolution.invocations {
                    *nested = inherit(std::mem::take(nested), invocation);
                }
                self.absorb(resolution, asked.depth + 1, invocation.certain);
            }
            Err(malformed) => self.collected.unanalysable(&invocation.source, &malformed.to_string()),
        }
    }

    fn absorb(&mut self, resolution: Resolution, depth: usize, certain: bool) {
        for why in resolution.unanalysable {
            self.collected.unanalysable("", &why);
        }
        for effect in resolution.effects {
            self.collected.resolved(effect, certain);
        }
        for invocation in resolution.invocations {
            self.ask(invocation, depth);
        }
    }

    fn ask(&mut self, invocation: Invocation, depth: usize) {
        if depth > MAX_DEPTH {
            return self.too_deep(&invocation);
        }
        if invocation.argv.is_empty() {
            return self.collected.unanalysable(&invocation.source, "it names no program");
        }
        if self.invocations >= MAX_INVOCATIONS {
            return self.collected.unanalysable("", &format!("the action runs more than {MAX_INVOCATIONS} programs"));
        }
        self.invocations += 1;
        self.asked.push(Asked { invocation, depth });
    }

    fn too_deep(&mut self, invocation: &Invocation) {
        self.collected.unanalysable(&invocation.source, &format!("programs run programs more than {MAX_DEPTH} deep"));
    }
}

/// A nested run is no more certain than the one that makes it, and shares its standard input.
fn inherit(mut nested: Invocation, outer: &Invocation) -> Invocation {
    nested.certain &= outer.certain;
    if nested.stdin.is_none() {
        // Known text may be read by the outer program, in part or as a whole, before.
        nested.stdin_unknown |= outer.stdin_unknown || outer.stdin.is_some();
    }
    if nested.source.is_empty() {
        nested.source.clone_from(&outer.source);
    }
    nested
}

/// Gives the call's own standard input to who inherits it; several share it, and the first may take all.
fn feed(invocations: &mut [Invocation], stdin: &str) {
    let inherits = |invocation: &&mut Invocation| invocation.stdin.is_none() && !invocation.stdin_unknown;
    let mut heirs: Vec<&mut Invocation> = invocations.iter_mut().filter(inherits).collect();
    match heirs.as_mut_slice() {
        [only] => only.stdin = Some(stdin.to_owned()),
        several => several.iter_mut().for_each(|heir| heir.stdin_unknown = true),
    }
}

/// What the call runs, as bash would read it: the words of `argv` are quoted, so that each stays one
/// word and means nothing to a shell.
fn line(validated: &Validated) -> Cow<'_, str> {
    if let Some(line) = validated.text("command") {
        return line.into();
    }
    let words = validated.arguments().get("argv").and_then(serde_json::Value::as_array).into_iter().flatten();
    let quoted: Vec<_> =
        words.map(|word| format!("'{}'", word.as_str().unwrap_or_default().replace('\'', r"'\''"))).collect();
    quoted.join(" ").into()
}

/// Variables that the call sets.
fn environment(validated: &Validated) -> BTreeMap<String, String> {
    let env = validated.arguments().get("env").and_then(serde_json::Value::as_object);
    let pairs = env.into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
