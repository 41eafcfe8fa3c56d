//! What is around the arguments: names, intent, sizes.

use super::{Limits, Violations, abridge};
use crate::name::{GRAMMAR, is_name};
use crate::v1::{Action, Actor, Proposal, Reason};

pub(super) fn check(proposal: &Proposal, action: &Action, limits: &Limits, found: &mut Violations) {
    check_intent(&action.intent, limits, found);
    found.check_name("/tool", &action.tool);
    found.check_name("/host", &action.host);
    if !proposal.idempotency_key.is_empty() {
        found.check_name("/idempotency_key", &proposal.idempotency_key);
    }
    check_caller(proposal.actor.as_ref().unwrap_or(&Actor::default()), found);
    found.check_length("/model_call_id", &proposal.model_call_id, limits.model_call_id_chars);
}

/// Everything that is wrong with the names of whoever acts. An empty one means that there is none.
pub fn check_actor(actor: &Actor, found: &mut Violations) {
    for (pointer, name) in [
        ("/actor/tenant", &actor.tenant),
        ("/actor/user", &actor.user),
        ("/actor/agent", &actor.agent),
        ("/actor/run", &actor.run),
        ("/actor/session", &actor.session),
    ] {
        if !name.is_empty() {
            found.check_name(pointer, name);
        }
    }
}

/// The same of whoever calls: there is always a user who does.
pub fn check_caller(actor: &Actor, found: &mut Violations) {
    check_actor(actor, found);
    if actor.user.is_empty() {
        found.add(Reason::InvalidAction, "/actor/user", "the name of the user who calls", "nothing");
    }
}

impl Violations {
    /// Adds a violation if a text is no name.
    pub fn check_name(&mut self, pointer: &str, name: &str) {
        if !is_name(name) {
            self.add(Reason::InvalidAction, pointer, GRAMMAR, &abridge::quoted(name));
        }
    }

    /// Adds a violation if a text is longer than this many characters.
    pub fn check_length(&mut self, pointer: &str, text: &str, chars: usize) {
        if is_longer(text, chars) {
            let expected = format!("at most {chars} characters");
            self.add(Reason::InvalidAction, pointer, &expected, &abridge::stand_in(text));
        }
    }
}

fn check_intent(intent: &str, limits: &Limits, found: &mut Violations) {
    let is_long = is_longer(intent, limits.intent_chars);
    if is_long || intent.trim().is_empty() {
        let expected =
            format!("why this is done, in 1 to {} characters; whoever approves it reads that", limits.intent_chars);
        let shown = if is_long { abridge::stand_in(intent) } else { "nothing".to_owned() };
        found.add(Reason::InvalidAction, "/intent", &expected, &shown);
    }
}

pub(super) fn is_longer(text: &str, chars: usize) -> bool {
    text.len() > chars && text.chars().nth(chars).is_some()
}
