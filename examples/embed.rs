//! A program that keeps chat messages of its own, without a server.
//!
//! `cargo run -p chat-examples --bin embed -- [store]`, where the store is the path of an SQLite
//! file or a `mongodb://` address; `embed.db` if left out.

use chatcore::{ChatStore, NewMessage, Range, RoomName, Seq, Username};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "embed.db".into());
    let store = ChatStore::open(&address).await?;
    let room: RoomName = "deploys".parse()?;
    let robot: Username = "robot".parse()?;

    // The nonce makes it harmless to run this twice for the same build.
    for build in 1..=3 {
        let text = format!("build {build} is out").parse()?;
        let message = NewMessage::new(room.clone(), robot.clone(), text);
        let posted = store
            .post(message.with_nonce(format!("build-{build}").parse()?))
            .await?;
        let how = if posted.repeated {
            "was there as"
        } else {
            "stored as"
        };
        println!("build {build} {how} message {}", posted.message.seq);
    }

    // Read in pages from the start: the last number read is where to go on.
    let mut after = Seq::ZERO;
    loop {
        let page = store.messages(&room, Range::After(after), 2).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for message in page {
            let line = message
                .content
                .as_ref()
                .map(|content| format!("{}: {}", content.sender, content.text));
            println!(
                "{} {} {}",
                message.seq,
                message.timestamp,
                line.unwrap_or("deleted".into())
            );
        }
    }

    // Follow from there: each message once and in order, by whatever process it is posted.
    let mut follower = store.follow(&room, after);
    let text = format!(
        "{robot} has written {} messages",
        store.message_count(&robot).await?
    )
    .parse()?;
    let last = store
        .post(NewMessage::new(room, "clerk".parse()?, text))
        .await?
        .message
        .seq;
    while follower.position() < last {
        for message in follower.next().await? {
            println!("{} {}", message.seq, message.text().unwrap_or("deleted"));
        }
    }
    store.close().await?;
    Ok(())
}
