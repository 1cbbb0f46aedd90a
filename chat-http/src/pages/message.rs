//! The drawing of one message, which serves all readers of a language.

use chatcore::{Content, Message, Username};
use serde::Serialize;
use serde_json::Value;

use super::markdown::{to_html, to_line};
use super::{draw, message_link, message_page};
use crate::app::App;
use crate::error::Result;
use crate::texts::Language;

/// Colours of names in the stylesheet, `hue-0` and so on.
const HUES: u32 = 12;
/// Characters of a message where only its beginning is shown.
const MAX_LINE_CHARS: usize = 80;
/// Characters of a quoted line.
const MAX_QUOTED_CHARS: usize = 120;

/// A message as `message.html` draws it.
#[derive(Serialize)]
struct Row<'a> {
    seq: i64,
    change: i64,
    /// Time in full, and as it is read.
    at: String,
    time: String,
    deleted: bool,
    sender: &'a str,
    hue: u32,
    initials: String,
    verified: bool,
    /// Text as HTML.
    body: String,
    /// Names that it mentions, with spaces between.
    mentions: String,
    edited: Option<String>,
    reply_to: Option<i64>,
    quote: Option<Quote<'a>>,
    quoted_link: String,
    reactions: Vec<Reaction<'a>>,
    /// Address of the message in its room.
    permalink: String,
    /// Page of the message alone.
    page: String,
    t: &'a Value,
}

/// The message that another one answers.
#[derive(Serialize)]
struct Quote<'a> {
    sender: &'a str,
    /// First line, without formatting.
    line: String,
}

#[derive(Serialize)]
struct Reaction<'a> {
    emoji: &'a str,
    count: u64,
    /// First users, with spaces between, and as a list to read.
    users: String,
    names: String,
}

/// Draws a message. `quoted` is the one that it answers, if that can be read.
pub(super) fn draw_message(
    app: &App,
    language: Language,
    message: &Message,
    quoted: Option<&Message>,
) -> Result<String> {
    let content = message.content.as_ref();
    let reply_to = content.and_then(|content| content.reply_to);
    let sender = message.sender().map_or("", Username::as_str);
    let row = Row {
        seq: message.seq.get(),
        change: message.change.map_or(0, |change| change.get()),
        at: message.timestamp.to_string(),
        time: minutes(&message.timestamp.to_string()),
        deleted: message.is_deleted(),
        sender,
        hue: hue(sender),
        initials: initials(sender),
        verified: message.is_verified(),
        body: content.map_or_else(String::new, |content| {
            to_html(content.text.as_str(), &content.mentions)
        }),
        mentions: join(message.mentions(), " "),
        edited: content.and_then(|content| Some(minutes(&content.edited_at?.to_string()))),
        reply_to: reply_to.map(|seq| seq.get()),
        quote: quoted.and_then(|quoted| quote(quoted.content.as_ref()?)),
        quoted_link: reply_to.map_or_else(String::new, |seq| message_link(app, &message.room, seq)),
        reactions: content.map_or_else(Vec::new, reactions),
        permalink: message_link(app, &message.room, message.seq),
        page: message_page(app, &message.room, message.seq),
        t: language.texts().section("rows"),
    };
    draw("message", &row)
}

/// Returns the beginning of a message's text, in one line and without formatting.
pub(super) fn beginning(message: &Message) -> String {
    let line = to_line(message.text().unwrap_or_default());
    line.chars().take(MAX_LINE_CHARS).collect()
}

fn quote(content: &Content) -> Option<Quote<'_>> {
    let line = content
        .text
        .as_str()
        .lines()
        .find(|line| !line.trim().is_empty())?;
    let line = to_line(line);
    let mut shown: String = line.chars().take(MAX_QUOTED_CHARS).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    Some(Quote {
        sender: content.sender.as_str(),
        line: shown,
    })
}

fn reactions(content: &Content) -> Vec<Reaction<'_>> {
    let reaction = |reaction: &'_ chatcore::Reaction| Reaction {
        emoji: reaction.emoji.as_str(),
        count: reaction.count,
        users: join(&reaction.users, " "),
        names: join(&reaction.users, ", "),
    };
    content.reactions.iter().map(reaction).collect()
}

fn join(names: &[Username], between: &str) -> String {
    let names: Vec<&str> = names.iter().map(Username::as_str).collect();
    names.join(between)
}

/// Returns a time in minutes, which are enough to read.
pub(super) fn minutes(timestamp: &str) -> String {
    timestamp.get(..16).unwrap_or_default().replace('T', " ")
}

/// Returns the colour of a name. Scripts compute the same: `hue` in `names.js`.
pub(super) fn hue(name: &str) -> u32 {
    let hash = name.chars().fold(0_u32, |hash, c| {
        hash.wrapping_mul(31).wrapping_add(u32::from(c))
    });
    hash % HUES
}

/// Returns the first letters of the first two parts of a name. Scripts compute the same: `initials`
/// in `names.js`.
pub(super) fn initials(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    let first = |part: &str| part.chars().next();
    let letters: Vec<char> = parts.filter_map(first).take(2).collect();
    if letters.is_empty() {
        return name.chars().take(1).collect();
    }
    letters.into_iter().flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_initials_and_a_colour() {
        for (name, letters) in [
            ("ann", "A"),
            ("ann.smith", "AS"),
            ("j-r-r", "JR"),
            ("李小龙", "李"),
            ("🦀", "🦀"),
            ("ßa", "SS"),
            ("", ""),
        ] {
            assert_eq!(initials(name), letters, "{name}");
            assert!(hue(name) < HUES);
        }
        assert_ne!(hue("ann"), hue("bob"));
        // The same as `hue("Zoë 🦀")` in `names.js`, which counts code points.
        assert_eq!(hue("🦀"), 0x1F980 % HUES);
    }
}
