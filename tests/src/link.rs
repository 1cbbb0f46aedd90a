//! A network between browsers and a server, which a test may slow, silence or cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

const CHUNK: usize = 64 * 1024;

/// The state of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Each byte arrives after this time.
    Up(Duration),
    /// Nothing arrives, and nobody is told: packets are dropped until the network is up again.
    Silent,
    /// Connections are closed, new ones too.
    Cut,
}

/// Carries TCP connections to a server. Ends with the runtime.
#[derive(Debug)]
pub struct Link {
    /// Address that it listens on.
    pub address: SocketAddr,
    state: watch::Sender<State>,
}

impl Link {
    /// Starts a link to the server at `target`.
    ///
    /// # Panics
    ///
    /// If there is no port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let state = watch::Sender::new(State::Up(Duration::ZERO));
        let watched = state.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, watched.clone()));
            }
        });
        Self { address, state }
    }

    /// Lets everything through, this much later: half of what a round trip then takes.
    pub fn delay(&self, delay: Duration) {
        self.state.send_replace(State::Up(delay));
    }

    /// Lets everything through at once, also what was held up.
    pub fn heal(&self) {
        self.delay(Duration::ZERO);
    }

    /// Lets nothing through, as a network that drops all packets. Connections stay open.
    pub fn silence(&self) {
        self.state.send_replace(State::Silent);
    }

    /// Closes all connections, and each new one, until it is healed.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }
}

async fn carry(client: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    if !is_up(&mut state).await {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    if client
        .set_nodelay(true)
        .and(server.set_nodelay(true))
        .is_err()
    {
        return;
    }

    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = state.clone();
    // Either direction that ends ends both, as the halves are dropped.
    tokio::select! {
        () = pump(from_client, to_server, state.clone()) => {}
        () = pump(from_server, to_client, state) => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Waits until the network lets something through. Returns false if it is cut.
async fn is_up(state: &mut watch::Receiver<State>) -> bool {
    let state = state.wait_for(|state| *state != State::Silent).await;
    state.is_ok_and(|state| *state != State::Cut)
}

/// Carries one direction.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let (sent, mut to_deliver) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let watched = state.clone();
    let read = async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let delay = match *watched.borrow() {
                State::Up(delay) => delay,
                State::Silent | State::Cut => Duration::ZERO,
            };
            if sent
                .send((Instant::now() + delay, chunk[..length].to_vec()))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = to_deliver.recv().await {
            tokio::time::sleep_until(due).await;
            if !is_up(&mut state).await || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    // The end of one direction is carried on only after all that came before it.
    tokio::join!(read, write);
}
