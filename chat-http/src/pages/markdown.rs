//! The text of a message as HTML.
//!
//! Markdown is parsed, and each element that may appear is written by name. Everything else, raw
//! HTML included, is written as text, so there is nothing to remove afterwards.

use std::ops::Range;

use chatcore::{Username, mentions_in};
use linkify::{LinkFinder, LinkKind};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, TextMergeWithOffset};

/// Elements that may stand in each other. Deeper ones are left out, their text is kept: a browser
/// takes thousands of nested elements badly.
const MAX_DEPTH: usize = 12;

/// Draws a text. The `mentioned` users are marked where the text names them.
pub(crate) fn to_html(text: &str, mentioned: &[Username]) -> String {
    let parser = Parser::new_ext(text, Options::empty());
    let definitions = parser.reference_definitions().iter();
    let mut definitions: Vec<_> = definitions.map(|(_, link)| link.span.clone()).collect();
    definitions.sort_unstable_by_key(|span| span.start);

    let mut writer = Writer::new(text, mentioned);
    for (event, span) in TextMergeWithOffset::new(parser.into_offset_iter()) {
        writer.write(event, span);
    }
    // Markdown does not show these, but who wrote them sees a message that lacks a line.
    for span in definitions {
        writer.paragraph(span);
    }
    writer.finish()
}

/// Returns a text without its marks, on one line.
pub(crate) fn to_line(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for event in Parser::new_ext(text, Options::empty()) {
        match event {
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                plain.push_str(&text)
            }
            // Inside of words.
            Event::Start(_)
            | Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link | TagEnd::Image) => {}
            _ => plain.push(' '),
        }
    }
    let line = in_one_line(&plain);
    // A text of nothing but marks is shown as it is.
    if line.is_empty() {
        in_one_line(text)
    } else {
        line
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An element that was opened.
struct Element {
    /// End of the element; empty if it was left out.
    end: String,
    /// Target of a link, and the place in the HTML where its text begins.
    link: Option<(String, usize)>,
    is_code: bool,
}

struct Writer<'a> {
    source: &'a str,
    mentioned: &'a [Username],
    links: LinkFinder,
    html: String,
    open: Vec<Element>,
    /// Set once anything can be seen.
    is_visible: bool,
}

impl<'a> Writer<'a> {
    fn new(source: &'a str, mentioned: &'a [Username]) -> Self {
        let mut links = LinkFinder::new();
        links.kinds(&[LinkKind::Url, LinkKind::Email]);
        Self {
            source,
            mentioned,
            links,
            html: String::with_capacity(source.len() + 32),
            open: Vec::new(),
            is_visible: false,
        }
    }

    fn write(&mut self, event: Event<'_>, span: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&text),
            Event::Code(text) => {
                self.html.push_str("<code>");
                self.plain(&text);
                self.html.push_str("</code>");
            }
            Event::SoftBreak | Event::HardBreak => self.html.push_str("<br>"),
            Event::Rule => self.paragraph(span),
            Event::Html(text) | Event::InlineHtml(text) => self.lines(&text),
            // Events of extensions that are off.
            _ => self.plain(self.source.get(span).unwrap_or_default()),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        let (is_code, is_quote) = (
            matches!(tag, Tag::CodeBlock(_)),
            matches!(tag, Tag::BlockQuote(_)),
        );
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.open("<p>", "</p>"),
            Tag::Heading { .. } => self.open("<p><strong>", "</strong></p>"),
            _ if is_quote => self.open("<blockquote>", "</blockquote>"),
            _ if is_code => self.open("<pre><code>", "</code></pre>"),
            Tag::List(None) => self.open("<ul>", "</ul>"),
            Tag::List(Some(first)) => self.open(&format!("<ol start=\"{first}\">"), "</ol>"),
            Tag::Item => self.open("<li>", "</li>"),
            Tag::Emphasis => self.open("<em>", "</em>"),
            Tag::Strong => self.open("<strong>", "</strong>"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.start_link(&dest_url),
            _ => self.open("", ""),
        }
        if let Some(element) = self.open.last_mut() {
            element.is_code = is_code;
        }
    }

    fn open(&mut self, start: &str, end: &str) {
        let is_too_deep = self.open.len() >= MAX_DEPTH;
        if !is_too_deep {
            self.html.push_str(start);
        }
        self.open.push(Element {
            end: if is_too_deep {
                String::new()
            } else {
                end.to_owned()
            },
            link: None,
            is_code: false,
        });
    }

    /// Begins a link. One that leads elsewhere than to the web or to a mail is text, as is one
    /// within another.
    fn start_link(&mut self, target: &str) {
        let Some(start) = link(target).filter(|_| !self.is_in_link()) else {
            self.is_visible = true;
            self.html.push('[');
            self.open("", "");
            if let Some(element) = self.open.last_mut() {
                element.end = format!("]({})", escape(target));
            }
            return;
        };

        let before = self.html.len();
        self.open(&start, "</a>");
        let begin = self.html.len();
        if let Some(element) = self.open.last_mut().filter(|_| begin > before) {
            element.link = Some((target.to_owned(), begin));
        }
    }

    fn end(&mut self) {
        let Some(element) = self.open.pop() else {
            return;
        };
        // A link without a text shows where it leads.
        if let Some((target, begin)) = &element.link
            && self.html[*begin..].trim().is_empty()
        {
            self.plain(target);
        }
        self.html.push_str(&element.end);
    }

    fn is_in_link(&self) -> bool {
        self.open.iter().any(|element| element.link.is_some())
    }

    fn text(&mut self, text: &str) {
        if self.open.iter().any(|element| element.is_code) || self.is_in_link() {
            return self.plain(text);
        }
        let spans: Vec<_> = self.links.spans(text).collect();
        for span in spans {
            let target = match span.kind() {
                Some(LinkKind::Email) => link(&format!("mailto:{}", span.as_str())),
                Some(_) => link(span.as_str()),
                None => None,
            };
            match target {
                Some(start) => {
                    self.html.push_str(&start);
                    self.plain(span.as_str());
                    self.html.push_str("</a>");
                }
                None => self.names(span.as_str()),
            }
        }
    }

    /// Writes text in which users may be named.
    fn names(&mut self, text: &str) {
        let mut written = 0;
        for (span, name) in mentions_in(text) {
            if span.start < written || !self.mentioned.contains(&name) {
                continue;
            }
            self.plain(&text[written..span.start]);
            let user = escape(name.as_str());
            self.html
                .push_str(&format!("<span class=\"mention\" data-user=\"{user}\">"));
            self.plain(&text[span.clone()]);
            self.html.push_str("</span>");
            written = span.end;
        }
        self.plain(&text[written..]);
    }

    /// Writes a piece of the source as a paragraph of its own.
    fn paragraph(&mut self, span: Range<usize>) {
        let source = self.source.get(span).unwrap_or_default().trim();
        self.html.push_str("<p>");
        self.lines(source);
        self.html.push_str("</p>");
    }

    fn lines(&mut self, text: &str) {
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.html.push_str("<br>");
            }
            self.text(line);
        }
    }

    fn plain(&mut self, text: &str) {
        self.is_visible |= text.chars().any(|c| !c.is_whitespace());
        self.html.push_str(&escape(text));
    }

    fn finish(mut self) -> String {
        if !self.is_visible {
            // A text of nothing but marks, such as `#` or `>`.
            self.html.clear();
            self.paragraph(0..self.source.len());
        }
        self.html
    }
}

/// Returns the start of a link to an address, if it is one of the web or of a mail.
fn link(target: &str) -> Option<String> {
    let (scheme, _) = target.split_once(':')?;
    let is_allowed = ["http", "https", "mailto"]
        .iter()
        .any(|allowed| scheme.eq_ignore_ascii_case(allowed));
    let target = escape(target);
    is_allowed.then(|| {
        format!("<a href=\"{target}\" rel=\"nofollow noopener noreferrer\" target=\"_blank\">")
    })
}

/// Returns a text as it stands in HTML, between tags or in quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
