use super::*;

fn reason<T: FromStr<Err = Invalid> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(text).to_string()
}

#[test]
fn names_keep_what_people_write() {
    let long = "ü".repeat(64);
    for text in [
        "general",
        "a b",
        "quote\"'",
        "$where",
        "a.b",
        "😀🇨🇭",
        "100%",
        "a%2Fb",
        "<script>",
        "{x}",
        long.as_str(),
    ] {
        assert_eq!(text.parse::<RoomName>().expect(text).as_str(), text);
    }
    assert_ne!("Room".parse::<RoomName>(), "room".parse::<RoomName>());
}

#[test]
fn names_are_compared_after_nfc() {
    assert_eq!("e\u{301}".parse::<RoomName>(), "é".parse::<RoomName>());
    // 128 characters before normalisation, 64 after.
    assert!("e\u{301}".repeat(64).parse::<Username>().is_ok());
}

#[test]
fn a_refused_name_says_which_and_why() {
    assert_eq!(reason::<RoomName>(""), "room must not be empty");
    assert_eq!(
        reason::<RoomName>(&"x".repeat(65)),
        "room must be at most 64 characters"
    );
    assert_eq!(reason::<RoomName>("a/b"), "room must not contain /");
    assert_eq!(
        reason::<RoomName>(" a"),
        "room must not begin or end with white space"
    );
    assert_eq!(
        reason::<RoomName>("a\u{2003}"),
        "room must not begin or end with white space"
    );
    assert_eq!(reason::<RoomName>(".."), "room must not be . or ..");
    assert_eq!(
        reason::<RoomName>("a\nb"),
        "room must not contain the control character U+000A"
    );
    assert_eq!(
        reason::<Username>("a b"),
        "username must not contain white space"
    );
    assert_eq!(
        reason::<Username>("a\u{a0}b"),
        "username must not contain white space"
    );
}

#[test]
fn a_text_may_have_lines_and_tabs_but_no_other_control_character() {
    for text in ["x", " x", "a\n\tb", &"😀".repeat(4_000)] {
        assert_eq!(text.parse::<MessageText>().expect(text).as_str(), text);
    }
    assert_eq!(reason::<MessageText>(""), "text must not be empty");
    assert_eq!(
        reason::<MessageText>(" \n\t\u{3000}"),
        "text must contain a character that is not white space"
    );
    assert_eq!(
        reason::<MessageText>(&"x".repeat(4_001)),
        "text must be at most 4000 characters"
    );
    assert_eq!(
        reason::<MessageText>("a\r\nb"),
        "text must not contain the control character U+000D"
    );
    assert_eq!(
        reason::<MessageText>("a\0"),
        "text must not contain the control character U+0000"
    );
}

#[test]
fn a_nonce_has_1_to_64_characters() {
    assert!("a b".parse::<Nonce>().is_ok());
    assert_eq!(reason::<Nonce>(""), "nonce must not be empty");
    assert_eq!(
        reason::<Nonce>(&"n".repeat(65)),
        "nonce must be at most 64 characters"
    );
}

#[test]
fn a_message_is_written_flat_and_a_deleted_one_with_an_empty_sender_and_text() {
    let message = crate::testing::message(7);
    let json = |message: &Message| serde_json::to_string(message).expect("JSON");
    let whole = r#"{"room":"a","seq":7,"sender":"ann","text":"7","timestamp":"1970-01-01T00:00:00.000070Z","verified":false}"#;
    assert_eq!(json(&message), whole);
    let deleted = r#"{"room":"a","seq":7,"sender":"","text":"","timestamp":"1970-01-01T00:00:00.000070Z","verified":false,"deleted":true}"#;
    assert_eq!(
        json(&Message {
            content: None,
            ..message.clone()
        }),
        deleted
    );
}
