//! Connections on which a command gets lost, and that nobody closes: as after a firewall forgot
//! them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Relays connections to a mongod. Ends with the runtime.
#[derive(Debug)]
pub struct Relay {
    /// Address that it listens on.
    pub address: SocketAddr,
    /// Bytes that a lost command has in it.
    to_lose: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Relay {
    /// Starts to relay to the mongod at `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let to_lose = Arc::new(Mutex::new(None));
        let lose = to_lose.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, target, lose.clone()));
            }
        });
        Self { address, to_lose }
    }

    /// Loses the next command of this name on this collection, or without one, and everything that
    /// follows on the same connection.
    pub fn lose_next(&self, command: &str, collection: Option<&str>) {
        let mut bytes = [command.as_bytes(), &[0]].concat();
        if let Some(collection) = collection {
            let length = i32::try_from(collection.len() + 1).expect("a short name");
            bytes.extend(length.to_le_bytes());
            bytes.extend(collection.as_bytes());
            bytes.push(0);
        }
        *self.to_lose.lock().expect("no panic") = Some(bytes);
    }

    /// Returns true if the command of the last [`Relay::lose_next`] came, and got lost.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.to_lose.lock().expect("no panic").is_none()
    }
}

async fn relay(client: TcpStream, target: SocketAddr, to_lose: Arc<Mutex<Option<Vec<u8>>>>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });

    let mut chunk = vec![0; 1024 * 1024];
    let mut is_lost = false;
    while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
        let sent = &chunk[..length];
        let has = |bytes: &mut Vec<u8>| sent.windows(bytes.len()).any(|window| window == bytes);
        is_lost |= to_lose.lock().expect("no panic").take_if(has).is_some();
        if !is_lost && to_server.write_all(sent).await.is_err() {
            break;
        }
    }
}
