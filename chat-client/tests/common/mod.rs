//! A server in the process of the test.

#![allow(dead_code, reason = "not every test file needs everything")]

use std::net::SocketAddr;

use chat_client::Client;
use chat_http::{App, Settings};
use chatcore::ChatStore;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A server that ends with the runtime of its test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The store of the server, for what no client can do.
    pub(crate) store: ChatStore,
    pub(crate) app: App,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|settings| settings.post_rate = 0).await
    }

    pub(crate) async fn start_with(set: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("chat.db");
        let store = ChatStore::open(path.to_str().expect("UTF-8"))
            .await
            .expect("a store");
        let mut settings = Settings::default();
        set(&mut settings);

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let app = App::new(store.clone(), settings);
        tokio::spawn(chat_http::run(
            listener,
            app.clone(),
            std::future::pending(),
        ));
        Self {
            address,
            store,
            app,
            _folder: folder,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let url = format!("http://{}", self.address);
        Client::connect(&url).await.expect("a client")
    }

    /// A client that is logged in with an account of its own.
    pub(crate) async fn account(&self, name: &str) -> Client {
        let mut client = self.client().await;
        client
            .register(name, "correct horse")
            .await
            .expect("an account");
        client
    }
}
