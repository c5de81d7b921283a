//! JSON Schemas (draft 2020-12, as OpenAPI 3.1 takes them) of everything in [`crate::api`].
//!
//! Written by hand, since the types of `rvs-config` should not have to know about schemas. The tests serialise values of
//! every type and variant and check them against these schemas, with no field too many and none too few.

mod answers;
mod domain;
mod refusals;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

/// The schemas by name.
pub(crate) fn components() -> Map<String, Value> {
    let all = domain::schemas().into_iter().chain(answers::schemas()).chain(refusals::schemas());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// A reference to a schema by its name.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A field of an object.
struct Field {
    name: &'static str,
    schema: Value,
    required: bool,
}

fn field(name: &'static str, schema: Value) -> Field {
    Field { name, schema, required: true }
}

/// A field that a request may leave out.
fn optional(name: &'static str, schema: Value) -> Field {
    Field { name, schema, required: false }
}

fn object(description: &str, fields: Vec<Field>) -> Value {
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let properties: Map<_, _> =
        fields.into_iter().map(|field| (field.name.to_owned(), field.schema)).collect();
    json!({"type": "object", "description": description, "required": required, "properties": properties})
}

/// One of the variants of an enum that carries its name in a field.
fn variant(tag: &'static str, name: &str, description: &str, fields: Vec<Field>) -> Value {
    let mut all = vec![field(tag, json!({"type": "string", "const": name}))];
    all.extend(fields);
    object(description, all)
}

fn array(items: Value, description: &str) -> Value {
    json!({"type": "array", "items": items, "description": description})
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// One of some words.
fn word<S: AsRef<str>>(words: impl IntoIterator<Item = S>, description: &str) -> Value {
    let words: Vec<_> = words.into_iter().map(|word| Value::from(word.as_ref())).collect();
    json!({"type": "string", "enum": words, "description": description})
}

/// A number from 0. Where every 64-bit number is allowed, no maximum is given: few readers of schemas can hold it.
fn number(maximum: impl Into<u64>, description: &str) -> Value {
    let mut schema = json!({"type": "integer", "minimum": 0, "description": description});
    match maximum.into() {
        u64::MAX => {}
        maximum => schema["maximum"] = maximum.into(),
    }
    schema
}
