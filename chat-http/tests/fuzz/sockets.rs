//! Random frames on a socket: an answer or an end in good order, never a panic, never a `500`.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::peer::{Frame, Heard, Peer};
use crate::values::{field, text, written};
use crate::{SOON, run};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// Strategy for texts that look like frames that the server knows.
fn said() -> impl Strategy<Value = Vec<u8>> {
    let known = vec![
        "subscribe",
        "subscribe",
        "unsubscribe",
        "post",
        "post",
        "typing",
        "read",
    ];
    let kind = prop_oneof![
        19 => prop::sample::select(known).prop_map(|kind| json!(kind).to_string()),
        1 => written(),
    ];
    let fields = (
        field("room", vec![r#""a""#, r#""b""#, r#""$where""#]),
        field(
            "text",
            vec![r#""x""#, r#""{\"$gt\":\"\"}""#, r#""\ud83d\ude00""#],
        ),
        field("nonce", vec![r#""1""#, r#""2""#, "null"]),
        field("sender", vec![r#""ann""#, r#""eve""#, "null", "null"]),
        field("after", vec!["0", "1", "null"]),
        field("seq", vec!["0", "1", "2"]),
        field("changes_after", vec!["0", "1", "null", "null"]),
        field("reply_to", vec!["1", "null", "null", "null"]),
    );
    // One of them twice.
    let names = vec![
        "type",
        "room",
        "text",
        "nonce",
        "sender",
        "after",
        "seq",
        "changes_after",
        "reply_to",
    ];
    let twice = prop::option::weighted(0.1, (prop::sample::select(names), written()));
    // Broken somewhere, too.
    let breaks = prop::option::weighted(0.1, (any::<prop::sample::Index>(), any::<u8>()));
    (kind, fields, twice, breaks).prop_map(|(kind, (a, b, c, d, e, f, g, h), twice, breaks)| {
        let twice = twice
            .map(|(name, value)| format!(r#","{name}":{value}"#))
            .unwrap_or_default();
        let mut said = format!(r#"{{"type":{kind}{a}{b}{c}{d}{e}{f}{g}{h}{twice}}}"#).into_bytes();
        if let Some((at, byte)) = breaks {
            let at = at.index(said.len());
            said[at] = byte;
        }
        said
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn frame() -> impl Strategy<Value = Frame> {
    let any_form = (any::<u8>(), bytes(), any::<bool>(), any::<bool>(), 0..8_u8);
    prop_oneof![
        24 => said().prop_map(|said| Frame::new(TEXT, said)),
        4 => text().prop_map(|text| Frame::new(TEXT, text)),
        1 => bytes().prop_map(|bytes| Frame::new(TEXT, bytes)),
        2 => bytes().prop_map(|bytes| Frame::new(2, bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..130).prop_map(|bytes| Frame::new(9, bytes)),
        2 => any_form.prop_map(|(opcode, bytes, begun, masked, reserved)| {
            let frame = Frame::new(opcode % 16, bytes).reserved(reserved);
            let frame = if begun { frame.begun() } else { frame };
            if masked { frame } else { frame.unmasked() }
        }),
    ]
}

/// Some messages come in two frames.
fn frames(most: usize) -> impl Strategy<Value = Vec<Frame>> {
    let cut = (said(), any::<prop::sample::Index>()).prop_map(|(said, at)| {
        let (start, end) = said.split_at(at.index(said.len()));
        vec![Frame::new(TEXT, start).begun(), Frame::new(0, end)]
    });
    let piece = prop_oneof![4 => frame().prop_map(|frame| vec![frame]), 1 => cut];
    prop::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

fn in_a_row(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

/// Checks what the server says, which is never that it failed.
fn check(payload: &[u8]) -> Result<Value, TestCaseError> {
    let said: Value =
        serde_json::from_slice(payload).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let kind = said["type"].as_str().unwrap_or_default();
    let known = [
        "subscribed",
        "message",
        "changed",
        "resync",
        "mention",
        "rooms",
        "room",
        "posted",
        "typing",
        "presence",
        "read",
        "error",
    ];
    prop_assert!(known.contains(&kind), "{}", said);
    if kind == "error" {
        prop_assert!(
            said["status"]
                .as_u64()
                .is_some_and(|status| (400..500).contains(&status)),
            "{}",
            said
        );
    }
    Ok(said)
}

/// Listens until the server has answered the last post, or has closed.
async fn is_answered_or_closed(peer: &mut Peer) -> TestCaseResult {
    loop {
        match timeout(SOON, peer.frame()).await {
            Ok(Ok((TEXT, payload))) => {
                let said = check(&payload)?;
                if said["type"] == "posted" && said["nonce"] == "the end" {
                    return Ok(());
                }
            }
            Ok(Ok((CLOSE, _))) => return Ok(()),
            Ok(Ok(_)) => {}
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
}

#[test]
fn any_frame_is_answered() {
    run(
        (frames(8), any::<bool>()),
        async |target, (frames, logged_in)| {
            let (cookie, sender) = if logged_in {
                (Some(&*target.ann), "ann")
            } else {
                (None, "eve")
            };
            let mut peer = Peer::connect(target.server.address, cookie).await;
            peer.write(&in_a_row(&frames)).await;
            let last = json!({ "type": "post", "room": "end", "sender": sender, "text": "x", "nonce": "the end" });
            peer.write(&Frame::new(TEXT, last.to_string()).bytes())
                .await;
            is_answered_or_closed(&mut peer).await
        },
    );
}

#[test]
fn any_bytes_after_the_handshake_are_survived() {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    run(
        (frames(3), bytes(), flips),
        async |target, (frames, rest, flips)| {
            let mut bytes = [in_a_row(&frames), rest].concat();
            for (at, byte) in flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            let mut peer = Peer::connect(target.server.address, None).await;
            peer.write(&bytes).await;
            peer.finish().await;
            // It may end in the middle of a frame, and is answered or not; but it ends.
            loop {
                match timeout(SOON, peer.frame()).await {
                    Ok(Ok((TEXT, payload))) => check(&payload).map(drop)?,
                    Ok(Ok(_)) => {}
                    Ok(Err(Heard::End)) => return Ok(()),
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
            }
        },
    );
}
