//! Values that somebody might take for something else.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Pieces that mean something to somebody.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z0-9]{0,8}",
        "%[0-9a-fA-F]{2}",
        prop::sample::select(vec![
            "%",
            "%0d%0ax-injected:1",
            "%00",
            "%2e%2e",
            "..",
            "/",
            "//",
            "\\",
            "%2f",
            "%ff",
            "%c3%28",
            "%ed%a0%80",
            "+",
            "&",
            "=",
            "?",
            "#",
            ";",
            "$where",
            "{\"$gt\":\"\"}",
            "[$ne]",
            "<script>alert(1)</script>",
            "%3Cscript%3Ealert(1)%3C/script%3E",
            "'",
            "\"",
            "{x}",
            "{{",
            "-1",
            "99999999999999999999",
            "1e9",
            "2026-11-22T20:07:52Z",
            "after",
            "before",
            "since",
            "limit",
            "wait=0",
            "chat",
            "rooms",
            "messages",
            "/messages/1",
            "/messages/1/reactions/",
            "/messages/1/reactions/%F0%9F%91%8D",
            "/changes",
            "mentions",
            "static",
            "users",
            "auth",
            "sessions",
            "count",
            "login",
            "\u{202e}",
            "\u{feff}",
            "A\u{30a}",
        ])
        .prop_map(str::to_owned),
    ]
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        text().prop_map(Value::from),
        Just(json!({ "$gt": "" })),
        Just(json!({ "$where": "sleep(1000)" })),
        Just(json!(["ann"])),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(text(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// The value of a field as it is written: valid JSON or not.
pub(crate) fn written() -> impl Strategy<Value = String> {
    let lengths = vec![63, 64, 65, 255, 256, 257, 4_000, 4_001, 66_000];
    prop_oneof![
        4 => prop::sample::select(vec![r#""a""#, r#""b""#, r#""ann""#, r#""eve""#, r#""x""#, "0", "1"])
            .prop_map(str::to_owned),
        4 => value().prop_map(|value| value.to_string()),
        2 => prop::sample::select(vec![
            r#"{"$gt":""}"#,
            r#"{"$ne":null}"#,
            r#""a\r\nx-injected: 1""#,
            r#""\ud800""#,
            r#""\udc00\ud800""#,
            r#""\u0000""#,
            r#""\x""#,
            "\"\r\n\"",
            "9007199254740993",
            "9223372036854775808",
            "123456789012345678901234567890",
            "-1",
            "-0",
            "1.5",
            "1e999",
            "NaN",
            "",
            "}",
        ])
        .prop_map(str::to_owned),
        1 => prop::sample::select(lengths).prop_map(|length| json!("x".repeat(length)).to_string()),
        1 => (1..300_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
    ]
}

/// A field with its name: one of these values, anything, or nothing.
pub(crate) fn field(name: &'static str, right: Vec<&'static str>) -> impl Strategy<Value = String> {
    prop_oneof![
        12 => prop::sample::select(right).prop_map(str::to_owned),
        2 => written(),
        1 => Just(String::new()),
    ]
    .prop_map(move |value| {
        if value.is_empty() {
            value
        } else {
            format!(r#","{name}":{value}"#)
        }
    })
}
