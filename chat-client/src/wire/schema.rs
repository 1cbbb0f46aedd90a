//! JSON schemas of the values that a client sends, with the limits that the server checks.
//!
//! A type here stands for a string or a number of the wire, so that a schema has one definition of
//! each, however many fields have it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! values {
    ($($(#[doc = $doc:literal])+ $name:ident: $inline:literal, { $($schema:tt)* })*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                $inline
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ $($schema)* })
            }
        }
    )*};
}

values! {
    /// Name of a room.
    RoomName: false, {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": r"^(?!\.\.?$)[^\s/\u0000-\u001f\u007f-\u009f](?:[^/\u0000-\u001f\u007f-\u009f]{0,62}[^\s/\u0000-\u001f\u007f-\u009f])?$",
        "description": "1 to 64 characters after Unicode NFC, case-sensitive; no control characters, no /, no white space at either end, not . or ..",
    }
    /// Name of a user.
    Username: false, {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": r"^(?!\.\.?$)[^\s/\u0000-\u001f\u007f-\u009f]{1,64}$",
        "description": "1 to 64 characters after Unicode NFC, case-sensitive; no control characters, no /, no white space, not . or ..",
    }
    /// The number of a message in its room; 0 is before the first message.
    Seq: false, {
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "maximum": i64::MAX,
        "description": "the number of a message in its room; 0 is before the first",
    }
    /// The number of a message, or of a change to one.
    MessageSeq: true, {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "maximum": i64::MAX,
    }
    /// The number of a change in a room; 0 is before the first.
    ChangeSeq: false, {
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "maximum": i64::MAX,
        "description": "the number of a change in a room; 0 is before the first",
    }
    /// Text of a message.
    Text: false, {
        "type": "string",
        "minLength": 1,
        "maxLength": 4000,
        "pattern": r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$",
        "description": "1 to 4,000 characters, one of which is no white space; no control characters but newline and tab",
    }
    /// Subject of a room.
    Topic: false, {
        "type": "string",
        "maxLength": 200,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
        "description": "at most 200 characters, no control characters; an empty one says nothing",
    }
    /// One emoji.
    Emoji: false, {
        "type": "string",
        "format": "emoji",
        "minLength": 1,
        "description": "one emoji that Unicode recommends, skin tones and sequences included",
        "examples": ["\u{1f44d}"],
    }
    /// A client's own name for a post.
    Nonce: false, {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$",
        "description": "1 to 64 characters, no control characters",
    }
    /// A password of an account.
    Password: false, {
        "type": "string",
        "minLength": 8,
        "maxLength": 256,
        "description": "8 to 256 characters after Unicode NFC",
    }
    /// The id of a session.
    SessionId: true, {
        "type": "string",
        "pattern": "^[0-9a-fA-F]{32}$",
    }
    /// A time: RFC 3339.
    Timestamp: true, {
        "type": "string",
        "format": "date-time",
    }
    /// A flag that is given only where it is set.
    True: true, {
        "const": true,
    }
}
