//! Loops and functions: walked until nothing new is learnt, left early by `break` and `return`.

use std::rc::Rc;

use super::Walker;
use super::state::{Field, FieldKind, Flow, State, Value};
use crate::shell::reading::syntax::{Command, Script, Word};

/// Most words of a loop that are walked one by one.
const MAX_UNROLLED: usize = 100;

/// Most rounds until a loop changes nothing any more.
const MAX_ROUNDS: usize = 8;

/// A loop or function.
pub(in crate::shell) struct Frame {
    is_function: bool,
    /// States at `break` or `return`, with which what follows the whole begins.
    left: Vec<State>,
    /// States at `continue`, with which the next round begins.
    skipped: Vec<State>,
}

/// Where an early exit leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    Left,
    Skipped,
    Either,
}

/// Most early exits of one loop that are told apart.
const MAX_EXITS: usize = 64;

impl Frame {
    fn new(is_function: bool) -> Self {
        Self { is_function, left: Vec::new(), skipped: Vec::new() }
    }
}

impl Walker<'_> {
    pub(super) fn for_each(&mut self, variable: &str, words: Option<&[Word]>, body: &Script) {
        let fields: Vec<Field> = match words {
            Some(words) => words.iter().flat_map(|word| self.fields(word)).collect(),
            None => match &self.state.arguments {
                Some(arguments) => arguments.to_vec(),
                None => vec![Field::unknown(FieldKind::Many)],
            },
        };
        let known = fields.iter().all(|field| field.as_literal().is_some());
        if !known || fields.len() > MAX_UNROLLED {
            self.repeat(|walker| {
                walker.conditions += 1;
                let before = walker.state.clone();
                for value in distinct(&fields) {
                    walker.assign(variable, value);
                    walker.script(body);
                    walker.state = walker.state.clone().join(&before);
                }
                walker.conditions -= 1;
                walker.state.clone()
            });
            return;
        }
        self.leaving.push(Frame::new(false));
        for field in fields {
            self.assign(variable, Value::from_field(&field));
            self.script(body);
            let skipped = self.leaving.last_mut().map(|frame| std::mem::take(&mut frame.skipped));
            self.join_all(&skipped.unwrap_or_default());
        }
        self.rejoin();
    }

    /// Walks a loop until another round learns nothing new. `round` returns the state that ends it.
    pub(super) fn repeat(&mut self, mut round: impl FnMut(&mut Self) -> State) {
        let mark = (self.found.invocations.len(), self.found.effects.len(), self.found.notes.len());
        for _ in 0..MAX_ROUNDS {
            // Only the last round counts: its state holds those of all rounds.
            self.found.invocations.truncate(mark.0);
            self.found.effects.truncate(mark.1);
            self.found.notes.truncate(mark.2);
            let start = self.state.clone();
            self.leaving.push(Frame::new(false));
            let mut end = round(self);
            let frame = self.leaving.pop().unwrap_or_else(|| Frame::new(false));
            let mut next = start.clone().join(&self.state);
            for state in frame.left.iter().chain(&frame.skipped) {
                next = next.join(state);
                end = end.join(state);
            }
            if next.is_settled(&start) {
                self.state = end.join(&start);
                return;
            }
            self.state = next;
        }
        self.unanalysable("a loop changes too much to follow");
    }

    /// Resolves calls of a function that the script defines.
    pub(super) fn call(&mut self, bodies: &[Rc<Command>], arguments: &[Field]) -> Flow {
        if self.calls >= super::MAX_CALLS {
            self.unanalysable("functions call one another too deep");
            return Flow::same(self.state.clone());
        }
        self.calls += 1;
        // A word that may be several, or none, moves all that follow.
        let counted = arguments.iter().all(|field| !matches!(field.kind, FieldKind::Pattern | FieldKind::Many));
        let inner = counted.then(|| Rc::new(arguments.to_vec()));
        let outer = std::mem::replace(&mut self.state.arguments, inner);
        let start = self.state.clone();
        let mut end: Option<State> = None;
        let several = usize::from(bodies.len() > 1);
        self.conditions += several;
        for body in bodies {
            self.state = start.clone();
            self.leaving.push(Frame::new(true));
            self.locals.push(Vec::new());
            self.command_body(body);
            end = Some(match end.take() {
                Some(end) => end.join(&self.state),
                None => self.state.clone(),
            });
        }
        self.conditions -= several;
        self.calls -= 1;
        self.state = end.unwrap_or(start);
        self.state.arguments = outer;
        Flow::same(self.state.clone())
    }

    fn command_body(&mut self, body: &Command) {
        let flow = self.command(body);
        self.state = flow.merged();
        self.rejoin();
        for (name, hidden) in self.locals.pop().unwrap_or_default().into_iter().rev() {
            match hidden {
                Some(variable) => self.state.set_variable(&name, variable),
                None => self.state.remove_variable(&name),
            }
        }
    }

    /// `return`: what follows in the function does not run, what follows its call does.
    pub(super) fn leave_function(&mut self) {
        let Some(at) = self.leaving.iter().rposition(|frame| frame.is_function) else { return };
        self.leave(at, Exit::Left);
    }

    /// `break` and `continue`, out of one loop or of any number.
    pub(super) fn leave_loops(&mut self, continues: bool, several: bool) {
        let innermost = self.leaving.len();
        let outermost = self.leaving.iter().rposition(|frame| frame.is_function).map_or(0, |at| at + 1);
        let first = if several { outermost } else { innermost.saturating_sub(1).max(outermost) };
        for at in first..innermost {
            let live = self.state.live;
            // `continue 2` ends one loop and goes on with another.
            let exit = match (several, continues) {
                (true, _) => Exit::Either,
                (false, true) => Exit::Skipped,
                (false, false) => Exit::Left,
            };
            self.leave(at, exit);
            self.state.live = live && at + 1 < innermost;
        }
    }

    fn leave(&mut self, at: usize, exit: Exit) {
        let state = self.state.clone();
        let Some(frame) = self.leaving.get_mut(at) else { return };
        if frame.left.len() + frame.skipped.len() >= MAX_EXITS {
            return self.unanalysable("a loop is left in too many places to follow");
        }
        if exit != Exit::Left {
            frame.skipped.push(state.clone());
        }
        if exit != Exit::Skipped {
            frame.left.push(state);
        }
        self.state.live = false;
    }

    /// Ends a loop or function: the states in which it was left go on here.
    fn rejoin(&mut self) {
        let left = self.leaving.pop().map(|frame| frame.left).unwrap_or_default();
        self.join_all(&left);
    }

    fn join_all(&mut self, states: &[State]) {
        for state in states {
            self.state = self.state.clone().join(state);
        }
    }
}

/// The values of a loop's words, patterns and unknown words once each.
fn distinct(fields: &[Field]) -> Vec<Value> {
    let literals = fields.iter().filter(|field| field.as_literal().is_some()).count();
    if literals > MAX_UNROLLED {
        return vec![Value::Unknown];
    }
    fields.iter().map(Value::from_field).collect()
}
