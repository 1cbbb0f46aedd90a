//! A proxy before a server, which a test may make slow, deaf or hostile to sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Answer to a handshake where sockets are blocked.
const FORBIDDEN: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Treatment of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Open,
    /// Connections are closed, and new ones too.
    Cut,
    /// Connections stay open, and nothing passes.
    Stalled,
    /// Everything passes but handshakes of sockets, which are answered with `403`. Sockets that
    /// are open are closed.
    WithoutSockets,
    /// The same, but handshakes are never answered: their connections are closed.
    WithoutHandshakes,
}

impl Mode {
    fn blocks_sockets(self) -> bool {
        matches!(self, Self::WithoutSockets | Self::WithoutHandshakes)
    }
}

/// A proxy. Ends with the runtime.
#[derive(Debug)]
pub struct Proxy {
    /// Address that it listens on.
    pub address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    /// Starts a proxy before the server at `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let mode = Arc::new(watch::Sender::new(Mode::Open));
        let modes = mode.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mode = modes.subscribe();
                tokio::spawn(serve(client, target, mode));
            }
        });
        Self { address, mode }
    }

    /// Treats all connections like this from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Closes all connections that are open. New ones pass.
    pub fn cut_once(&self) {
        self.set(Mode::Cut);
        self.set(Mode::Open);
    }
}

async fn serve(mut client: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    if *mode.borrow_and_update() == Mode::Cut {
        return;
    }
    let mut first = vec![0; 16 * 1024];
    let Ok(length @ 1..) = client.read(&mut first).await else {
        return;
    };
    let first = &first[..length];
    let text = String::from_utf8_lossy(first).to_ascii_lowercase();
    let is_socket = text.contains("\r\nupgrade: websocket");
    let current = *mode.borrow();
    if is_socket && current.blocks_sockets() {
        if current == Mode::WithoutSockets {
            // A client that is gone needs no answer.
            let _ = client.write_all(FORBIDDEN).await;
        }
        return;
    }

    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let modes = mode.clone();
    tokio::select! {
        _ = relay(client, server, first, &modes) => {}
        () = closed(&mut mode, is_socket) => {}
    }
}

/// Passes everything both ways, beginning with what was read of the client.
async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    first: &[u8],
    mode: &watch::Receiver<Mode>,
) -> std::io::Result<()> {
    pass(mode).await;
    server.write_all(first).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::try_join!(
        copy(&mut from_client, &mut to_server, mode),
        copy(&mut from_server, &mut to_client, mode),
    )?;
    Ok(())
}

/// Waits for a mode in which the connection is closed. Sees every mode, because even a short cut
/// closes it.
async fn closed(mode: &mut watch::Receiver<Mode>, is_socket: bool) {
    while mode.changed().await.is_ok() {
        let now = *mode.borrow_and_update();
        if now == Mode::Cut || is_socket && now.blocks_sockets() {
            return;
        }
    }
}

/// Waits until something may pass.
async fn pass(mode: &watch::Receiver<Mode>) {
    let mut mode = mode.clone();
    // Fails when the proxy is gone, and its connections with it.
    let _ = mode.wait_for(|mode| *mode != Mode::Stalled).await;
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mode: &watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut chunk).await?;
        pass(mode).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}
