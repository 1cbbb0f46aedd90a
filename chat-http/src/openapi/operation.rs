//! Builder of the description of one operation.

use chat_client::wire::schema::{ChangeSeq, Emoji, RoomName, Seq, SessionId, Username};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Generators of schemas: a field with a default may be left out of a request, but not of an
/// answer.
pub(super) struct Schemas {
    pub(super) requests: SchemaGenerator,
    pub(super) answers: SchemaGenerator,
}

/// Generates the schema of a type.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A method of a path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
    needs_session: bool,
}

struct Parameter {
    name: &'static str,
    /// `path`, `query` or `header`.
    location: &'static str,
    description: &'static str,
    schema: ParameterSchema,
}

enum ParameterSchema {
    Of(SchemaOf),
    Literal(Value),
}

struct Body {
    schema: SchemaOf,
    is_required: bool,
}

struct Answer {
    status: &'static str,
    content: Content,
}

enum Content {
    Empty {
        description: &'static str,
    },
    Json {
        description: &'static str,
        schema: SchemaOf,
    },
    Text {
        media_type: &'static str,
    },
    Problem,
}

/// Begins the description of an operation, with the parameters that its path names.
fn operation(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    let names = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    Operation {
        method,
        path,
        summary,
        parameters: names.map(path_parameter).collect(),
        body: None,
        answers: Vec::new(),
        needs_session: false,
    }
}

fn path_parameter(name: &'static str) -> Parameter {
    let schema: SchemaOf = match name {
        "room" => SchemaGenerator::subschema_for::<RoomName>,
        "username" => SchemaGenerator::subschema_for::<Username>,
        "seq" => SchemaGenerator::subschema_for::<Seq>,
        "emoji" => SchemaGenerator::subschema_for::<Emoji>,
        "id" => SchemaGenerator::subschema_for::<SessionId>,
        _ => SchemaGenerator::subschema_for::<String>,
    };
    Parameter {
        name,
        location: "path",
        description: "",
        schema: ParameterSchema::Of(schema),
    }
}

pub(super) fn get(path: &'static str, summary: &'static str) -> Operation {
    operation("get", path, summary)
}

pub(super) fn post(path: &'static str, summary: &'static str) -> Operation {
    operation("post", path, summary)
}

pub(super) fn put(path: &'static str, summary: &'static str) -> Operation {
    operation("put", path, summary)
}

pub(super) fn patch(path: &'static str, summary: &'static str) -> Operation {
    operation("patch", path, summary)
}

pub(super) fn delete(path: &'static str, summary: &'static str) -> Operation {
    operation("delete", path, summary)
}

impl Operation {
    /// Needs a session.
    pub(super) fn with_session(mut self) -> Self {
        self.needs_session = true;
        self
    }

    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body {
            schema: SchemaGenerator::subschema_for::<T>,
            is_required: true,
        });
        self
    }

    pub(super) fn optional_body<T: JsonSchema>(mut self) -> Self {
        self = self.body::<T>();
        if let Some(body) = &mut self.body {
            body.is_required = false;
        }
        self
    }

    pub(super) fn answer<T: JsonSchema>(
        self,
        status: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.with_answer(
            status,
            Content::Json {
                description,
                schema,
            },
        )
    }

    pub(super) fn empty_answer(self, status: &'static str, description: &'static str) -> Self {
        self.with_answer(status, Content::Empty { description })
    }

    pub(super) fn text_answer(self, media_type: &'static str) -> Self {
        self.with_answer("200", Content::Text { media_type })
    }

    /// Answers `304` to a request with the tag of an answer that has not changed.
    pub(super) fn cacheable(self) -> Self {
        self.empty_answer("304", "unchanged")
    }

    pub(super) fn problem(self, status: &'static str) -> Self {
        self.with_answer(status, Content::Problem)
    }

    fn with_answer(mut self, status: &'static str, content: Content) -> Self {
        self.answers.push(Answer { status, content });
        self
    }

    pub(super) fn query<T: JsonSchema>(
        mut self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        self.parameters.push(Parameter {
            name,
            location: "query",
            description,
            schema: ParameterSchema::Of(SchemaGenerator::subschema_for::<T>),
        });
        self
    }

    /// Takes a parameter whose schema is written out.
    pub(super) fn literal(
        mut self,
        location: &'static str,
        name: &'static str,
        description: &'static str,
        schema: Value,
    ) -> Self {
        self.parameters.push(Parameter {
            name,
            location,
            description,
            schema: ParameterSchema::Literal(schema),
        });
        self
    }

    pub(super) fn limit(self, default: u32, max: u32) -> Self {
        let schema = json!({ "type": "integer", "minimum": 1, "maximum": max, "default": default });
        self.literal("query", "limit", "the most that is returned", schema)
    }

    pub(super) fn wait(self, description: &'static str) -> Self {
        let schema = json!({ "type": "integer", "minimum": 0, "maximum": 30, "default": 0 });
        self.literal("query", "wait", description, schema)
    }

    pub(super) fn page_of_names<T: JsonSchema>(self) -> Self {
        self.limit(chatcore::MAX_NAMES, chatcore::MAX_NAMES)
            .query::<T>("after", "begin after this name")
    }

    /// Takes the position after which to begin, as an event stream does.
    pub(super) fn position(self) -> Self {
        self.query::<Seq>(
            "after",
            "the seq after which to begin; if no position is given, it begins with what comes next",
        )
        .query::<ChangeSeq>(
            "changes_after",
            "with after: the change after which to begin; no changes before now if left out",
        )
    }

    pub(super) fn describe(&self, schemas: &mut Schemas) -> Value {
        let mut described = json!({ "summary": self.summary });
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|parameter| parameter.describe(&mut schemas.requests))
            .collect();
        if !parameters.is_empty() {
            described["parameters"] = parameters.into();
        }
        if let Some(body) = &self.body {
            let schema = (body.schema)(&mut schemas.requests);
            described["requestBody"] = json!({
                "required": body.is_required,
                "content": { "application/json": { "schema": schema } },
            });
        }
        if self.needs_session {
            described["security"] = json!([{ "cookie": [] }, { "bearer": [] }]);
        }

        let mut responses = Map::new();
        for answer in &self.answers {
            let content = answer.content.describe(&mut schemas.answers);
            responses.insert(answer.status.to_owned(), content);
        }
        let problem = Content::Problem.describe(&mut schemas.answers);
        responses.insert("default".to_owned(), problem);
        described["responses"] = responses.into();
        described
    }
}

impl Parameter {
    fn describe(&self, schemas: &mut SchemaGenerator) -> Value {
        let schema = match &self.schema {
            ParameterSchema::Of(schema) => schema(schemas).to_value(),
            ParameterSchema::Literal(schema) => schema.clone(),
        };
        let mut described = json!({ "name": self.name, "in": self.location, "schema": schema });
        if self.location == "path" {
            described["required"] = true.into();
        }
        if !self.description.is_empty() {
            described["description"] = self.description.into();
        }
        described
    }
}

impl Content {
    fn describe(&self, schemas: &mut SchemaGenerator) -> Value {
        match self {
            Self::Empty { description } => json!({ "description": description }),
            Self::Json {
                description,
                schema,
            } => json!({
                "description": description,
                "content": { "application/json": { "schema": schema(schemas) } },
            }),
            Self::Text { media_type } => json!({
                "description": "ok",
                "content": { *media_type: { "schema": { "type": "string" } } },
            }),
            Self::Problem => json!({ "$ref": "#/components/responses/Problem" }),
        }
    }
}
