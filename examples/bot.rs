//! A bot that follows a room and answers.
//!
//! `cargo run -p chat-examples --bin bot -- [store]` answers until Ctrl-C, beside a server if the
//! store is MongoDB. With `--once` after the store it asks itself a question, answers, and ends.

use chatcore::{ChatStore, Message, NewMessage, Range, RoomName, Seq, Username};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "bot.db".into());
    let store = ChatStore::open(&address).await?;
    let room: RoomName = "help".parse()?;

    if arguments.next().as_deref() == Some("--once") {
        let question = NewMessage::new(room.clone(), "ann".parse()?, "!count bob".parse()?);
        let asked = store.post(question).await?.message.seq;
        answer_questions(&store, &room, before(asked), Some(1)).await?;
        let last = store.messages(&room, Range::Newest, 1).await?;
        let answer = last.first().and_then(|message| message.text());
        println!("{}", answer.unwrap_or_default());
        if answer != Some("bob has written 0 messages") {
            return Err("there is no answer".into());
        }
    } else {
        let newest = store.messages(&room, Range::Newest, 1).await?;
        let start = newest.last().map_or(Seq::ZERO, |message| message.seq);
        tokio::select! {
            answered = answer_questions(&store, &room, start, None) => answered?,
            _ = tokio::signal::ctrl_c() => {}
        }
    }

    store.close().await?;
    Ok(())
}

fn before(seq: Seq) -> Seq {
    Seq::new(seq.get() - 1).unwrap_or(Seq::ZERO)
}

/// Answers what is asked after `start`: each question once, whatever happens in between.
async fn answer_questions(
    store: &ChatStore,
    room: &RoomName,
    start: Seq,
    most: Option<usize>,
) -> Result<(), Error> {
    let mut follower = store.follow(room, start);
    let mut answered = 0;
    while most.is_none_or(|most| answered < most) {
        for message in follower.next().await? {
            if let Some(text) = answer(store, &message).await? {
                let reply = NewMessage::new(room.clone(), "bot".parse()?, text.parse()?);
                // A bot that starts again may see the question again. It is answered once.
                let nonce = format!("answer-{}", message.seq).parse()?;
                let reply = NewMessage {
                    reply_to: Some(message.seq),
                    ..reply.with_nonce(nonce)
                };
                store.post(reply).await?;
                answered += 1;
            }
        }
    }
    Ok(())
}

async fn answer(store: &ChatStore, message: &Message) -> Result<Option<String>, Error> {
    let asked = message.text().and_then(|text| text.strip_prefix("!count "));
    let Some(Ok(user)) = asked.map(str::parse::<Username>) else {
        return Ok(None);
    };
    let count = store.message_count(&user).await?;
    Ok(Some(format!("{user} has written {count} messages")))
}
