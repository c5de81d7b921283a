//! The body of `POST /v1/commands`. A command that can't be read is named by its place in the list, and so is a field
//! that is not known: a director must not carry out half of what a newer client asks for.

use core::fmt;

use rvs_config::Command;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::{ErrorBody, RequestError};
use crate::http::Answer;

/// The commands of a body.
///
/// # Errors
/// The answer 400, with the place of the first bad command.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Command>, Answer> {
    let refuse = |index, message| {
        let body = ErrorBody { index, ..ErrorBody::new(RequestError::Malformed, message) };
        Answer::json(RequestError::Malformed.status(), &body)
    };
    match serde_json::from_slice::<Body>(body) {
        Ok(Body { commands: List(Ok(commands)) }) => Ok(commands),
        Ok(Body { commands: List(Err(bad)) }) => {
            Err(refuse(Some(bad.index), format!("command {}{}", bad.index, bad.message)))
        }
        Err(error) => Err(refuse(None, format!(r#"body: expected {{"commands": [...]}}: {error}"#))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    commands: List,
}

struct List(Result<Vec<Command>, Bad>);

struct Bad {
    index: u64,
    message: String,
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor).map(Self)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Result<Vec<Command>, Bad>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of commands")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut commands = Vec::new();
        while let Some(text) = list.next_element::<&RawValue>()? {
            match command(text) {
                Ok(command) => commands.push(command),
                Err(message) => {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Err(Bad { index: commands.len() as u64, message }));
                }
            }
        }
        Ok(Ok(commands))
    }
}

fn command(text: &RawValue) -> Result<Command, String> {
    let value: Value = serde_json::from_str(text.get()).map_err(|error| format!(": {error}"))?;
    let tag = value.get("command").and_then(Value::as_str);
    let name = tag.map(|tag| format!(" ({tag:?})")).unwrap_or_default();
    let command = Command::deserialize(&value).map_err(|error| format!("{name}: {error}"))?;
    let known =
        command.serialize(serde_json::value::Serializer).map_err(|error| format!("{name}: {error}"))?;
    match unknown_field(&value, &known) {
        Some(field) => Err(format!("{name}: unknown field `{field}`")),
        None => Ok(command),
    }
}

/// The first field of an object that the understood form of it does not have. Null is as good as absent.
fn unknown_field(given: &Value, known: &Value) -> Option<String> {
    let (Some(given), Some(known)) = (given.as_object(), known.as_object()) else { return None };
    given.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| match known.get(name) {
        None => Some(name.clone()),
        Some(known) => unknown_field(value, known).map(|inner| format!("{name}.{inner}")),
    })
}
