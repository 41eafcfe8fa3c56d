//! What is around the arguments: names, intent, sizes.

use super::{Limits, Violations, abridge};
use crate::name::{GRAMMAR, is_name};
use crate::reason::{self, Change};
use crate::v1::{Action, Actor, Proposal, Reason};
use crate::words;

/// What a text that a person reads is made of.
const SEEN: &str = "text that shows as it is, without control characters and changes of direction";

pub(super) fn check(proposal: &Proposal, action: &Action, limits: &Limits, found: &mut Violations) {
    check_intent(action, limits, found);
    for (pointer, name) in [("/tool", &action.tool), ("/host", &action.host)] {
        if !is_name(name) {
            let meant = name.trim_matches(|it: char| it.is_whitespace() || "`'\"".contains(it));
            let change = is_name(meant).then(|| reason::value(meant));
            found.add_mended(Reason::InvalidAction, pointer, GRAMMAR, &abridge::quoted(name), change);
        }
    }
    if !proposal.idempotency_key.is_empty() && !is_name(&proposal.idempotency_key) {
        let shown = abridge::quoted(&proposal.idempotency_key);
        // Nothing was ever done under it.
        found.add_mended(Reason::InvalidAction, "/idempotency_key", GRAMMAR, &shown, Some(Change::Remove(true)));
    }
    check_caller(proposal.actor.as_ref().unwrap_or(&Actor::default()), found);
    if is_longer(&proposal.model_call_id, limits.model_call_id_chars) {
        let expected = format!("at most {} characters", limits.model_call_id_chars);
        let shown = abridge::stand_in(&proposal.model_call_id);
        found.add_mended(Reason::InvalidAction, "/model_call_id", &expected, &shown, Some(Change::Remove(true)));
    }
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

    /// Adds a violation if a text that a person reads is longer than this many characters, or would deceive them.
    pub fn check_text(&mut self, pointer: &str, text: &str, chars: usize) {
        if is_longer(text, chars) {
            let expected = format!("at most {chars} characters");
            self.add(Reason::InvalidAction, pointer, &expected, &abridge::stand_in(text));
        } else {
            self.check_seen(pointer, text);
        }
    }

    /// Adds a violation if a text would deceive who reads it. Without what does it says no more than it said.
    fn check_seen(&mut self, pointer: &str, text: &str) {
        let Some((before, character)) = words::deceptive(text) else { return };
        let shown = format!("U+{:04X} after {before} characters", u32::from(character));
        let cleaned = words::cleaned(text);
        let change = (!cleaned.trim().is_empty()).then(|| reason::value(cleaned));
        self.add_mended(Reason::InvalidAction, pointer, SEEN, &shown, change);
    }
}

fn check_intent(action: &Action, limits: &Limits, found: &mut Violations) {
    let intent = &action.intent;
    let is_long = is_longer(intent, limits.intent_chars);
    if is_long || intent.trim().is_empty() {
        let expected =
            format!("why this is done, in 1 to {} characters; whoever approves it reads that", limits.intent_chars);
        let shown = if is_long { abridge::stand_in(intent) } else { "nothing".to_owned() };
        // Whoever approves it reads that there is no reason; of one that is too long nothing is kept.
        let tool = abridge::quoted(&action.tool);
        let meant = match is_long {
            true => format!("{tool}, whose reason was too long: {shown}"),
            false => format!("{tool}, whose author gave no reason"),
        };
        found.add_mended(Reason::InvalidAction, "/intent", &expected, &shown, Some(reason::value(meant)));
    } else {
        found.check_seen("/intent", intent);
    }
}

pub(super) fn is_longer(text: &str, chars: usize) -> bool {
    text.len() > chars && text.chars().nth(chars).is_some()
}
