//! Opening a store.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::doc;
use mongodb::options::{ClientOptions, ReadPreference};
use mongodb::{Client, Database};

use super::connection::{Connection, durable};
use super::count_batcher::CountBatcher;
use super::deployment::Deployment;
use super::error::{error, is_unreachable};
use super::replica_set::ReplicaSet;
use super::scheduler::Mongo;
use super::schema::{self, Server};
use super::standalone::Standalone;
use super::store::Store;
use crate::backend::Backend;
use crate::error::{Error, Reason, Result};
use crate::options::Options;

/// Name of the database, if the URI names none.
const DATABASE: &str = "chat";
/// Connections: more than the driver's 10, because a poll of many clients comes in bursts.
pub(super) const POOL: u32 = 64;
const WARM: u32 = 4;
/// Interval at which a server reports its state, and time by which a report may be late: after
/// both, the driver ends all calls that hang on that server. A replica set elects another primary
/// no faster.
const HEARTBEAT: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(2);

/// Connects to the deployment at `uri` and prepares the database.
pub(crate) async fn open(uri: &str, options: &Options) -> Result<Arc<dyn Backend>> {
    let unusable =
        |e: mongodb::error::Error| Error::Open(Reason::with_cause(e.kind.to_string(), e));
    let timeout = options.timeout;
    let mut client_options = ClientOptions::parse(uri).await.map_err(unusable)?;
    client_options
        .app_name
        .get_or_insert_with(|| "chatcore".into());
    client_options.max_pool_size.get_or_insert(POOL);
    client_options.min_pool_size.get_or_insert(WARM);
    client_options.connect_timeout.get_or_insert(CONNECT);
    client_options.heartbeat_freq.get_or_insert(HEARTBEAT);
    client_options
        .server_selection_timeout
        .get_or_insert(timeout);
    client_options.write_concern = Some(durable(timeout));
    // A secondary may be behind, and a transaction reads from the primary only.
    client_options.selection_criteria = Some(ReadPreference::Primary.into());
    let database_name = client_options
        .default_database
        .clone()
        .unwrap_or_else(|| DATABASE.into());
    let pool = client_options.max_pool_size.unwrap_or(POOL);
    let hosts = client_options.hosts.iter().map(ToString::to_string);
    let hosts = hosts.collect::<Vec<_>>().join(", ");
    let client = Client::with_options(client_options).map_err(unusable)?;
    let database = client.database(&database_name);

    check_reachable(&database, &hosts, timeout).await?;
    let server = schema::prepare(&database, options.session_idle).await?;
    tracing::info!(
        version = server.version,
        kind = server.kind,
        database = database_name,
        "connected to MongoDB"
    );
    start(database, &server, options.timeout, pool).await
}

/// Fails unless a server answers in time. The driver's own error describes the whole deployment.
async fn check_reachable(database: &Database, hosts: &str, timeout: Duration) -> Result<()> {
    let text = format!("no MongoDB server answers at {hosts} within {timeout:?}");
    let ping = database.run_command(doc! { "ping": 1 });
    let Ok(answer) = tokio::time::timeout(timeout, ping).await else {
        return Err(Error::Unavailable(text.into()));
    };
    match answer {
        Ok(_) => Ok(()),
        Err(e) if is_unreachable(&e) => Err(Error::Unavailable(Reason::with_cause(text, e))),
        Err(e) => Err(error(e)),
    }
}

/// Signs this process on at the database.
pub(super) async fn start(
    database: Database,
    server: &Server,
    timeout: Duration,
    pool: u32,
) -> Result<Arc<dyn Backend>> {
    let deployment: Box<dyn Deployment> = match server.transactions {
        true => Box::new(ReplicaSet::open(&database, !server.sharded).await?),
        false => Box::new(Standalone::open(&database).await?),
    };
    let connection = Connection {
        database,
        timeout,
        has_transactions: server.transactions,
    };
    deployment.start(&connection).await?;
    let store = Arc::new(Store {
        connection,
        deployment,
    });

    let batches_counts = server.transactions && !server.sharded;
    let count_batcher = batches_counts.then(|| CountBatcher::start(store.clone()));
    Ok(Arc::new(Mongo::new(store, count_batcher, pool)))
}
