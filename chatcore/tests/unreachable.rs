//! A database that cannot be reached.

use std::time::{Duration, Instant};

use chatcore::{ChatStore, Error, Options};
use tokio::net::TcpListener;

/// Opens a store at a port where nothing answers as MongoDB does.
async fn refused(port: u16) -> (String, Duration) {
    let options = Options::default().timeout(Duration::from_secs(1));
    let began = Instant::now();
    let uri = format!("mongodb://127.0.0.1:{port}/chat");
    match ChatStore::open_mongodb(&uri, options).await {
        Err(Error::Unavailable(reason)) => (reason.to_string(), began.elapsed()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mongodb_that_is_not_there_is_told_in_one_sentence_within_the_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    // Nothing reads what is sent to it.
    let silent = refused(port).await;
    drop(listener);
    let closed = refused(port).await;

    for (reason, time) in [silent, closed] {
        assert!(time < Duration::from_secs(10), "{time:?}");
        assert!(reason.contains(&format!("127.0.0.1:{port}")), "{reason}");
        assert!(reason.len() < 200, "one sentence: {reason}");
        assert!(
            !reason.contains('{') && !reason.contains('\n'),
            "nothing of the driver's structures: {reason}"
        );
    }
}
