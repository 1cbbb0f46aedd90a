//! Reads the options, opens the store, serves until a signal.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use chat_http::App;
use chatcore::ChatStore;
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::cli::Config;

/// Time for the store to close, after the requests under way had theirs.
const CLOSING: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    let filter = EnvFilter::try_from_env("CHAT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    // Each connection is a file, and the soft limit is meant for programs from other times.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat-http: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let store = ChatStore::open(config.store.as_str()).await?;
    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|e| format!("cannot listen on {}: {e}", config.listen))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    chat_http::run(
        listener,
        App::new(store.clone(), config.settings()),
        shutdown,
    )
    .await;
    // Posts that are left in the queue then belong to requests that were cut off.
    match tokio::time::timeout(CLOSING, store.close()).await {
        Ok(closed) => closed?,
        Err(_) => tracing::warn!("the store was not closed in time"),
    }
    Ok(())
}
