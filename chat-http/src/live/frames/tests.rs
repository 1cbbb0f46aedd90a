//! The types of the wire beside what the server reads and writes.

use chat_client::wire::{ClientFrame, NewMessage};

use super::*;

/// A command, as the frame that it was read from.
fn frame_of(command: Command) -> ClientFrame {
    match command {
        Command::Subscribe(Subscribe {
            room,
            after,
            changes_after,
            drawn: Drawn { html, line },
        }) => ClientFrame::Subscribe {
            room: room.to_string(),
            after: after.map(Seq::get),
            changes_after: changes_after.map(ChangeSeq::get),
            html,
            line,
        },
        Command::Unsubscribe { room } => ClientFrame::Unsubscribe {
            room: room.to_string(),
        },
        Command::Post(post) => {
            let mut message = NewMessage::new(post.text.as_str());
            message.sender = post.sender.map(|name| name.to_string());
            message.nonce = post.nonce.map(|nonce| nonce.to_string());
            message.reply_to = post.reply_to.map(Seq::get);
            ClientFrame::Post {
                room: post.room.to_string(),
                message,
            }
        }
        Command::Typing { room } => ClientFrame::Typing {
            room: room.to_string(),
        },
        Command::Read { room, seq } => ClientFrame::Read {
            room: room.to_string(),
            seq: seq.get(),
        },
        Command::Ping => ClientFrame::Ping,
    }
}

#[test]
fn every_frame_of_a_client_is_read_as_it_is_written() {
    let room = || "a room".to_owned();
    let message = NewMessage::new("hello\n\"you\"").from_sender("ann");
    let frames = [
        ClientFrame::Ping,
        ClientFrame::Subscribe {
            room: room(),
            after: None,
            changes_after: None,
            html: false,
            line: false,
        },
        ClientFrame::Subscribe {
            room: room(),
            after: Some(7),
            changes_after: Some(0),
            html: true,
            line: true,
        },
        ClientFrame::Unsubscribe { room: room() },
        ClientFrame::Post {
            room: room(),
            message: NewMessage::new("hello"),
        },
        ClientFrame::Post {
            room: room(),
            message: message.with_nonce("a1").in_reply_to(3),
        },
        ClientFrame::Typing { room: room() },
        ClientFrame::Read {
            room: room(),
            seq: 9,
        },
    ];

    for frame in frames {
        let text = serde_json::to_string(&frame).expect("JSON");
        let command = Request::parse(&text).command.expect(&text);
        assert_eq!(frame_of(command), frame, "{text}");
    }
}

#[test]
fn a_refusal_names_the_request_that_it_answers() {
    let request = Request::parse(r#"{"type": "post", "room": "a", "nonce": "n"}"#);
    let error = request.command.expect_err("no text");
    let frame: ServerFrame =
        serde_json::from_slice(&refusal(&request.subject, &error)).expect("a frame");
    let expected = ServerFrame::Error {
        room: Some("a".to_owned()),
        nonce: Some("n".to_owned()),
        status: 400,
        detail: "text is missing".to_owned(),
    };
    assert_eq!(frame, expected);
}
