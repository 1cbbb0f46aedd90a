//! The chat in a program that uses hyper and no framework.
//!
//! `cargo run -p chat-examples --bin hyper -- [store]` serves until Ctrl-C. With `--once` after the
//! store it asks itself for the list of rooms and ends.

use std::net::SocketAddr;

use chat_client::Client;
use chat_http::{App, PeerAddr};
use chatcore::ChatStore;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "hyper.db".into());
    let store = ChatStore::open(&address).await?;
    store.create_room(&"lobby".parse()?).await?;
    let app = App::builder(store.clone()).mount_at("/community").build()?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("open http://{address}/community/");
    let once = arguments.next().as_deref() == Some("--once");
    tokio::select! {
        served = serve(listener, app.clone()) => served?,
        asked = ask(address), if once => println!("{}", asked?),
        _ = tokio::signal::ctrl_c() => {}
    }

    app.shut_down().await;
    store.close().await?;
    Ok(())
}

async fn serve(listener: TcpListener, app: App) -> Result<(), Error> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let app = app.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            app.clone().oneshot(request)
        });
        // Sockets need upgrades.
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection ended early: {error}");
            }
        });
    }
}

/// Asks for the rooms, as another program does.
async fn ask(address: SocketAddr) -> Result<String, Error> {
    let client = Client::connect(&format!("http://{address}/community")).await?;
    let rooms = client.rooms(None, 10).await?;
    if rooms != ["lobby"] {
        return Err(format!("the rooms are {rooms:?}").into());
    }
    Ok(rooms.join(", "))
}
