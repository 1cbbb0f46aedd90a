//! The cases of the Autobahn test suite for servers, on `/ws` of the real server.
//! <https://github.com/crossbario/autobahn-testsuite>
//!
//! The names are the suite's numbers. The suite wants its messages back; this server says nothing
//! back, so that a message which is read right shows by what the server makes of it: a post, padded
//! to the length or cut at the places that the case is about, comes back as a `message` with
//! exactly its text, and what can be no post is answered by one `error`. What must fail the
//! connection must fail it with the suite's code. Each case is heard to the end of the connection,
//! so that nothing is said that is not listed.
//!
//! These cases do not apply:
//!
//! | cases | why |
//! |---|---|
//! | 7.1.6, 9.1.2 to 9.1.6, 9.2.2 to 9.2.6, 9.3.\*, 9.4.\*, 9.5.\*, 9.6.\* | messages over 64 KiB, which the contract refuses; `limits` tests the refusal |
//! | 9.7.\*, 9.8.\* | 1,000 messages as fast as can be, timed; the contract reads 100 a second after the first 400 |
//! | 12.\*, 13.\* | compression, which the server does not take when it is offered |

#[path = "websocket/case.rs"]
mod case;
#[path = "support/peer.rs"]
mod peer;
mod support;
#[path = "websocket/utf8.rs"]
mod utf8;

use case::{
    Case, binary, case, close, close_because, cut_post, in_frames, long_post, message, more, ping,
    pong, post, refused, run, text,
};
use peer::Heard::{Message, Pong};
use peer::{Frame, announced};

/// Answers to what is no post.
const NOT_JSON: &str = "the frame is not valid JSON";
const EMPTY: &str = "the frame is empty; it must be a JSON object";
const BINARY: &str = "a frame must be text, a JSON object";
const HELLO: &str = "Hello, world!";
/// The second letter takes three bytes.
const KOSME: &str = "κ\u{1f79}σμε";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn framing() {
    let mut cases = vec![
        case("1.1.1")
            .send([text("")])
            .hear([refused(EMPTY)])
            .close(),
    ];
    let lengths = [125, 126, 127, 128, 65_535, 65_536, 65_536];
    for (i, length) in (2..).zip(lengths) {
        let name = format!("1.1.{i}");
        let (post, stars) = long_post(&name, length);
        let case = case(name);
        let case = if i == 8 { case.chopped(997) } else { case };
        cases.push(case.send([text(post)]).hear([message(&stars)]).close());
    }
    for (i, length) in (1..).zip([0].into_iter().chain(lengths)) {
        let case = case(format!("1.2.{i}"));
        let case = if i == 8 { case.chopped(997) } else { case };
        cases.push(
            case.send([binary(vec![0xfe; length])])
                .hear([refused(BINARY)])
                .close(),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_pongs() {
    let odd = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let answered = |name, payload: &[u8]| {
        case(name)
            .send([ping(payload)])
            .hear([Pong(payload.to_vec())])
    };
    let ten = || (0..10).map(|i| format!("payload-{i}"));
    let pongs = || ten().map(|payload| Pong(payload.into()));
    run(vec![
        answered("2.1", b"").close(),
        answered("2.2", HELLO.as_bytes()).close(),
        answered("2.3", odd).close(),
        answered("2.4", &[0xfe; 125]).close(),
        case("2.5").send([ping([0xfe; 126])]).closed(1002),
        answered("2.6", &[0xfe; 125]).chopped(1).close(),
        case("2.7").send([pong("")]).close(),
        case("2.8").send([pong("unsolicited pong payload")]).close(),
        case("2.9")
            .send([pong("unsolicited pong payload"), ping("ping payload")])
            .hear([Pong(b"ping payload".to_vec())])
            .close(),
        case("2.10").send(ten().map(ping)).hear(pongs()).close(),
        case("2.11")
            .chopped(1)
            .send(ten().map(ping))
            .hear(pongs())
            .close(),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserved_bits() {
    let hello = |bits| [text(HELLO), text(HELLO).reserved(bits), ping("")];
    run(vec![
        case("3.1").send([text(HELLO).reserved(1)]).closed(1002),
        case("3.2")
            .send(hello(2))
            .hear([refused(NOT_JSON)])
            .closed(1002),
        case("3.3")
            .send_each(hello(3))
            .hear([refused(NOT_JSON)])
            .closed(1002),
        case("3.4")
            .chopped(1)
            .send(hello(4))
            .hear([refused(NOT_JSON)])
            .closed(1002),
        case("3.5")
            .send([binary(*b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff").reserved(5)])
            .closed(1002),
        case("3.6").send([ping(HELLO).reserved(6)]).closed(1002),
        case("3.7")
            .send([Frame::new(8, "").reserved(7)])
            .closed(1002),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opcodes() {
    let mut cases = Vec::new();
    for (group, first) in [("4.1", 3), ("4.2", 11)] {
        let name = |i| format!("{group}.{i}");
        let after_hello = |i, payload| [text(HELLO), Frame::new(first + i, payload), ping("")];
        cases.extend([
            case(name(1)).send([Frame::new(first, "")]).closed(1002),
            case(name(2))
                .send([Frame::new(first + 1, "reserved opcode payload")])
                .closed(1002),
            case(name(3))
                .send(after_hello(2, ""))
                .hear([refused(NOT_JSON)])
                .closed(1002),
            case(name(4))
                .send(after_hello(3, HELLO))
                .hear([refused(NOT_JSON)])
                .closed(1002),
            case(name(5))
                .chopped(1)
                .send(after_hello(4, HELLO))
                .hear([refused(NOT_JSON)])
                .closed(1002),
        ]);
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragmentation() {
    let two = ["fragment1", "fragment2"];
    let five = [
        "fragment1",
        "fragment2",
        "fragment3",
        "fragment4",
        "fragment5",
    ];
    let with_ping = |name| {
        let mut frames = cut_post(name, &two);
        frames.insert(1, ping("ping payload"));
        frames
    };
    let pong = |payload: &str| Pong(payload.into());
    let both = || [pong("ping payload"), message("fragment1fragment2")];
    let nothing_to_continue = |frame: Frame| [frame, text(HELLO)];
    let lone = || more("non-continuation payload");
    let again = |frame: Frame| {
        let once = [frame, text("fragment2").begun(), more("fragment3")];
        [once.clone(), once].concat()
    };
    let mut cases = vec![
        case("5.1")
            .send([ping("fragment1").begun(), more("fragment2")])
            .closed(1002),
        case("5.2")
            .send([Frame::new(10, "fragment1").begun(), more("fragment2")])
            .closed(1002),
        case("5.3")
            .send(cut_post("5.3", &two))
            .hear([message(&two.concat())])
            .close(),
        case("5.4")
            .send_each(cut_post("5.4", &two))
            .hear([message(&two.concat())])
            .close(),
        case("5.5")
            .chopped(1)
            .send(cut_post("5.5", &two))
            .hear([message(&two.concat())])
            .close(),
        case("5.6").send(with_ping("5.6")).hear(both()).close(),
        case("5.7").send_each(with_ping("5.7")).hear(both()).close(),
        case("5.8")
            .chopped(1)
            .send(with_ping("5.8"))
            .hear(both())
            .close(),
        case("5.9").send(nothing_to_continue(lone())).closed(1002),
        case("5.10")
            .send_each(nothing_to_continue(lone()))
            .closed(1002),
        case("5.11")
            .chopped(1)
            .send(nothing_to_continue(lone()))
            .closed(1002),
        case("5.12")
            .send(nothing_to_continue(lone().begun()))
            .closed(1002),
        case("5.13")
            .send_each(nothing_to_continue(lone().begun()))
            .closed(1002),
        case("5.14")
            .chopped(1)
            .send(nothing_to_continue(lone().begun()))
            .closed(1002),
        case("5.15")
            .send(
                in_frames(two)
                    .into_iter()
                    .chain([more("fragment3").begun(), text("fragment4")]),
            )
            .hear([refused(NOT_JSON)])
            .closed(1002),
        case("5.16")
            .send(again(more("fragment1").begun()))
            .closed(1002),
        case("5.17").send(again(more("fragment1"))).closed(1002),
        case("5.18")
            .send([text("fragment1").begun(), text("fragment2")])
            .closed(1002),
    ];
    for (name, each) in [("5.19", false), ("5.20", true)] {
        let send = |case: Case, frames: Vec<Frame>| {
            if each {
                case.send_each(frames)
            } else {
                case.send(frames)
            }
        };
        let mut frames = cut_post(name, &five).into_iter();
        let mut next = |n: usize, payload| {
            frames
                .by_ref()
                .take(n)
                .chain([ping(payload)])
                .collect::<Vec<_>>()
        };
        let (first, second) = (next(2, "pongme 1!"), next(2, "pongme 2!"));
        // The first ping is answered before the rest of the message is sent.
        let case = send(case(name), first).hear([pong("pongme 1!")]);
        let case = send(case, second.into_iter().chain(frames).collect());
        cases.push(
            case.hear([pong("pongme 2!"), message(&five.concat())])
                .close(),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn utf8_in_whole_messages() {
    let cases = utf8::sequences().into_iter().map(|sequence| {
        let case = case(&sequence.name);
        if !sequence.valid {
            return case.send([text(sequence.bytes)]).closed(1007);
        }
        let said = String::from_utf8(sequence.bytes).expect("the list says so");
        // The text of a message has no control characters, so that these are read as they are.
        if said.contains(char::is_control) {
            return case.send([text(said)]).hear([refused(NOT_JSON)]).close();
        }
        case.send([text(post(&sequence.name, &said))])
            .hear([Message(said)])
            .close()
    });
    let cases: Vec<_> = cases.collect();
    assert_eq!(cases.len(), 132, "as many as the suite has");
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn utf8_in_fragments() {
    let hello = "Hello-µ@ßöäüàá-UTF-8!!";
    let (first, second) = ("Hello-µ@ßöä", "üàá-UTF-8!!");
    let octets = |bytes: Vec<u8>| in_frames(bytes.chunks(1));
    let surrogate = [KOSME.as_bytes(), b"\xed\xa0\x80edited"].concat();
    // From its 13th byte on it is no UTF-8.
    let too_far = [KOSME.as_bytes(), b"\xf4\x90\x80\x80edited"].concat();
    // The answer to a ping shows that what came before was taken; the end never comes.
    let fails_fast = |name, from: usize, to: usize| {
        let begin = [text(&too_far[..from]).begun(), ping("")];
        case(name)
            .send(begin)
            .hear([Pong(Vec::new())])
            .send([more(&too_far[from..to]).begun()])
            .closed(1007)
    };
    // No ping fits into a frame.
    let fails_fast_in_a_frame = |name, from: usize, to: usize| {
        let frame = text(too_far.clone()).bytes();
        let head = frame.len() - too_far.len();
        case(name)
            .bytes(&frame[..head + from])
            .bytes(&frame[head + from..head + to])
            .closed(1007)
    };
    let post_13 = post("6.1.3", "middle frame payload");
    let mut cases = vec![
        case("6.1.1")
            .send([text("")])
            .hear([refused(EMPTY)])
            .close(),
        case("6.1.2")
            .send(in_frames(["", "", ""]))
            .hear([refused(EMPTY)])
            .close(),
        case("6.1.3")
            .send(in_frames([b"", post_13.as_slice(), b""]))
            .hear([message("middle frame payload")])
            .close(),
        case("6.2.1")
            .send([text(post("6.2.1", hello))])
            .hear([message(hello)])
            .close(),
        case("6.2.2")
            .send(cut_post("6.2.2", &[first, second]))
            .hear([message(hello)])
            .close(),
        case("6.2.3")
            .send(octets(post("6.2.3", hello)))
            .hear([message(hello)])
            .close(),
        case("6.2.4")
            .send(octets(post("6.2.4", KOSME)))
            .hear([message(KOSME)])
            .close(),
        case("6.3.1").send([text(surrogate.clone())]).closed(1007),
        case("6.3.2").send(octets(surrogate)).closed(1007),
        fails_fast("6.4.1", 11, 15),
        fails_fast("6.4.2", 12, 13),
        fails_fast_in_a_frame("6.4.3", 11, 15),
        fails_fast_in_a_frame("6.4.4", 12, 13),
    ];
    // Beyond the suite: each sequence cut everywhere, and with its end in a frame of its own.
    for sequence in utf8::sequences() {
        let name = |how: &str| format!("{} {how}", sequence.name);
        let bytes = &sequence.bytes;
        if !sequence.valid {
            cases.push(
                case(name("in octets"))
                    .send(octets(bytes.clone()))
                    .closed(1007),
            );
            cases.push(
                case(name("and an empty end"))
                    .send(in_frames([bytes.as_slice(), b""]))
                    .closed(1007),
            );
        } else if let Ok(said) = std::str::from_utf8(bytes)
            && !said.contains(char::is_control)
        {
            let name = name("in octets");
            let frames = octets(post(&name, said));
            // Pings and empty frames in the middle of a character change nothing.
            let frames = frames.into_iter().flat_map(|frame| match frame {
                frame if frame.is_last() => vec![frame],
                frame => vec![frame, ping(""), more("").begun()],
            });
            let frames: Vec<_> = frames.collect();
            let pongs = vec![Pong(Vec::new()); frames.len() / 3];
            cases.push(
                case(name)
                    .send(frames)
                    .hear(pongs)
                    .hear([message(said)])
                    .close(),
            );
        }
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing() {
    let edited = [KOSME.as_bytes(), b"\xed\xa0\x80edited"].concat();
    let parts = in_frames(["fragment1", "fragment2"]);
    let mut cases = vec![
        case("7.1.1")
            .send([text("Hello World!")])
            .hear([refused(NOT_JSON)])
            .close(),
        case("7.1.2")
            .send([close(1000), Frame::new(8, "")])
            .closed(1000),
        case("7.1.3").send([close(1000), ping("")]).closed(1000),
        case("7.1.4")
            .send([close(1000), text("Hello World!")])
            .closed(1000),
        case("7.1.5")
            .send([parts[0].clone(), close(1000), parts[1].clone()])
            .closed(1000),
        case("7.3.1").send([Frame::new(8, "")]).closed(None),
        case("7.3.2").send([Frame::new(8, "a")]).closed(1002),
        case("7.3.3").send([close(1000)]).closed(1000),
        case("7.3.4")
            .send([close_because(1000, b"Hello World!")])
            .closed(1000),
        case("7.3.5")
            .send([close_because(1000, &[b'*'; 123])])
            .closed(1000),
        case("7.3.6")
            .send([close_because(1000, &[b'*'; 124])])
            .closed(1002),
        case("7.5.1")
            .send([close_because(1000, &edited)])
            .closed(1007),
        // The suite leaves open how these are answered.
        case("7.13.1").send([close(5000)]).closed(1002),
        case("7.13.2").send([close(65_535)]).closed(1002),
    ];
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    cases.extend(
        (1..)
            .zip(valid)
            .map(|(i, code)| case(format!("7.7.{i}")).send([close(code)]).closed(code)),
    );
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    cases.extend(
        (1..)
            .zip(invalid)
            .map(|(i, code)| case(format!("7.9.{i}")).send([close(code)]).closed(1002)),
    );
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits() {
    let (post, stars) = long_post("9.1.1", 65_536);
    let (fragmented, stars_in_fragments) = long_post("10.1.1", 65_536);
    let kilobytes = |n| vec![[b'*'; 1024]; n];
    let binary_kilobytes = |n| {
        let mut frames = in_frames(kilobytes(n));
        frames[0] = binary([b'*'; 1024]).begun();
        frames
    };
    let mut cases = vec![
        case("9.1.1")
            .send([text(post)])
            .hear([message(&stars)])
            .close(),
        case("9.2.1")
            .send([binary(vec![0xfe; 65_536])])
            .hear([refused(BINARY)])
            .close(),
        case("10.1.1")
            .send(in_frames(fragmented.chunks(1300)))
            .hear([message(&stars_in_fragments)])
            .close(),
        case("64 fragments")
            .send(in_frames(kilobytes(64)))
            .hear([refused(NOT_JSON)])
            .close(),
        case("65 fragments")
            .send(in_frames(kilobytes(65)))
            .closed(1009),
        case("64 binary fragments")
            .send(binary_kilobytes(64))
            .hear([refused(BINARY)])
            .close(),
        case("65 binary fragments")
            .send(binary_kilobytes(65))
            .closed(1009),
    ];
    // Refused by its head; nothing of it is read or waited for.
    for length in [65_537, 1 << 18, 1 << 24, 1 << 32, u64::MAX >> 1, u64::MAX] {
        cases.push(
            case(format!("a frame of {length}"))
                .bytes(announced(length))
                .closed(1009),
        );
    }
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_suite_does_not_try() {
    let said = "one κόσμος";
    let whole = post("slow", said);
    // In the middle of a character.
    let at = whole.len() - 3;
    let cut = in_frames([&whole[..at], &whole[at..]]);
    let slow = [cut[0].clone(), ping("1"), pong("2"), cut[1].clone()];
    let bytes = in_frames([[0xce], [0xff]]);
    let mixed = [
        binary([0xce]).begun(),
        ping("1"),
        bytes[1].clone(),
        text(post("mixed", "x")),
    ];
    run(vec![
        case("unmasked text")
            .send([text(HELLO).unmasked()])
            .closed(1002),
        case("unmasked empty text")
            .send([text("").unmasked()])
            .closed(1002),
        case("unmasked binary")
            .send([binary(HELLO).unmasked()])
            .closed(1002),
        case("unmasked rest")
            .send([text("a").begun(), more("b").unmasked()])
            .closed(1002),
        case("unmasked ping")
            .send([ping("").unmasked()])
            .closed(1002),
        case("unmasked close")
            .send([close(1000).unmasked()])
            .closed(1002),
        case("close in two")
            .send([close(1000).begun(), more("")])
            .closed(1002),
        case("long pong").send([pong([0; 126])]).closed(1002),
        case("length 5 in 2 bytes")
            .send([text("12345").with_length_in(2)])
            .closed(1002),
        case("length 5 in 8 bytes")
            .send([text("12345").with_length_in(8)])
            .closed(1002),
        case("length 126 in 8 bytes")
            .send([text([b'*'; 126]).with_length_in(8)])
            .closed(1002),
        case("length 65535 in 8 bytes")
            .send([text([b'*'; 65_535]).with_length_in(8)])
            .closed(1002),
        case("ping with its length in 2 bytes")
            .send([ping("1").with_length_in(2)])
            .closed(1002),
        case("binary in text")
            .send([text("a").begun(), binary("b")])
            .closed(1002),
        case("slow")
            .chopped(1)
            .send(slow)
            .hear([Pong(b"1".to_vec()), message(said)])
            .close(),
        case("mixed")
            .send(mixed)
            .hear([Pong(b"1".to_vec()), refused(BINARY), message("x")])
            .close(),
    ])
    .await;
}
