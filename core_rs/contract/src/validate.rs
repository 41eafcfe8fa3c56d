//! Validation of a proposal: every violation at once, each with a pointer and a remedy.

mod abridge;
mod effects;
mod envelope;
mod mend;
mod schema;

use std::sync::Arc;

use serde_json::Value;

use crate::derive::derive;
use crate::effect::{Base, Class, Effect, class};
use crate::path::normalise;
use crate::reason::{self, Change};
use crate::tool::{Registry, Tool};
use crate::v1::{Action, EffectSource, Error, FixArguments, Proposal, Reason, Remedy, Violation, remedy};
use crate::{digest, json};

use mend::Around;

pub use abridge::abridged;
pub use envelope::{check_actor, check_caller};

/// Bytes of what a violation shows of the action.
const MAX_FOUND: usize = 200;
/// Bytes of the value that a violation says to put in place.
const MAX_CHANGE: usize = 64 * 1024;
/// Bytes of what a violation says was expected; all kinds of effects fit.
const MAX_EXPECTED: usize = 800;

/// Sizes that are accepted.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the arguments' text.
    pub arguments_bytes: usize,
    /// Characters of the intent.
    pub intent_chars: usize,
    /// Declared effects.
    pub expected_effects: usize,
    /// Bytes of one effect's target: each byte of the longest path, escaped.
    pub target_bytes: usize,
    /// Characters of a model's own id of a tool call.
    pub model_call_id_chars: usize,
    /// Violations that are reported.
    pub violations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arguments_bytes: 1 << 20,
            intent_chars: 2_000,
            expected_effects: 256,
            target_bytes: 16_384,
            model_call_id_chars: 256,
            violations: 64,
        }
    }
}

/// A proposal that is well formed. Only [`validate`] makes one.
#[derive(Debug, Clone)]
pub struct Validated {
    proposal: Proposal,
    tool: Arc<Tool>,
    arguments: Value,
    declared: Vec<Effect>,
    cwd: Option<String>,
    action_digest: String,
}

impl Validated {
    /// What was proposed.
    #[must_use]
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// The tool it asks for.
    #[must_use]
    pub fn tool(&self) -> &Arc<Tool> {
        &self.tool
    }

    /// Its arguments, parsed once.
    #[must_use]
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// A text argument.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).and_then(Value::as_str)
    }

    /// The declaration with absolute targets; derived from the arguments if the tool's effects are
    /// exact and none were declared.
    #[must_use]
    pub fn declared(&self) -> &[Effect] {
        &self.declared
    }

    /// Absolute, normalised working directory, if the tool has one.
    #[must_use]
    pub fn cwd(&self) -> Option<&str> {
        self.cwd.as_deref()
    }

    /// SHA-256 of the action, lower-case hex.
    #[must_use]
    pub fn action_digest(&self) -> &str {
        &self.action_digest
    }
}

impl Validated {
    /// The next value of an argument that bounds the call, twice what it is now and no more than the tool takes.
    #[must_use]
    pub fn raised(&self, pointer: &str) -> Option<Change> {
        let name = pointer.strip_prefix("/arguments/")?;
        let rule = self.tool.arguments_schema().get("properties")?.get(name)?;
        let now = self.arguments.get(name).or_else(|| rule.get("default"))?.as_u64()?;
        let next = now.saturating_mul(2).min(rule.get("maximum")?.as_u64()?);
        (next > now).then(|| reason::value(next))
    }
}

/// Validates a proposal for a host whose user has this home directory (empty if unknown).
///
/// # Errors
/// All violations at once; the error's reason is that of the first.
pub fn validate(registry: &Registry, proposal: Proposal, limits: &Limits, home: &str) -> Result<Validated, Error> {
    let nothing = Action::default();
    let action = proposal.action.as_ref().unwrap_or(&nothing);
    let mut found = Violations::new(limits.violations);
    envelope::check(&proposal, action, limits, &mut found);
    let tool = match registry.find(&action.tool) {
        Ok(tool) => tool.clone(),
        Err(unknown) => {
            // Which arguments it takes nobody knows, but what is wrong around them is. Where a relative target
            // leads depends on an argument; as text it is checked all the same.
            effects::check(action, &Base { cwd: Some("/"), home: Some(home) }, limits, &mut found);
            return Err(found.beside(unknown, &action.tool));
        }
    };
    let home = Some(home).filter(|home| !home.is_empty());
    let arguments = check_arguments(&tool, action, home, limits, &mut found);
    let around = Around { tool: &tool, arguments: &arguments, home };
    let cwd = check_path("cwd", &around, &mut found);
    check_nul(&arguments, "/arguments", &mut found);
    let base = Base { cwd: cwd.as_deref(), home };
    let mut declared = effects::check(action, &base, limits, &mut found);
    if declared.is_empty() && action.expect.is_empty() && tool.contract().effect_source() == EffectSource::Template {
        declared = template(&tool, &arguments);
    }
    found.into_result()?;
    let action_digest = digest::action_digest(action);
    Ok(Validated { proposal, tool, arguments, declared, cwd, action_digest })
}

/// Effects that follow exactly from the arguments of a shipped tool. Looks need no declaration.
fn template(tool: &Tool, arguments: &Value) -> Vec<Effect> {
    let derived = derive(tool.name(), arguments).unwrap_or_default();
    let changes = derived.into_iter().filter(|it| class(it.kind) != Class::Look);
    changes.map(|it| Effect::new(it.kind, it.target).at_least(it.least)).collect()
}

/// What is wrong, as it is found.
#[derive(Debug)]
pub struct Violations {
    list: Vec<Violation>,
    most: usize,
}

impl Violations {
    /// None yet, and never more than `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { list: Vec::new(), most }
    }

    /// Adds one.
    pub fn add(&mut self, reason: Reason, pointer: &str, expected: &str, found: &str) {
        self.add_mended(reason, pointer, expected, found, None);
    }

    /// Adds a violation with what mends it, where that is certain.
    pub(crate) fn add_mended(
        &mut self,
        reason: Reason,
        pointer: &str,
        expected: &str,
        found: &str,
        change: Option<Change>,
    ) {
        if self.list.len() >= self.most {
            return;
        }
        let expected = &cut(expected, MAX_EXPECTED);
        let change = change.filter(|it| !matches!(it, Change::ValueJson(value) if value.len() > MAX_CHANGE));
        let fix = FixArguments { path: pointer.to_owned(), expected: expected.clone(), change };
        self.list.push(Violation {
            reason: reason.into(),
            pointer: pointer.to_owned(),
            expected: expected.clone(),
            // On one line, so that nothing that was found can look like a line of ours.
            found: shorten(found).replace('\n', "\\n"),
            remedy: Some(Remedy { kind: Some(remedy::Kind::FixArguments(fix)), new_key: false }),
        });
    }

    /// An unknown tool, told with everything else that is wrong.
    fn beside(self, unknown: Error, tool: &str) -> Error {
        if self.list.iter().any(|known| known.pointer == "/tool") {
            return self.into_result().err().unwrap_or(unknown);
        }
        let tool = Violation {
            reason: unknown.reason,
            pointer: "/tool".to_owned(),
            expected: "the name of a tool that the server offers".to_owned(),
            found: abridge::quoted(tool),
            remedy: unknown.remedy.clone(),
        };
        Error { violations: std::iter::once(tool).chain(self.list).collect(), ..unknown }
    }

    /// Ok if there are none.
    ///
    /// # Errors
    /// All of them; the error's reason is that of the first.
    pub fn into_result(self) -> Result<(), Error> {
        let Some(first) = self.list.first() else { return Ok(()) };
        let more = match self.list.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let place = if first.pointer.is_empty() { "the action" } else { &first.pointer };
        let message = match first.reason() {
            Reason::MalformedJson => {
                format!("{place} is no valid JSON: {}; expected {}{more}", first.found, first.expected)
            }
            _ => {
                let found = if first.found.is_empty() { String::new() } else { format!("found {}, ", first.found) };
                format!("{place}: {found}expected {}{more}", first.expected)
            }
        };
        let error = Error { remedy: first.remedy.clone(), ..reason::error(first.reason(), message) };
        Err(error.violations(self.list))
    }
}

fn check_arguments(tool: &Tool, action: &Action, home: Option<&str>, limits: &Limits, found: &mut Violations) -> Value {
    let text = if action.arguments_json.is_empty() { "{}" } else { &action.arguments_json };
    if text.len() > limits.arguments_bytes {
        let expected = format!("at most {} bytes", limits.arguments_bytes);
        found.add(Reason::ArgumentsTooLarge, "/arguments", &expected, &format!("{} bytes", text.len()));
        return Value::Null;
    }
    let arguments = match json::parse(text) {
        Ok(arguments) => arguments,
        Err(error) => {
            let meant = error.meant().map(|meant| Change::ValueJson(meant.to_owned()));
            let pointer = format!("/arguments{}", error.pointer());
            found.add_mended(Reason::MalformedJson, &pointer, error.expected(), &error.to_string(), meant);
            return Value::Null;
        }
    };
    schema::check(&Around { tool, arguments: &arguments, home }, found);
    arguments
}

/// Where a path leads must not depend on who reads it: what is authorised lexically is what the host
/// opens. Returns the normalised path.
fn check_path(name: &str, around: &Around<'_>, found: &mut Violations) -> Option<String> {
    let path = around.arguments.get(name)?.as_str()?;
    let normal = String::from_utf8(normalise(path.as_bytes())).ok()?;
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if normal != trimmed {
        let expected = format!("a normalised absolute path, such as `{}`", shorten(&normal));
        let pointer = format!("/arguments/{name}");
        // The schema may have said the same less helpfully.
        found.list.retain(|violation| violation.pointer != pointer);
        let change = around.meant_path(path).map(reason::value);
        found.add_mended(Reason::InvalidArguments, &pointer, &expected, path, change);
    }
    Some(normal)
}

/// No operating system takes NUL in a command, path or variable.
fn check_nul(arguments: &Value, at: &str, found: &mut Violations) {
    let named: Vec<(String, &Value)> = match arguments {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(place, value)| (place.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in named {
        let pointer = format!("{at}/{}", schema::escape_pointer(&name));
        let text = value.as_str().filter(|text| text.contains('\0') && name != "stdin" && name != "content");
        if let Some(text) = text {
            // At the end it ends the text, as it does for whoever wrote it.
            let meant = Some(text.trim_end_matches('\0')).filter(|text| !text.contains('\0'));
            found.list.retain(|violation| violation.pointer != pointer);
            let change = meant.map(reason::value);
            found.add_mended(Reason::InvalidArguments, &pointer, "text without NUL", "a NUL character", change);
        }
        if matches!(&*name, "env" | "argv") {
            check_nul(value, &pointer, found);
        }
    }
}

fn shorten(text: &str) -> String {
    cut(text, MAX_FOUND)
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests;
