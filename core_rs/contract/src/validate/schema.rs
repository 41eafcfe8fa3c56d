//! What a tool's JSON Schema says against some arguments, as instructions.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use serde_json::{Map, Value};

use super::Violations;
use crate::near;
use crate::tool::Tool;
use crate::v1::Reason;

/// Stands where something is missing.
const NOTHING: &str = "nothing";

pub(super) fn check(tool: &Tool, arguments: &Value, found: &mut Violations) {
    // Nearly all are valid, and to find that out costs less than to look for every error.
    if tool.validator().is_valid(arguments) {
        return;
    }
    for error in tool.validator().iter_errors(arguments) {
        let at = format!("/arguments{}", error.instance_path());
        let (schema, rule) = around(tool.arguments_schema(), &error);
        let mut add = |pointer: &str, expected: &str, found_there: &str| {
            found.add(Reason::InvalidArguments, pointer, expected, found_there);
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                // A rule that depends on others stands in a schema of its own, beside the properties.
                let is_outermost = error.instance_path().as_str().is_empty();
                let schema = tool.arguments_schema().as_object().filter(|_| is_outermost).unwrap_or(schema);
                add(&format!("{at}/{}", escape_pointer(name)), &required(name, schema), NOTHING);
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    let value = error.instance().get(name).map(Value::to_string).unwrap_or_default();
                    add(&format!("{at}/{}", escape_pointer(name)), &unknown(name, schema), &value);
                }
            }
            kind => {
                let expected = expectation(kind, schema).unwrap_or_else(|| format!("what its schema's `{rule}` asks"));
                add(&at, &expected, &error.instance().to_string());
            }
        }
    }
}

/// The schema object in which a rule stands that was broken, and the rule's keyword.
fn around<'a>(root: &'a Value, error: &ValidationError<'_>) -> (&'a Map<String, Value>, String) {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let path = error.schema_path().to_string();
    let (object, keyword) = path.rsplit_once('/').unwrap_or(("", &path));
    (root.pointer(object).and_then(Value::as_object).unwrap_or(&NONE), keyword.to_owned())
}

fn required(name: &str, schema: &Map<String, Value>) -> String {
    let property = schema.get("properties").and_then(|all| all.get(name)).and_then(Value::as_object);
    format!("`{name}`, which is required{}", property.map(describe).unwrap_or_default())
}

fn unknown(name: &str, schema: &Map<String, Value>) -> String {
    let known = schema.get("properties").and_then(Value::as_object);
    let known = || known.into_iter().flat_map(Map::keys).map(String::as_str);
    let mut listed: Vec<String> = known().map(|name| format!("`{name}`")).collect();
    // In one order, whatever a build lets JSON objects keep.
    listed.sort();
    let meant = near::meant(name, known()).map_or(";".to_owned(), |name| format!("; did you mean `{name}`?"));
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
fn escape_pointer(name: &str) -> String {
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
