//! The fields of a request's body, read one by one, so that an error can name the field. `null` is like a field that is
//! not there, as in OpenAI's API; fields that nobody asks for are passed over.

use super::error::Error;
use axum::http::StatusCode;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

pub struct Fields(Map<String, Value>);

impl Fields {
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Error::new(
                StatusCode::BAD_REQUEST,
                "The body must be a JSON object",
            )),
            Err(error) => {
                let message = format!("The body is not JSON: {error}");
                Err(Error::new(StatusCode::BAD_REQUEST, message))
            }
        }
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::field(name, "must be a text")),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Error::field(name, "must be true or false")),
        }
    }

    pub fn number(&mut self, name: &str) -> Result<Option<f64>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(Error::field(name, "must be a number")),
            },
        }
    }

    pub fn whole(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_i64().filter(|number| range.contains(number)) {
                Some(number) => Ok(Some(number)),
                None if *range.end() == i64::MAX => Err(Error::field(
                    name,
                    &format!("must be a whole number of at least {}", range.start()),
                )),
                None => {
                    let (from, to) = range.into_inner();
                    Err(Error::field(
                        name,
                        &format!("must be a whole number from {from} to {to}"),
                    ))
                }
            },
        }
    }

    /// A field that this server does not have: an error unless it says what is done anyway.
    pub fn refuse(&mut self, name: &str, says_nothing: impl Fn(&Value) -> bool) -> Result<(), Error> {
        match self.take(name) {
            Some(value) if !says_nothing(&value) => {
                Err(Error::field(name, "is not supported by this server").with_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }
}

/// Lists and objects without anything in them.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn errors_name_the_field_and_null_is_absence() {
        assert_eq!(fields(r#"{"n": null}"#).whole("n", 1..=9).unwrap(), None);
        assert_eq!(fields(r#"{"n": 3}"#).whole("n", 1..=9).unwrap(), Some(3));
        for body in [r#"{"n": 2.5}"#, r#"{"n": "2"}"#, r#"{"n": 10}"#] {
            let error = fields(body).whole("n", 1..=9).unwrap_err();
            assert_eq!(error.message, "`n` must be a whole number from 1 to 9");
            assert_eq!(error.param.as_deref(), Some("n"));
        }
        assert!(fields(r#"{"tools": []}"#).refuse("tools", is_empty).is_ok());
        assert!(fields(r#"{"tools": [1]}"#).refuse("tools", is_empty).is_err());
        assert!(Fields::parse(b"{").is_err() && Fields::parse(b"[]").is_err());
    }
}
