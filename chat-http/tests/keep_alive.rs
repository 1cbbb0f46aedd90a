//! Connections that go on after a refusal, or say that they do not.
//!
//! On SQLite only: these requests are refused before a store is asked.

mod support;

use std::net::SocketAddr;

use chat_testkit::http::raw;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use support::Running;

const FOREIGN: &str = "origin: http://evil.example\r\n";

/// A client that sends all of a request before it reads, and its next request on the same
/// connection.
struct KeepAlive {
    stream: TcpStream,
    address: SocketAddr,
}

impl KeepAlive {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.expect("a connection"),
            address,
        }
    }

    /// Sends a request and returns the head of the answer, in lower case, after all of its body.
    async fn ask(&mut self, line: &str, headers: &str, body: &[u8]) -> String {
        let head = format!("{line} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.address);
        self.stream
            .write_all(head.as_bytes())
            .await
            .expect("the head is sent");
        self.stream.write_all(body).await.expect("the body is sent");

        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.stream.read_u8().await.expect("the head of an answer"));
        }
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.expect("a length").parse().expect("a number");
        self.stream
            .read_exact(&mut vec![0; length])
            .await
            .expect("the body of the answer");
        head
    }

    async fn is_still_served(&mut self) -> bool {
        self.ask("GET /healthz", "", b"")
            .await
            .starts_with("http/1.1 200 ")
    }

    async fn has_ended(&mut self) -> bool {
        // A reset says the same as an end.
        !matches!(self.stream.read(&mut [0]).await, Ok(1))
    }
}

/// Requests that are refused before their body is wanted, or whose body nobody wants.
const UNWANTED: [(&str, &str, &str); 6] = [
    ("POST /chat/a/messages", FOREIGN, "403"),
    ("POST /nothing", "", "404"),
    ("POST /chat/%zz/messages", "", "400"),
    ("DELETE /auth/login", "", "405"),
    ("GET /chat/a/messages", "", "200"),
    ("POST /rooms", FOREIGN, "403"),
];

#[tokio::test]
async fn the_next_request_is_answered_after_a_refusal() {
    let server = Running::sqlite().await;
    for (line, headers, status) in UNWANTED {
        for size in [1, 60_000, 1_000_000] {
            let mut client = KeepAlive::connect(server.address).await;
            let length = format!("{headers}content-length: {size}\r\n");
            let head = client.ask(line, &length, &vec![b'x'; size]).await;
            assert!(
                head.starts_with(&format!("http/1.1 {status} ")),
                "{line} of {size}: {head}"
            );
            assert!(
                !head.contains("connection: close"),
                "{line} of {size}: {head}"
            );
            assert!(client.is_still_served().await, "{line} of {size}");
        }

        let mut client = KeepAlive::connect(server.address).await;
        let chunked = format!("{headers}transfer-encoding: chunked\r\n");
        let head = client.ask(line, &chunked, b"5\r\nhello\r\n0\r\n\r\n").await;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{line} in chunks: {head}"
        );
        assert!(client.is_still_served().await, "{line} in chunks");
    }

    // Wanted, and too large.
    let mut client = KeepAlive::connect(server.address).await;
    let head = client
        .ask("POST /rooms", "content-length: 70000\r\n", &[b'x'; 70_000])
        .await;
    assert!(
        head.starts_with("http/1.1 413 ") && client.is_still_served().await,
        "{head}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_to_discard_ends_the_connection_after_the_answer_is_read() {
    let server = Running::sqlite().await;
    let large = vec![b'x'; 8 * 1024 * 1024];
    for (line, headers, status) in UNWANTED.into_iter().chain([("POST /rooms", "", "413")]) {
        let mut client = KeepAlive::connect(server.address).await;
        let length = format!("{headers}content-length: {}\r\n", large.len());
        let head = client.ask(line, &length, &large).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{line}: {head}"
        );
        assert!(
            head.contains("connection: close") && client.has_ended().await,
            "{line}: {head}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_not_asked_for_a_body_that_is_refused() {
    let server = Running::sqlite().await;
    for (line, headers, status) in UNWANTED {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: 9\r\nexpect: 100-continue\r\n\r\n",
            server.address
        );
        let answer = raw(server.address, request.as_bytes(), |_| false).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(answer.contains("connection: close"), "{line}: {answer}");
    }
    server.stop().await;
}
