//! Cost of mounting the chat in a program of axum's, beside the server's own listener: the same
//! requests at the same store, 64 connections, measured in turns; medians.
//!
//! `cargo bench -p chat-benches --bench mount`; with `-- --test` each runs once.

use std::net::SocketAddr;

use axum::Router;
use chat_benches::load::{ask, askers, get};
use chat_benches::turns::{Run, median};
use chat_benches::{http_posts, serve, sqlite};
use chat_http::{App, Settings};
use chat_testkit::http::Client;
use chatcore::ChatStore;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const CONNECTIONS: usize = 64;
const PREFIX: &str = "/community";

fn main() {
    let run = Run::from_arguments();
    // One thread for the servers and one for the clients, as there are cores.
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let clients = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let (store, _folder) = servers.block_on(sqlite());
    let own = servers.block_on(serve(store.clone()));
    let mounted = servers.block_on(serve_mounted(store));
    clients.block_on(http_posts(own, "a", CONNECTIONS, 640));
    let room = clients.block_on(Client::new(own).get("/chat/a")).json();
    let last = room["last_timestamp"].as_str().expect("a time").to_owned();

    println!("| requests a second | own listener | mounted | ratio |");
    println!("|---|---|---|---|");
    let n = run.pick(640, 20_000);
    for (name, path) in [
        (
            "poll with nothing new",
            format!("/chat/a/messages?since={last}"),
        ),
        ("newest 50 messages", "/chat/a/messages".to_owned()),
        ("a user's count", "/users/writer0/count".to_owned()),
    ] {
        let mut sides =
            [(own, path.clone()), (mounted, format!("{PREFIX}{path}"))].map(|(address, path)| {
                let request = get(&path);
                let asked = askers(address, &request, CONNECTIONS);
                (clients.block_on(asked), Vec::new())
            });
        for _ in 0..run.rounds {
            for (askers, rates) in &mut sides {
                let took = clients.block_on(ask(askers, n));
                rates.push(n as f64 / took.as_secs_f64());
            }
        }
        let [own, mounted] = sides.map(|(_, rates)| median(rates));
        println!(
            "| {name} | {own:.0} | {mounted:.0} | {:.2} |",
            mounted / own
        );
    }
}

async fn serve_mounted(store: ChatStore) -> SocketAddr {
    let settings = Settings {
        post_rate: 0,
        ..Settings::default()
    };
    let app = App::builder(store).settings(settings).mount_at(PREFIX);
    let app = app.build().expect("an application");
    let router = Router::new()
        .nest_service(PREFIX, app)
        .into_make_service_with_connect_info::<SocketAddr>();

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
