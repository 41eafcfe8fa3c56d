//! What a tool's JSON Schema says against some arguments, as instructions.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use serde_json::{Map, Value};

use super::Violations;
use super::mend::{Around, meant};
use crate::near;
use crate::reason::Change;
use crate::v1::Reason;

/// Stands where something is missing.
const NOTHING: &str = "nothing";

pub(super) fn check(around: &Around<'_>, found: &mut Violations) {
    let (tool, arguments) = (around.tool, around.arguments);
    // Nearly all are valid, and to find that out costs less than to look for every error.
    if tool.validator().is_valid(arguments) {
        return;
    }
    let errors: Vec<ValidationError<'_>> = tool.validator().iter_errors(arguments).collect();
    let renamed: Vec<(String, String, String)> = errors.iter().flat_map(|error| renames(around, error)).collect();
    for error in &errors {
        let at = format!("/arguments{}", error.instance_path());
        let (schema, rule) = around_rule(tool.arguments_schema(), error);
        let mut add = |pointer: &str, expected: &str, found_there: &str, change: Option<Change>| {
            found.add_mended(Reason::InvalidArguments, pointer, expected, found_there, change);
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                // It is there under another name, of which is told.
                if !renamed.is_empty() && !around.lacks(&renamed, error.instance_path().as_str(), name) {
                    continue;
                }
                // A rule that depends on others stands in a schema of its own, beside the properties.
                let is_outermost = error.instance_path().as_str().is_empty();
                let schema = tool.arguments_schema().as_object().filter(|_| is_outermost).unwrap_or(schema);
                add(&format!("{at}/{}", escape_pointer(name)), &required(name, schema), NOTHING, None);
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    let value = error.instance().get(name).map(Value::to_string).unwrap_or_default();
                    let change = around.unknown(error.instance(), name, properties(schema));
                    add(&format!("{at}/{}", escape_pointer(name)), &unknown(name, schema), &value, change);
                }
            }
            kind => {
                let expected = expectation(kind, schema).unwrap_or_else(|| format!("what its schema's `{rule}` asks"));
                let change = around.change(error, schema);
                add(&at, &expected, &error.instance().to_string(), change);
            }
        }
    }
}

/// Members of objects with the names that they were meant to have.
fn renames(around: &Around<'_>, error: &ValidationError<'_>) -> Vec<(String, String, String)> {
    let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() else { return Vec::new() };
    let known = properties(around_rule(around.tool.arguments_schema(), error).0);
    let meant = unexpected.iter().filter_map(|name| match around.unknown(error.instance(), name, known) {
        Some(Change::Rename(to)) => Some((error.instance_path().to_string(), name.clone(), to)),
        _ => None,
    });
    meant.collect()
}

fn properties(schema: &Map<String, Value>) -> &Map<String, Value> {
    schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE)
}

static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// The schema object in which a rule stands that was broken, and the rule's keyword.
fn around_rule<'a>(root: &'a Value, error: &ValidationError<'_>) -> (&'a Map<String, Value>, String) {
    let path = error.schema_path().to_string();
    let (object, keyword) = path.rsplit_once('/').unwrap_or(("", &path));
    (root.pointer(object).and_then(Value::as_object).unwrap_or(&NONE), keyword.to_owned())
}

fn required(name: &str, schema: &Map<String, Value>) -> String {
    let property = schema.get("properties").and_then(|all| all.get(name)).and_then(Value::as_object);
    format!("`{name}`, which is required{}", property.map(describe).unwrap_or_default())
}

fn unknown(name: &str, schema: &Map<String, Value>) -> String {
    let known = properties(schema);
    let mut listed: Vec<String> = known.keys().map(|name| format!("`{name}`")).collect();
    // In one order, whatever a build lets JSON objects keep.
    listed.sort();
    let near = || near::meant(name, known.keys().map(String::as_str));
    let meant = meant(name, known).or_else(near).map_or(";".to_owned(), |name| format!("; did you mean `{name}`?"));
    match listed.as_slice() {
        [] => "no such field; there are none".to_owned(),
        listed => format!("no such field{meant} there are {}", listed.join(", ")),
    }
}

/// `: Absolute working directory.` of a schema that describes itself.
fn describe(schema: &Map<String, Value>) -> String {
    let said = schema.get("description").and_then(Value::as_str);
    said.map(|said| format!(": {said}")).unwrap_or_default()
}

/// One step of a JSON pointer (RFC 6901, section 3).
pub(super) fn escape_pointer(name: &str) -> String {
    super::shorten(&name.replace('~', "~0").replace('/', "~1"))
}

/// The common rules of a schema as what a value should have been.
fn expectation(kind: &ValidationErrorKind, schema: &Map<String, Value>) -> Option<String> {
    Some(match kind {
        ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::Null) } => format!("nothing{}", describe(schema)),
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => format!("a value of type {one}"),
        ValidationErrorKind::Type { kind: TypeKind::Multiple(many) } => {
            let names: Vec<_> = many.iter().map(|one| one.to_string()).collect();
            format!("a value of type {}", names.join(" or "))
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("text that matches `{pattern}`{}", describe(schema))
        }
        ValidationErrorKind::Enum { options } => match options.as_array() {
            Some(options) => {
                let listed: Vec<String> = options.iter().map(|option| format!("`{option}`")).collect();
                format!("one of {}", listed.join(", "))
            }
            None => format!("one of {options}"),
        },
        ValidationErrorKind::Constant { expected_value } => format!("`{expected_value}`"),
        ValidationErrorKind::Minimum { limit } => format!("at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        ValidationErrorKind::MinLength { limit } => format!("at least {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("at least {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("at most {limit} items"),
        ValidationErrorKind::MinProperties { limit } => format!("at least {limit} entries"),
        ValidationErrorKind::MaxProperties { limit } => format!("at most {limit} entries"),
        ValidationErrorKind::UniqueItems => "each item once".to_owned(),
        ValidationErrorKind::PropertyNames { .. } => {
            "only names of the form that its schema's `propertyNames` asks".to_owned()
        }
        _ => return None,
    })
}
