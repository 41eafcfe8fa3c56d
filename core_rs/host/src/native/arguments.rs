//! Arguments of a native tool, read from the signed action.

use cmdop_contract::json;
use cmdop_contract::path::normalise;
use cmdop_contract::v1::{Action, Reason, Remedy, remedy};
use serde_json::{Map, Value};

use crate::Error;

/// The arguments object. The server has validated it; the host checks again what it uses.
pub(crate) struct Arguments(Map<String, Value>);

impl Arguments {
    /// # Errors
    /// `MALFORMED_JSON`.
    pub(crate) fn of(action: &Action) -> Result<Self, Error> {
        match json::parse(&action.arguments_json) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            _ => {
                let message = "the arguments are not one JSON object";
                Err(Error::fix(Reason::MalformedJson, message, "/arguments", "a JSON object"))
            }
        }
    }

    /// The `path`, absolute and normalised.
    ///
    /// # Errors
    /// `INVALID_ARGUMENTS`.
    pub(crate) fn path(&self) -> Result<Vec<u8>, Error> {
        self.path_of("path")
    }

    /// The path of an argument, absolute and normalised.
    ///
    /// # Errors
    /// `INVALID_ARGUMENTS`.
    pub(crate) fn path_of(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.required(name)?;
        if path.starts_with('/') && !path.contains('\0') {
            // By text alone, which is exact because links are never followed: `a/..` is where `a` lies.
            Ok(normalise(path.as_bytes()))
        } else {
            Err(invalid(name, "an absolute path without NUL"))
        }
    }

    /// # Errors
    /// `INVALID_ARGUMENTS` if it is missing or not a string.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Error> {
        self.text(name)?.ok_or_else(|| invalid(name, "a string"))
    }

    /// # Errors
    /// `INVALID_ARGUMENTS` if it is not a string.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(name, "a string")),
        }
    }

    /// # Errors
    /// `INVALID_ARGUMENTS` if it is not a whole number from 0.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| invalid(name, "a whole number from 0")),
        }
    }

    /// # Errors
    /// `INVALID_ARGUMENTS` if it is not a list of objects.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<Self>, Error> {
        let items = self.0.get(name).and_then(Value::as_array).ok_or_else(|| invalid(name, "a list"))?;
        let object = |item: &Value| item.as_object().cloned().map(Self);
        items.iter().map(|item| object(item).ok_or_else(|| invalid(name, "a list of objects"))).collect()
    }

    /// # Errors
    /// `INVALID_ARGUMENTS` if it is not an object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self(map.clone()))),
            Some(_) => Err(invalid(name, "an object")),
        }
    }

    /// All of them.
    pub(crate) fn value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// False if it is missing.
    ///
    /// # Errors
    /// `INVALID_ARGUMENTS` if it is not a boolean.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| invalid(name, "true or false")),
        }
    }
}

/// `INVALID_ARGUMENTS` about one argument.
pub(crate) fn invalid(name: &str, expected: &str) -> Error {
    let message = format!("argument `{name}` must be {expected}");
    Error::fix(Reason::InvalidArguments, message, &format!("/arguments/{name}"), expected)
}

/// The same error about an argument that is not called `path`.
pub(crate) fn about(name: &str, error: Error) -> Error {
    let Error::Typed(mut typed) = error else { return error };
    if let Some(Remedy { kind: Some(remedy::Kind::FixArguments(fix)), .. }) = &mut typed.remedy
        && fix.path == "/arguments/path"
    {
        fix.path = format!("/arguments/{name}");
    }
    Error::Typed(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_an_invalid_argument() {
        let action = Action { arguments_json: r#"{"path": "a/b"}"#.into(), ..Action::default() };
        let error = Arguments::of(&action).and_then(|arguments| arguments.path()).expect_err("relative");
        assert_eq!(error.reason(), Reason::InvalidArguments);
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |text: &str| {
            let action = Action { arguments_json: format!(r#"{{"limit": {text}}}"#), ..Action::default() };
            Arguments::of(&action).and_then(|arguments| arguments.number("limit"))
        };
        for text in ["20", "20.0", "2e1", "200e-1"] {
            assert_eq!(read(text).expect(text), Some(20));
        }
        assert_eq!(read("0.0").expect("nothing"), Some(0));
        for text in ["1.5", "-1.0", "-1", "1e300"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
