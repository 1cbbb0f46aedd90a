//! A server in the test process, on each kind of store.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::map_request;
use chat_http::{App, PeerAddr, Settings};
use chat_testkit::http::Client;
use chat_testkit::mongod::{self, Kind};
use chat_testkit::mount;
use chatcore::{ChatStore, Options};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Makes every case a test on every store.
#[allow(unused_macros, reason = "each test binary uses its part of it")]
macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        on_every_store!(@store sqlite $($case)*);
        on_every_store!(@store replica_set $($case)*);
        on_every_store!(@store standalone $($case)*);
    };
    (@store $store:ident $($case:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let server = crate::Running::$store().await;
                    crate::$case(&server).await;
                    server.stop().await;
                }
            )*
        }
    };
}

/// The password of every account.
pub(crate) const PASSWORD: &str = "correct horse";

/// A server that runs as long as this value lives.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) store: ChatStore,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
    settings: Settings,
    folder: Option<tempfile::TempDir>,
}

/// Settings that let a test go as fast as it can.
pub(crate) fn unlimited() -> Settings {
    Settings {
        post_rate: 0,
        connections_per_address: Some(0),
        ..Settings::default()
    }
}

impl Running {
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(unlimited()).await
    }

    pub(crate) async fn sqlite_with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let address = folder
            .path()
            .join("chat.db")
            .to_str()
            .expect("a UTF-8 path")
            .to_owned();
        Self::start(&address, settings, Some(folder)).await
    }

    /// A server whose store behaves in this way.
    pub(crate) async fn sqlite_by(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("chat.db");
        let store = ChatStore::open_with(path.to_str().expect("a UTF-8 path"), options).await;
        Self::over(
            "127.0.0.1:0",
            store.expect("the store opens"),
            unlimited(),
            Some(folder),
        )
        .await
    }

    pub(crate) async fn replica_set() -> Self {
        Self::mongodb(Kind::ReplicaSet).await
    }

    pub(crate) async fn standalone() -> Self {
        Self::mongodb(Kind::Standalone).await
    }

    async fn mongodb(kind: Kind) -> Self {
        Self::start(&mongod::database(kind), unlimited(), None).await
    }

    async fn start(store: &str, settings: Settings, folder: Option<tempfile::TempDir>) -> Self {
        Self::start_at("127.0.0.1:0", store, settings, folder).await
    }

    async fn start_at(
        address: &str,
        store: &str,
        settings: Settings,
        folder: Option<tempfile::TempDir>,
    ) -> Self {
        let store = ChatStore::open_with(store, Options::default())
            .await
            .expect("the store opens");
        Self::over(address, store, settings, folder).await
    }

    /// Another server on the same store.
    pub(crate) async fn again(&self, settings: Settings) -> Self {
        Self::over("127.0.0.1:0", self.store.clone(), settings, None).await
    }

    async fn over(
        address: &str,
        store: ChatStore,
        settings: Settings,
        folder: Option<tempfile::TempDir>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let (stop, stopped) = oneshot::channel::<()>();
        let app = match mount::prefix() {
            "" => App::new(store.clone(), settings.clone()),
            prefix => App::builder(store.clone())
                .settings(settings.clone())
                .mount_at(prefix)
                .build()
                .expect("an application"),
        };
        let shutdown = async { drop(stopped.await) };
        let ended = if mount::prefix().is_empty() {
            tokio::spawn(chat_http::run(listener, app, shutdown))
        } else {
            tokio::spawn(run_mounted(listener, app, shutdown))
        };
        Self {
            address,
            store,
            stop: Some(stop),
            ended,
            settings,
            folder,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client with a guest's session.
    pub(crate) async fn guest(&self, name: &str) -> Client {
        let login = self
            .client()
            .post("/auth/login", &serde_json::json!({ "username": name }))
            .await;
        assert_eq!(login.status, 200, "{}", login.text());
        self.client().with_session(&login)
    }

    /// A client with the first session of a new account.
    pub(crate) async fn account(&self, name: &str) -> Client {
        let account = serde_json::json!({ "username": name, "password": PASSWORD });
        let registered = self.client().post("/auth/register", &account).await;
        assert_eq!(registered.status, 201, "{}", registered.text());
        self.client().with_session(&registered)
    }

    /// Stops the server in good order.
    pub(crate) async fn stop(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        drop(self.stop.take());
        (&mut self.ended).await.expect("the server ended");
    }

    /// Stops a server on SQLite; the returned value starts it again at the same address.
    pub(crate) async fn pause(mut self) -> Paused {
        self.end().await;
        self.store.close().await.expect("closed");
        Paused {
            address: self.address,
            settings: self.settings,
            folder: self.folder,
        }
    }
}

/// A server that is stopped.
pub(crate) struct Paused {
    address: SocketAddr,
    settings: Settings,
    folder: Option<tempfile::TempDir>,
}

impl Paused {
    pub(crate) async fn go_on(self) -> Running {
        let store = self
            .folder
            .as_ref()
            .expect("on SQLite")
            .path()
            .join("chat.db");
        let store = store.to_str().expect("a UTF-8 path");
        Running::start_at(&self.address.to_string(), store, self.settings, self.folder).await
    }
}

/// Serves the application inside a program of axum's, below the prefix.
async fn run_mounted(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let router = Router::new()
        .nest_service(mount::prefix(), app.clone())
        .layer(map_request(add_peer))
        .into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) });
    let served = tokio::spawn(serving.into_future());

    shutdown.await;
    drop(stop);
    app.shut_down().await;
    served.await.expect("the program ended").expect("served");
}

async fn add_peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    request.extensions_mut().insert(PeerAddr(peer));
    request
}
