use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::error::Invalid;
use crate::session::SessionId;
use crate::testing;
use crate::timestamp::Timestamp;

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
    let message = testing::message(7);
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

/// Writes a value as JSON, reads it again, and checks that it is the same.
fn check_round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("JSON");
    let read: T = serde_json::from_str(&json).expect(&json);
    assert_eq!(&read, value, "{json}");
}

#[test]
fn every_message_is_read_as_it_is_written() {
    let plain = testing::message(7);
    let full = Message {
        change: ChangeSeq::new(3),
        content: Some(Content {
            verified: true,
            reply_to: Seq::new(2),
            mentions: vec!["bob".parse().expect("a name")],
            edited_at: Some(Timestamp::MAX),
            reactions: vec![Reaction {
                emoji: "👍".parse().expect("an emoji"),
                count: 12,
                users: vec!["cy".parse().expect("a name")],
            }],
            ..testing::content("\"x\"\n")
        }),
        ..plain.clone()
    };
    let deleted = Message {
        content: None,
        ..full.clone()
    };

    for message in [plain, full, deleted] {
        check_round_trip(&message);
    }
}

#[test]
fn rooms_are_read_as_they_are_written() {
    let bare = Room {
        name: "a".parse().expect("a name"),
        last_seq: Seq::ZERO,
        last_change: ChangeSeq::ZERO,
        last_timestamp: None,
        created_at: Timestamp::EPOCH,
        members: 1,
        private: false,
        owner: None,
        topic: None,
    };
    check_round_trip(&Room {
        last_timestamp: Some(Timestamp::MAX),
        private: true,
        owner: Some("ann".parse().expect("a name")),
        topic: Some("plants".parse().expect("a topic")),
        ..bare.clone()
    });
    check_round_trip(&bare);
    check_round_trip(&UserRoom {
        room: bare.name,
        last_seq: Seq::new(9).expect("a seq"),
        read_seq: Seq::new(4).expect("a seq"),
        mentions: 2,
    });
    check_round_trip(&Privacy::Private);
}

#[test]
fn values_are_read_by_the_rules_of_parsing() {
    fn check<T>(good: &str, bad: &str)
    where
        T: FromStr<Err = Invalid>
            + TryFrom<String, Error = Invalid>
            + for<'a> TryFrom<&'a str, Error = Invalid>
            + for<'de> Deserialize<'de>
            + PartialEq
            + fmt::Debug,
    {
        let value: T = good.parse().expect(good);
        assert_eq!(T::try_from(good).as_ref(), Ok(&value));
        assert_eq!(T::try_from(good.to_owned()).as_ref(), Ok(&value));
        let read = serde_json::from_value::<T>(good.into());
        assert_eq!(read.expect("read"), value);

        let refused = bad.parse::<T>().expect_err(bad);
        assert_eq!(T::try_from(bad).as_ref(), Err(&refused));
        assert_eq!(T::try_from(bad.to_owned()).as_ref(), Err(&refused));
        let read = serde_json::from_value::<T>(bad.into());
        assert_eq!(read.expect_err(bad).to_string(), refused.to_string());
    }

    check::<RoomName>("a b", "a/b");
    check::<Username>("ann", "a b");
    check::<MessageText>(" x", " ");
    check::<Nonce>("1", "");
    check::<Topic>("", "a\n");
    check::<Emoji>("👍", "thumb");
    check::<Timestamp>("2026-11-22T20:07:52.743123Z", "today");
    check::<SessionId>(&"0a".repeat(16), "0a");
}

#[test]
fn numbers_are_whole_and_not_negative() {
    let read = |json: &str| serde_json::from_str::<Seq>(json);
    assert_eq!(read("7").expect("a seq"), Seq::new(7).expect("a seq"));
    assert_eq!(
        read("-1").expect_err("negative").to_string(),
        "seq must be a whole number from 0 up"
    );
    for json in ["1.5", "\"7\"", "9223372036854775808"] {
        assert!(read(json).is_err(), "{json}");
    }
    assert_eq!(
        reason::<ChangeSeq>("x"),
        "change must be a whole number from 0 up"
    );
}
