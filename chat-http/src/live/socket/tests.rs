//! Sockets whose client, clock and requests do as the test says.

use std::task::Poll;

use futures_util::{FutureExt as _, SinkExt as _};
use tokio_tungstenite::WebSocketStream as Client;
use tokio_tungstenite::tungstenite::Message as ClientFrame;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::transport::CLOSE_TIMEOUT;
use super::*;
use crate::Settings;
use crate::live::request_queue::{Order, Outcome};
use crate::write_timeout::{WRITE_TIMEOUT, WriteTimeout};

const MINUTE: Duration = Duration::from_secs(60);

/// A socket, and the stream of its client.
async fn open() -> (
    tokio::io::DuplexStream,
    Socket<WriteTimeout<tokio::io::DuplexStream>>,
    tempfile::TempDir,
) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("chat.db");
    let store = chatcore::ChatStore::open(path.to_str().expect("UTF-8"))
        .await
        .expect("a store");

    let app = App::new(store, Settings::default());
    let peer = Peer {
        network: std::net::IpAddr::from([127, 0, 0, 1]).into(),
        language: Language::English,
    };
    let (client, server) = tokio::io::duplex(64 * 1024);
    let socket = Socket::new(app, None, peer, Transport::new(WriteTimeout::new(server)));
    (client, socket, folder)
}

/// A socket whose client is the returned stream, and its end.
async fn serve() -> (
    tokio::io::DuplexStream,
    tokio::task::JoinHandle<Duration>,
    tempfile::TempDir,
) {
    let (client, socket, folder) = open().await;
    let served = tokio::spawn(async move {
        let began = Instant::now();
        socket.run().await;
        began.elapsed()
    });
    (client, served, folder)
}

#[tokio::test]
async fn a_client_that_closes_during_a_request_hears_that_the_socket_closes() {
    // Which of two events is taken first is left to chance.
    for _ in 0..16 {
        let (client, mut socket, _folder) = open().await;
        let mut client = Client::from_raw_socket(client, Role::Client, None).await;
        client.send(ClientFrame::Close(None)).await.expect("sent");
        let mut polls = 0;
        let request = futures_util::future::poll_fn(move |context| {
            polls += 1;
            context.waker().wake_by_ref();
            match polls {
                1 => Poll::Pending,
                _ => Poll::Ready(Outcome::Answer("{}".into())),
            }
        });
        socket.requests.begin(request.boxed(), Order::Alone);

        let served = tokio::spawn(socket.run());
        let mut heard = Vec::new();
        while let Some(Ok(frame)) = client.next().await {
            heard.push(frame);
        }
        drop(client);
        served.await.expect("no panic");

        assert_eq!(heard.last(), Some(&ClientFrame::Close(None)), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_is_asked_and_then_let_go() {
    let (_client, served, _folder) = serve().await;
    let took = served.await.expect("no panic");
    assert!(
        took >= 2 * SILENCE && took < 2 * SILENCE + 2 * CLOSE_TIMEOUT,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_when_asked_stays() {
    let (client, served, _folder) = serve().await;
    let mut client = Client::from_raw_socket(client, Role::Client, None).await;
    let mut asked = 0;
    // The library answers pings by itself while it reads.
    let _ = timeout(10 * MINUTE, async {
        while let Some(Ok(said)) = client.next().await {
            asked += usize::from(matches!(said, ClientFrame::Ping(_)));
        }
    })
    .await;
    assert!(!served.is_finished());
    assert!((15..=20).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_let_go() {
    let (client, served, _folder) = serve().await;
    let mut client = Client::from_raw_socket(client, Role::Client, None).await;
    // Each is answered with an error; nobody reads the answers.
    let frames = async {
        while client
            .send(ClientFrame::text("x".repeat(100)))
            .await
            .is_ok()
        {}
    };
    let (took, ()) = tokio::join!(served, frames);
    let took = took.expect("no panic");
    // Until the buffers are full, and then no longer.
    assert!(
        took >= WRITE_TIMEOUT && took < 2 * WRITE_TIMEOUT,
        "{took:?}"
    );
}
