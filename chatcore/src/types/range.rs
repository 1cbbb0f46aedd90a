//! Ranges of messages.

use super::Seq;
use crate::timestamp::Timestamp;

/// A range of the messages of a room.
///
/// `Since` and `After` give the **oldest** messages of the range, so that a reader who asks again
/// with the last message it got never skips one. `Newest` and `Before` give the newest.
///
/// ```
/// # use chatcore::{ChatStore, NewMessage, Range, Seq};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
/// let room = "general".parse()?;
/// for text in ["one", "two", "three"] {
///     let post = NewMessage::new("general".parse()?, "ann".parse()?, text.parse()?);
///     store.post(post).await?;
/// }
///
/// let oldest = store.messages(&room, Range::After(Seq::ZERO), 2).await?;
/// let newest = store.messages(&room, Range::Newest, 2).await?;
/// assert_eq!(oldest[0].text(), Some("one"));
/// assert_eq!(newest[1].text(), Some("three"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest messages.
    Newest,
    /// The messages strictly after a time.
    Since(Timestamp),
    /// The messages above a `seq`.
    After(Seq),
    /// The messages below a `seq`.
    Before(Seq),
}
