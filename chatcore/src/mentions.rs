//! Mentions of users in the text of a message.

use std::ops::Range;

use crate::types::{MAX_MENTIONS, MessageText, Username};

/// Punctuation that a mentioned name may contain, besides letters and digits. At the end of a name,
/// `.` and `-` are punctuation of the sentence.
const NAME_PUNCTUATION: [char; 3] = ['_', '-', '.'];

/// Finds the names that a text mentions as `@name`, with the bytes that each takes, its `@`
/// included. An `@` within a word, as in a mail address, mentions nobody.
///
/// ```
/// let found: Vec<_> = chatcore::mentions_in("hello @ann, not bob@example.org").collect();
/// assert_eq!(found, [(6..10, "ann".parse()?)]);
/// # Ok::<(), chatcore::Invalid>(())
/// ```
pub fn mentions_in(text: &str) -> impl Iterator<Item = (Range<usize>, Username)> {
    text.match_indices('@').filter_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        if before.is_some_and(char::is_alphanumeric) {
            return None;
        }

        let rest = &text[at + 1..];
        let is_within = |c: char| {
            !c.is_whitespace() && (!c.is_ascii_punctuation() || NAME_PUNCTUATION.contains(&c))
        };
        let end = rest.find(|c| !is_within(c)).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches(['.', '-']);

        Some((at..at + 1 + name.len(), name.parse().ok()?))
    })
}

/// Returns the names that a text mentions, as they are written, in order: each once, at most
/// [`MAX_MENTIONS`].
pub(crate) fn named_in(text: &MessageText) -> Vec<Username> {
    let mut names: Vec<Username> = Vec::new();

    for (_, name) in mentions_in(text.as_str()) {
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() == MAX_MENTIONS {
            break;
        }
    }

    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_a_person_would_see_them() {
        let found = |text: &str| {
            let text = text.parse().expect("a text");
            named_in(&text)
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("hello @ann"), ["ann"]);
        assert_eq!(
            found("@ann, @bob! (@carl) @d.e-f_g. @ann"),
            ["ann", "bob", "carl", "d.e-f_g"]
        );
        assert_eq!(found("mail ann@example.org"), Vec::<String>::new());
        assert_eq!(found("@ @. @@ann"), ["ann"]);
        assert_eq!(found("@Zoë\n@李小龙 @🦀"), ["Zoë", "李小龙", "🦀"]);
        assert_eq!(found("@ann's"), ["ann"]);
        let many: String = (0..30).map(|n| format!("@user{n} ")).collect();
        assert_eq!(found(&many).len(), MAX_MENTIONS);
        assert_eq!(found(&format!("@{}", "x".repeat(65))), Vec::<String>::new());
    }
}
