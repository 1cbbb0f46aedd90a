//! A program with the chat server inside it: it posts through the store while people use the pages.
//!
//! `cargo run -p chat-examples --bin inside -- [store]` serves until Ctrl-C. With `--once` after
//! the store it asks itself for the messages and ends.

use chat_client::{Client, Page};
use chat_http::{App, Settings};
use chatcore::{ChatStore, NewMessage};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "inside.db".into());
    let once = arguments
        .next()
        .is_some_and(|argument| argument == "--once");

    let store = ChatStore::open(&address).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let app = App::new(store.clone(), Settings::default());
    let server =
        tokio::spawn(
            async move { chat_http::run(listener, app, async { drop(stopped.await) }).await },
        );
    println!("open http://{address}/rooms/lobby");

    store
        .post(NewMessage::new(
            "lobby".parse()?,
            "host".parse()?,
            "The program has started.".parse()?,
        ))
        .await?;
    if once {
        let client = Client::connect(&format!("http://{address}")).await?;
        for message in client.messages("lobby", Page::Newest, 10).await? {
            println!("{}: {}", message.sender, message.text);
        }
    } else {
        tokio::signal::ctrl_c().await?;
    }

    drop(stop);
    server.await?;
    store.close().await?;
    Ok(())
}
