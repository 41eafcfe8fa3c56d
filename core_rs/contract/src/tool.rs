//! Tools: contracts whose schemas are linted and compiled once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use prost::Message;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::v1::{EffectSource, Error, Idempotency, Reason, ToolContract};
use crate::{derive, reason};

mod meant;

pub use meant::{meant, surely};

/// The tool that runs a command. Its preview does what it says; those of all others only plan.
pub const COMMAND: &str = "terminal.exec";

/// Largest schema text in bytes.
const MAX_SCHEMA_BYTES: usize = 256 * 1024;

/// Most places of a schema, each reference counted with what it refers to.
const MAX_SCHEMA_PLACES: usize = 10_000;

/// Longest chain of references.
const MAX_REFERENCES: usize = 16;

/// Keywords that lead out of the schema or to other vocabularies.
const FORBIDDEN: &[&str] = &["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary", "$id"];

/// The shipped contracts.
const BUILTIN: &[&str] = &[
    include_str!("tool/terminal.exec.json"),
    include_str!("tool/files.read.json"),
    include_str!("tool/files.list.json"),
    include_str!("tool/files.stat.json"),
    include_str!("tool/files.search.json"),
    include_str!("tool/files.write.json"),
    include_str!("tool/files.edit.json"),
    include_str!("tool/files.mkdir.json"),
    include_str!("tool/files.chmod.json"),
    include_str!("tool/files.move.json"),
    include_str!("tool/files.copy.json"),
    include_str!("tool/files.delete.json"),
    include_str!("tool/files.undo.json"),
    include_str!("tool/process.list.json"),
    include_str!("tool/process.signal.json"),
    include_str!("tool/service.status.json"),
    include_str!("tool/service.logs.json"),
    include_str!("tool/service.start.json"),
    include_str!("tool/service.stop.json"),
    include_str!("tool/service.restart.json"),
    include_str!("tool/service.reload.json"),
    include_str!("tool/deploy.plan.json"),
    include_str!("tool/deploy.status.json"),
    include_str!("tool/deploy.release.json"),
    include_str!("tool/deploy.rollback.json"),
];

/// A registered tool.
#[derive(Debug)]
pub struct Tool {
    contract: ToolContract,
    arguments: Validator,
    arguments_schema: Value,
}

impl Tool {
    /// Lints and compiles a contract. `version` is set to its digest.
    ///
    /// # Errors
    /// SCHEMA_REJECTED, saying which keyword of which schema and what to write instead.
    pub fn register(mut contract: ToolContract) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=128).contains(&contract.name.len()) || !contract.name.bytes().all(plain) {
            return Err(rejected(
                &contract.name.escape_debug().to_string(),
                "/name",
                "a dotted name such as `files.read`",
            ));
        }
        // Without its template it would pass as a tool without effects.
        if contract.effect_source() == EffectSource::Template && !derive::TOOLS.contains(&contract.name.as_str()) {
            return Err(rejected(&contract.name, "/effect_source", "`declared`: only shipped tools have templates"));
        }
        let (arguments_schema, arguments) = compile(&contract.name, "arguments_schema", &contract.arguments_schema)?;
        let closed = arguments_schema.get("additionalProperties") == Some(&Value::Bool(false));
        if arguments_schema.get("type") != Some(&Value::from("object")) || !closed {
            return Err(rejected(
                &contract.name,
                "/arguments_schema",
                "`\"type\": \"object\"` with `\"additionalProperties\": false`",
            ));
        }
        compile(&contract.name, "result_schema", &contract.result_schema)?;
        contract.version = String::new();
        contract.version = hex(&Sha256::digest(contract.encode_to_vec()));
        Ok(Self { contract, arguments, arguments_schema })
    }

    /// Its contract, version included.
    #[must_use]
    pub fn contract(&self) -> &ToolContract {
        &self.contract
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.contract.name
    }

    /// Validates arguments.
    #[must_use]
    pub fn validator(&self) -> &Validator {
        &self.arguments
    }

    /// The parsed schema of its arguments.
    #[must_use]
    pub fn arguments_schema(&self) -> &Value {
        &self.arguments_schema
    }
}

/// All tools of a server, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tools: BTreeMap<String, Arc<Tool>>,
}

impl Registry {
    /// The shipped tools.
    ///
    /// # Panics
    /// If a shipped contract is broken, which a test rules out.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self::default();
        for text in BUILTIN {
            let contract = shipped(text).expect("shipped contracts are JSON of the known shape");
            registry.register(contract).expect("shipped contracts pass the lint");
        }
        registry
    }

    /// Adds a tool, or replaces the one of the same name.
    ///
    /// # Errors
    /// SCHEMA_REJECTED.
    pub fn register(&mut self, contract: ToolContract) -> Result<(), Error> {
        let tool = Tool::register(contract)?;
        self.tools.insert(tool.name().to_owned(), Arc::new(tool));
        Ok(())
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name)
    }

    /// The tool of that name.
    ///
    /// # Errors
    /// UNKNOWN_TOOL, with the tool that was meant most likely.
    pub fn find(&self, name: &str) -> Result<&Arc<Tool>, Error> {
        self.get(name).ok_or_else(|| {
            let known = self.tools.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let error = reason::error(Reason::UnknownTool, format!("no tool is named `{name}`; there are {known}"));
            let all = || self.tools.values().map(|tool| tool.contract());
            match meant(name, all()) {
                Some(tool) if surely(name, all()).is_some() => error.call_it(&tool.name),
                Some(tool) => error.use_tool(&tool.name),
                None => error.fix_arguments("/tool", &format!("one of {known}")),
            }
        })
    }

    /// All tools, by name.
    pub fn list(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values()
    }
}

fn shipped(text: &str) -> Option<ToolContract> {
    let json: Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| json.get(key)?.as_str().map(str::to_owned);
    let effect_source =
        EffectSource::from_str_name(&format!("EFFECT_SOURCE_{}", text("effect_source")?.to_uppercase()))?;
    let idempotency = Idempotency::from_str_name(&format!("IDEMPOTENCY_{}", text("idempotency")?.to_uppercase()))?;
    let reasons = json.get("reasons")?.as_array()?.iter();
    let reasons = reasons.map(|it| Reason::from_str_name(&format!("REASON_{}", it.as_str()?)).map(i32::from));
    Some(ToolContract {
        name: text("name")?,
        description: text("description")?,
        arguments_schema: json.get("arguments")?.to_string(),
        result_schema: json.get("result")?.to_string(),
        effect_source: effect_source.into(),
        idempotency: idempotency.into(),
        reasons: reasons.collect::<Option<_>>()?,
        version: String::new(),
        words: json.get("words").and_then(Value::as_array).map_or_else(
            || Some(Vec::new()),
            |words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        )?,
    })
}

fn compile(tool: &str, which: &str, text: &str) -> Result<(Value, Validator), Error> {
    let place = format!("/{which}");
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(rejected(tool, &place, "a schema of at most 256 KiB"));
    }
    let schema = crate::json::parse(text)
        .map_err(|error| rejected(tool, &place, &format!("a JSON Schema; this is no JSON: {error}")))?;
    lint(tool, &place, &schema)?;
    Expansion { tool, place: &place, root: &schema, left: MAX_SCHEMA_PLACES, chain: Vec::new() }.walk(&schema)?;
    let options =
        jsonschema::options().with_draft(Draft::Draft202012).offline().with_pattern_options(PatternOptions::regex());
    let validator =
        options.build(&schema).map_err(|error| rejected(tool, &place, &format!("a JSON Schema 2020-12; {error}")))?;
    Ok((schema, validator))
}

/// Refuses what leads out of the schema.
fn lint(tool: &str, place: &str, schema: &Value) -> Result<(), Error> {
    match schema {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            let remote = key == "$ref" && !value.as_str().is_some_and(|reference| reference.starts_with('#'));
            if remote || FORBIDDEN.contains(&key.as_str()) {
                return Err(rejected(tool, &place, "only references within the schema, as `#/$defs/name`"));
            }
            lint(tool, &place, value)
        }),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(at, item)| lint(tool, &format!("{place}/{at}"), item))
        }
        _ => Ok(()),
    }
}

/// Follows every reference, as a validator would: a schema that refers to itself has no bound, and
/// one that refers to others twice at each step doubles with each.
struct Expansion<'a> {
    tool: &'a str,
    place: &'a str,
    root: &'a Value,
    left: usize,
    chain: Vec<&'a str>,
}

impl<'a> Expansion<'a> {
    fn walk(&mut self, schema: &'a Value) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or_else(|| self.refused("a schema with fewer references"))?;
        match schema {
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            Value::Object(map) => {
                map.values().try_for_each(|value| self.walk(value))?;
                map.get("$ref").and_then(Value::as_str).map_or(Ok(()), |reference| self.follow(reference))
            }
            _ => Ok(()),
        }
    }

    fn follow(&mut self, reference: &'a str) -> Result<(), Error> {
        if self.chain.contains(&reference) || self.chain.len() >= MAX_REFERENCES {
            return Err(self.refused("references that do not lead back to themselves"));
        }
        let pointer = reference.strip_prefix('#').unwrap_or(reference);
        let meant = self.root.pointer(pointer);
        let meant = meant.ok_or_else(|| self.refused("references to what the schema holds, as `#/$defs/name`"))?;
        self.chain.push(reference);
        self.walk(meant)?;
        self.chain.pop();
        Ok(())
    }

    fn refused(&self, expected: &str) -> Error {
        rejected(self.tool, self.place, expected)
    }
}

fn rejected(tool: &str, place: &str, expected: &str) -> Error {
    let message = format!("tool `{tool}`, {place}: expected {expected}");
    reason::error(Reason::SchemaRejected, message).fix_arguments(place, expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{UseTool, remedy, use_tool};

    fn contract(arguments_schema: &str) -> ToolContract {
        ToolContract {
            name: "x".into(),
            arguments_schema: arguments_schema.into(),
            result_schema: "{}".into(),
            ..ToolContract::default()
        }
    }

    #[test]
    fn the_shipped_tools_pass_the_lint() {
        let names: Vec<_> = Registry::builtin().list().map(|tool| tool.name().to_owned()).collect();
        let mut known = [derive::TOOLS, &["files.undo", "terminal.exec"]].concat();
        known.sort_unstable();
        assert_eq!(names, known, "each with a template but these two, and each template with a tool");
        assert!(Registry::builtin().list().all(|tool| tool.contract().version.len() == 64));
    }

    #[test]
    fn schemas_that_cannot_be_validated_safely_are_rejected() {
        for schema in [
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"$ref":"https://example.com/s"}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"$ref":"file:///etc/passwd"}}}"#,
            r#"{"type":"object","additionalProperties":false,"properties":{"a":{"pattern":"(a)\\1"}}}"#,
            r#"{"type":"object","additionalProperties":false,"$id":"https://example.com/s"}"#,
            r#"{"type":"object"}"#,
            r#"{"type":"array"}"#,
            r#"{"type":"object","additionalProperties":false,"required":7}"#,
            r##"{"type":"object","additionalProperties":false,"allOf":[{"$ref":"#"}]}"##,
            r##"{"type":"object","additionalProperties":false,"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
            r##"{"type":"object","additionalProperties":false,"$ref":"#anchor"}"##,
            "{",
        ] {
            let error = Tool::register(contract(schema)).expect_err(schema);
            assert_eq!(error.reason(), Reason::SchemaRejected, "{schema}");
        }
        assert!(Tool::register(contract(r##"{"type":"object","additionalProperties":false,"$defs":{"n":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/n"}}}"##)).is_ok());
    }

    #[test]
    fn a_schema_that_doubles_with_each_reference_is_rejected() {
        let doubling = |at: usize| {
            format!(r##""d{at}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, at + 1)
        };
        let defs: Vec<_> = (0..14).map(doubling).chain([r#""d14":{}"#.to_owned()]).collect();
        let schema = format!(
            r##"{{"type":"object","additionalProperties":false,"$defs":{{{}}},"$ref":"#/$defs/d0"}}"##,
            defs.join(",")
        );
        assert_eq!(Tool::register(contract(&schema)).expect_err("doubling").reason(), Reason::SchemaRejected);
    }

    #[test]
    fn a_tool_without_a_name_or_with_an_unknown_template_is_rejected() {
        let closed = r#"{"type":"object","additionalProperties":false}"#;
        for name in ["", "Files Read", "a\u{202e}b"] {
            assert!(Tool::register(ToolContract { name: name.into(), ..contract(closed) }).is_err(), "{name}");
        }
        let template = ToolContract { effect_source: EffectSource::Template.into(), ..contract(closed) };
        assert!(Tool::register(template).is_err());
    }

    #[test]
    fn an_unknown_tool_is_answered_with_the_one_that_was_meant_or_with_all() {
        let remedy = |name| Registry::builtin().find(name).expect_err("unknown").remedy.and_then(|it| it.kind);
        let exec = UseTool { name: "terminal.exec".into(), arguments: Some(use_tool::Arguments::Same(true)) };
        assert_eq!(remedy("bash"), Some(remedy::Kind::UseTool(exec)));
        let Some(remedy::Kind::FixArguments(fix)) = remedy("frobnicate") else { panic!("it names a tool") };
        assert_eq!(fix.path, "/tool");
        assert!(fix.expected.contains("terminal.exec") && fix.expected.contains("files.read"), "{}", fix.expected);
    }
}
