//! Who may post where, and deleting messages.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::pending::{Delete, Job, Pending};
use super::{FIRST_PAUSE, LONGEST_PAUSE, MAX_MEMBERS, Remembered, Worker, within};
use crate::error::{Error, Result};
use crate::feed::{Feed, Visitor, Wish};
use crate::types::{NewMessage, RoomName, Seq, Username};

impl Worker {
    /// Fails and removes the posts to restricted rooms whose senders may not post there.
    pub(super) async fn turn_away(&mut self, pending: &mut Vec<Pending>, deadline: Instant) -> Result<()> {
        let is_unknown = |rooms: &HashMap<RoomName, Remembered>,
                          NewMessage { room, sender, .. }: &NewMessage| {
            rooms.get(room).is_some_and(|known| known.head.restricted && !known.admitted.contains(sender))
        };
        let mut unknown: BTreeMap<RoomName, BTreeMap<Username, bool>> = BTreeMap::new();
        for Pending { message, .. } in pending.iter().filter(|p| is_unknown(&self.rooms, &p.message)) {
            let senders = unknown.entry(message.room.clone()).or_default();
            // If one is verified, the others are refused for using a name that has an account.
            *senders.entry(message.sender.clone()).or_default() |= message.verified;
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let mut refused: HashMap<(RoomName, Username), Error> = HashMap::new();
        for (room, senders) in unknown {
            let names = senders.keys().cloned().collect();
            let found = within(deadline, self.backend.admissions(room.clone(), names)).await?;
            let Some(known) = self.rooms.get_mut(&room) else { continue };
            if known.admitted.len() > MAX_MEMBERS {
                known.admitted.clear();
            }
            for ((sender, verified), access) in senders.into_iter().zip(found) {
                let writer = Visitor { user: Some(sender.clone()), verified, wish: Wish::TakePart };
                match writer.check(access.as_ref()) {
                    Ok(()) => drop(known.admitted.insert(sender)),
                    Err(error) => drop(refused.insert((room.clone(), sender), error)),
                }
            }
        }
        let posts = std::mem::take(pending);
        for post in posts {
            match refused.get(&(post.message.room.clone(), post.message.sender.clone())) {
                Some(error) => post.fail(error),
                None => pending.push(post),
            }
        }
        Ok(())
    }

    /// Deletes a message. It is done here, between two batches, because a store without
    /// transactions has one change under way at a time.
    pub(super) async fn delete(&self, Delete { room, seq, again, reply }: Delete) {
        let doubt = if again { None } else { self.doubts.clone().try_acquire_owned().ok() };
        if doubt.is_none() && !again {
            let _ = reply.send(Err(Error::Busy));
            return;
        }
        let deadline = Instant::now() + self.timeout;
        let deleted = within(deadline, self.backend.delete_message(room.clone(), seq)).await;
        let answer = deleted.map(|deletion| {
            self.feed.publish_deletion(&room, seq, deletion.as_ref().map(|deletion| &deletion.sender));
        });
        if let (Some(doubt), Err(Error::Unavailable(reason))) = (doubt, &answer) {
            tracing::warn!(%room, %seq, reason, "a message may or may not be deleted");
            self.feed.doubt_deletion(&room);
            tokio::spawn(delete_again(self.queue.clone(), self.feed.clone(), room, seq, doubt));
        }
        let _ = reply.send(answer);
    }
}

/// Tries again until a message is known to be deleted, or the store is closed.
async fn delete_again(
    queue: mpsc::WeakSender<Job>,
    feed: Arc<Feed>,
    room: RoomName,
    seq: Seq,
    _doubt: OwnedSemaphorePermit,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let Some(queue) = queue.upgrade() else { break };
        let (reply, answer) = oneshot::channel();
        let again = Job::Delete(Delete { room: room.clone(), seq, again: true, reply });
        let sent = queue.send(again).await;
        drop(queue);
        match (sent, answer.await) {
            (Ok(()), Ok(Err(Error::Unavailable(_)))) => {}
            _ => break,
        }
    }
    feed.settle_deletion(&room);
}
