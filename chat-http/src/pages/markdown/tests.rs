use proptest::prelude::*;

use super::*;

fn html(text: &str) -> String {
    let named: Vec<Username> = mentions_in(text).map(|(_, name)| name).collect();
    to_html(text, &named)
}

/// Reads HTML strictly, and returns its text. Panics at any tag, attribute or value that a message
/// may not have, and at elements that are not closed in order.
fn read(html: &str) -> String {
    let (mut rest, mut text, mut open) = (html, String::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        text.push_str(&unescape(&rest[..at]));
        let end = rest[at..].find('>').expect("the end of a tag") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{html}");
            continue;
        }
        if tag == "br" {
            text.push('\n');
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        check_tag(name, attributes, html);
        open.push(name);
        assert!(open.len() <= 2 * MAX_DEPTH, "{html}");
    }
    text.push_str(&unescape(rest));
    assert_eq!(open, Vec::<&str>::new(), "{html}");
    text
}

fn check_tag(name: &str, attributes: &str, html: &str) {
    const PLAIN: [&str; 9] = [
        "p",
        "code",
        "pre",
        "strong",
        "em",
        "blockquote",
        "ul",
        "ol",
        "li",
    ];
    let values: Vec<&str> = attributes.split('"').collect();
    match (name, values.as_slice()) {
        (name, [""]) => assert!(PLAIN.contains(&name), "{html}"),
        ("ol", ["start=", number, ""]) => assert!(number.parse::<u64>().is_ok(), "{html}"),
        ("span", ["class=", "mention", " data-user=", user, ""]) => {
            assert!(unescape(user).parse::<Username>().is_ok(), "{html}");
        }
        (
            "a",
            [
                "href=",
                target,
                " rel=",
                "nofollow noopener noreferrer",
                " target=",
                "_blank",
                "",
            ],
        ) => {
            let target = unescape(target).to_ascii_lowercase();
            let schemes = ["http:", "https:", "mailto:"];
            assert!(schemes.iter().any(|s| target.starts_with(s)), "{html}");
        }
        _ => panic!("{name} {attributes} in {html}"),
    }
}

/// Panics at a quote or an ampersand that stands for itself.
fn unescape(text: &str) -> String {
    assert!(!text.contains(['"', '\'', '>']), "{text}");
    let mut plain = text.to_owned();
    for (escaped, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
    ] {
        plain = plain.replace(escaped, c);
    }
    for (at, _) in plain.match_indices('&') {
        assert!(plain[at..].starts_with("&amp;"), "{text}");
    }
    plain.replace("&amp;", "&")
}

#[test]
fn the_marks_of_chat_are_drawn() {
    for (text, drawn) in [
        ("hello", "<p>hello</p>"),
        ("one\ntwo", "<p>one<br>two</p>"),
        ("a\n\nb", "<p>a</p><p>b</p>"),
        (
            "**b** *i* `c<d`",
            "<p><strong>b</strong> <em>i</em> <code>c&lt;d</code></p>",
        ),
        (
            "```rust\nlet a = 1;\n```",
            "<pre><code>let a = 1;\n</code></pre>",
        ),
        ("> said", "<blockquote><p>said</p></blockquote>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("1986. A year", "<ol start=\"1986\"><li>A year</li></ol>"),
        ("# Title", "<p><strong>Title</strong></p>"),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("snake_case_name 2 * 3", "<p>snake_case_name 2 * 3</p>"),
    ] {
        assert_eq!(html(text), drawn, "{text}");
    }
}

#[test]
fn addresses_become_links_and_nothing_else_does() {
    let link = |target: &str, text: &str| {
        format!(
            "<a href=\"{target}\" rel=\"nofollow noopener noreferrer\" target=\"_blank\">{text}</a>"
        )
    };
    let url = link(
        "https://example.org/a_b?c=d&amp;e",
        "https://example.org/a_b?c=d&amp;e",
    );
    assert_eq!(
        html("see https://example.org/a_b?c=d&e."),
        format!("<p>see {url}.</p>")
    );
    assert_eq!(
        html("[site](http://a.b/)"),
        format!("<p>{}</p>", link("http://a.b/", "site"))
    );
    assert_eq!(
        html("me@example.org"),
        format!("<p>{}</p>", link("mailto:me@example.org", "me@example.org"))
    );
    assert_eq!(
        html("![](http://a.b/)"),
        format!("<p>{}</p>", link("http://a.b/", "http://a.b/"))
    );
    for text in [
        "[x](javascript:alert(1))",
        "[x](JavaScript&#58;alert(1))",
        "[x](data:text/html,y)",
        "<javascript:alert(1)>",
        "ftp://example.org",
        "[x](//evil.org)",
        "`https://example.org`",
        "```\nhttps://example.org\n```",
    ] {
        assert!(!html(text).contains("<a "), "{text}: {}", html(text));
    }
}

#[test]
fn mentions_are_marked_where_they_count() {
    let mark = |name: &str| format!("<span class=\"mention\" data-user=\"{name}\">@{name}</span>");
    assert_eq!(
        html("hi @ann, and **@bob**."),
        format!(
            "<p>hi {}, and <strong>{}</strong>.</p>",
            mark("ann"),
            mark("bob")
        )
    );
    assert_eq!(to_html("hi @ann", &[]), "<p>hi @ann</p>");
    assert!(!html("`@ann` and [@bob](http://b.c)").contains("mention"));
}

#[test]
fn no_message_is_empty_to_the_eye() {
    for text in [
        "#",
        ">",
        "-",
        "```",
        "***",
        "[a]: http://b.c",
        "&#8203;x",
        "![](x)",
        "[](http://b.c)",
    ] {
        assert!(
            !read(&html(text)).trim().is_empty(),
            "{text}: {}",
            html(text)
        );
    }
    assert!(read(&html("before\n\n[a]: http://b.c 'after'")).contains("[a]: http://b.c 'after'"));
}

#[test]
fn nothing_nests_without_end() {
    for text in [
        ">".repeat(4_000),
        "- ".repeat(2_000),
        "*a **b ".repeat(500),
        "[".repeat(4_000),
    ] {
        read(&html(&text));
    }
}

/// Pieces that mean something in Markdown or in HTML.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "<",
            ">",
            "\"",
            "'",
            "&",
            "&lt;",
            "&#60;",
            "<script>",
            "</p>",
            "<a href='",
            "onclick=",
            "javascript:",
            "http://",
            "https://a.b/",
            "mailto:",
            "a@b.cd",
            "@ann",
            "@\"x",
            "[",
            "](",
            ")",
            "![",
            "]: ",
            "`",
            "```",
            "\n",
            "\n\n",
            "    ",
            "> ",
            "- ",
            "1. ",
            "*",
            "**",
            "_",
            "# ",
            "---",
            "===",
            "\\",
            "|",
            "~~",
            "<!--",
            "-->",
            "<?",
            "]]>",
            "\t",
            "é",
            "\u{202e}",
            "\u{0}",
            " ",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-z]{1,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_yields_anything_but_the_listed_elements(pieces in prop::collection::vec(piece(), 0..40)) {
        read(&html(&pieces.concat()));
    }

    #[test]
    fn words_are_kept(words in prop::collection::vec("[a-z]{1,8}", 1..20)) {
        prop_assert_eq!(read(&html(&words.join(" "))), words.join(" "));
    }
}

#[test]
fn a_line_has_no_marks() {
    for (text, line) in [
        ("**bold** and `code`", "bold and code"),
        ("# Title\n\n- one\n- two", "Title one two"),
        ("snake_case *a*b 2 * 3", "snake_case ab 2 * 3"),
        ("[site](http://a.b/)\nnext", "site next"),
        ("<b>x</b>", "<b>x</b>"),
        ("look, @ann", "look, @ann"),
        ("#", "#"),
    ] {
        assert_eq!(to_line(text), line, "{text}");
    }
}
