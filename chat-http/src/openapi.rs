//! Description of the routes for programs, made of the types of the wire: OpenAPI 3.1.
//!
//! A new route gets an entry in one of the lists of [`operations`]; a test compares them with the
//! router.

mod operation;
mod operations;

use std::sync::LazyLock;

use bytes::Bytes;
use chat_client::wire::Problem;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use self::operation::Schemas;

/// Returns the description as JSON.
pub(crate) fn document() -> &'static Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| build().to_string().into());
    &DOCUMENT
}

fn build() -> Value {
    let mut schemas = Schemas {
        requests: generator(SchemaSettings::draft2020_12().for_deserialize()),
        answers: generator(SchemaSettings::draft2020_12().for_serialize()),
    };

    let mut paths: Map<String, Value> = Map::new();
    for operation in operations::all() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.describe(&mut schemas);
    }
    let problem = schemas.answers.subschema_for::<Problem>();
    let mut types = schemas.requests.take_definitions(true);
    types.extend(schemas.answers.take_definitions(true));

    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "chat-http",
            "version": "1",
            "description": "Rooms, messages, exact counters and sessions. Errors are application/problem+json (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": types,
            "responses": {
                "Problem": {
                    "description": "failed",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "cookie": { "type": "apiKey", "in": "cookie", "name": "session" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn generator(settings: SchemaSettings) -> SchemaGenerator {
    let named = |settings: &mut SchemaSettings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    };
    settings.with(named).into_generator()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Collects the values of all `$ref`s.
    fn references<'a>(value: &'a Value, found: &mut HashSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference);
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = build();
        let mut found = HashSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').expect("a part of the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }

        let schemas = document["components"]["schemas"]
            .as_object()
            .expect("schemas");
        for name in schemas.keys() {
            let reference = format!("#/components/schemas/{name}");
            assert!(found.contains(reference.as_str()), "{name} is not used");
        }
    }

    #[test]
    fn requests_and_answers_have_the_fields_that_they_must_have() {
        let document = build();
        let required = |name: &str| {
            let schema = &document["components"]["schemas"][name];
            let mut required: Vec<_> = schema["required"]
                .as_array()
                .map(|names| names.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            required.sort_unstable();
            required
        };
        let message = ["room", "sender", "seq", "text", "timestamp", "verified"];
        assert_eq!(required("Message"), message);
        assert_eq!(required("NewMessage"), ["text"]);
        assert_eq!(required("Credentials"), ["username"]);
        assert_eq!(required("NewRoom"), [""; 0]);
        assert_eq!(required("Problem"), ["detail", "status", "title"]);
    }
}
