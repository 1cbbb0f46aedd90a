//! Messages as they are shown, and what one does with them.

use chat_testkit::browser::Page;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::{FIELD, LIVE, World, act, say, says, send, seqs, shown, texts, visible};

in_both!(
    what_one_writes_another_sees,
    a_deletion_waits_for_undo,
    a_reaction_is_picked_and_taken_back,
);
in_chromium!(
    the_tools_of_a_message_act_on_that_message,
    an_edit_shows_on_every_page,
    a_reply_shows_the_quoted_line_and_leads_there,
    markdown_is_drawn_and_html_is_text,
    messages_are_grouped_by_sender_and_day,
    a_mention_of_the_reader_stands_out,
    a_link_to_a_message_opens_the_room_there,
    a_long_text_folds,
    a_text_stays_in_its_row,
    history_loads_in_place_in_both_directions_and_rows_are_bounded,
    what_is_shown_is_not_fetched_again,
    a_reader_of_the_past_is_told_of_new_messages,
);

async fn what_one_writes_another_sees(world: World) {
    let (ann, bob) = tokio::join!(world.guest("ann"), world.guest("bob"));
    tokio::join!(
        world.enter(&ann, "tea & biscuits"),
        world.enter(&bob, "tea & biscuits")
    );
    let hostile = "<script>document.title = 'owned'</script> & \"quotes\" {braces}";
    let conversation = [
        "Good morning!",
        hostile,
        "Morning, Ann.\nTwo lines from me.",
    ];

    say(&ann, conversation[0]).await;
    ann.wait_for(&shown(conversation[0])).await;
    say(&ann, conversation[1]).await;
    bob.wait_for(&shown(conversation[1])).await;
    say(&bob, conversation[2]).await;

    for page in [&ann, &bob] {
        page.wait_for(&shown(conversation[2])).await;
        assert_eq!(seqs(page).await, [1, 2, 3], "each once, in order");
        assert_eq!(
            page.evaluate("document.querySelectorAll('#messages .guest').length")
                .await,
            json!(3)
        );
        assert!(!page.get::<String>("document.title").await.contains("owned"));
    }
    ann.reload().await;
    ann.wait_for(LIVE).await;
    assert_eq!(texts(&ann).await, conversation, "a reload shows the same");
}

async fn the_tools_of_a_message_act_on_that_message(world: World) {
    let ann = world.account("ann").await;
    world.enter(&ann, "a").await;
    for text in ["one", "two", "three"] {
        say(&ann, text).await;
        ann.wait_for(&shown(text)).await;
    }
    for seq in [1, 2, 3] {
        ann.hover(&format!("#m{seq} .body")).await;
        ann.wait_for(&visible(&format!("#m{seq} .row-tools"))).await;
        // The middle of the tools is nearer to their own row than to any other.
        let nearest = "((tools) => {
            const middle = (element) => { const box = element.getBoundingClientRect(); return (box.top + box.bottom) / 2; };
            const rows = [...document.querySelectorAll('#messages .message')];
            const far = (row) => Math.max(0, row.getBoundingClientRect().top - middle(tools), middle(tools) - row.getBoundingClientRect().bottom);
            return rows.sort((a, b) => far(a) - far(b))[0] === tools.closest('.message');
        })(document.querySelector('.row-tools'))";
        assert_eq!(
            ann.evaluate(nearest).await,
            json!(true),
            "tools of message {seq}"
        );
    }
    act(&ann, 2, "delete").await;
    ann.wait_for("'deleted' in document.querySelector('#m2').dataset")
        .await;
    assert_eq!(world.stored("a").await, ["one", "", "three"]);
}

async fn a_deletion_waits_for_undo(world: World) {
    let (ann, bob) = tokio::join!(world.account("ann"), world.guest("bob"));
    world.enter(&ann, "a").await;
    for text in ["kept", "gone"] {
        say(&ann, text).await;
        ann.wait_for(&shown(text)).await;
    }
    world.enter(&bob, "a").await;

    act(&ann, 1, "delete").await;
    ann.click("#toast button").await;
    ann.wait_for("!document.querySelector('#m1.leaving')").await;
    act(&ann, 2, "delete").await;

    bob.wait_for("'deleted' in document.querySelector('#m2').dataset")
        .await;
    ann.wait_for("'deleted' in document.querySelector('#m2').dataset")
        .await;
    assert_eq!(
        world.stored("a").await,
        ["kept", ""],
        "the first one was taken back"
    );
    assert!(
        !bob.get::<String>("document.querySelector('#messages').textContent")
            .await
            .contains("gone")
    );
    let bobs = "document.querySelector('#m1').matches(':not(.own)') && !document.querySelector('#m1 form')";
    assert_eq!(bob.evaluate(bobs).await, json!(true));
}

async fn a_reaction_is_picked_and_taken_back(world: World) {
    world.post("a", "cleo", "hello").await;
    let (ann, bob) = tokio::join!(world.guest("ann"), world.guest("bob"));
    tokio::join!(world.enter(&ann, "a"), world.enter(&bob, "a"));
    let count = |n: usize| {
        let counted =
            "document.querySelector('#m1 .reaction[data-emoji=\"🎉\"] .count')?.textContent";
        if n == 0 {
            format!("{counted} === undefined")
        } else {
            format!("{counted} === '{n}'")
        }
    };

    ann.hover("#m1 .body").await;
    ann.click("#m1 .row-tools [data-do=react]").await;
    ann.click("#picker input").await;
    ann.type_text("tada").await;
    ann.click("#picker .emoji button").await;
    ann.wait_for(&count(1)).await;
    bob.wait_for(&count(1)).await;

    bob.click("#m1 .reaction").await;
    ann.wait_for(&count(2)).await;
    bob.wait_for(&count(2)).await;
    assert_eq!(
        bob.evaluate("document.querySelector('#m1 .reaction').ariaPressed")
            .await,
        json!("true")
    );
    bob.click("#m1 .reaction").await;
    ann.wait_for(&count(1)).await;
    ann.click("#m1 .reaction").await;
    bob.wait_for(&count(0)).await;
}

async fn an_edit_shows_on_every_page(world: World) {
    let (ann, bob) = tokio::join!(world.account("ann"), world.guest("bob"));
    tokio::join!(world.enter(&ann, "a"), world.enter(&bob, "a"));
    say(&ann, "first try").await;
    bob.wait_for(&shown("first try")).await;

    act(&ann, 1, "edit").await;
    ann.wait_for("document.activeElement.closest('.editor')")
        .await;
    ann.press("Escape").await;
    ann.wait_for("!document.querySelector('.editor')").await;
    act(&ann, 1, "edit").await;
    ann.wait_for("document.activeElement.closest('.editor')")
        .await;
    ann.press("Control+a").await;
    ann.type_text("second try\n").await;

    for page in [&ann, &bob] {
        page.wait_for(&shown("second try")).await;
        page.wait_for(&says("#m1", "edited")).await;
    }
    bob.hover("#m1 .body").await;
    bob.click("#m1 .row-tools [data-do=menu]").await;
    bob.wait_for(&visible("#row-menu [data-do=reply]")).await;
    let offered = "[...document.querySelectorAll('#row-menu button')].filter((item) => item.checkVisibility()).map((item) => item.dataset.do).join()";
    assert_eq!(
        bob.evaluate(offered).await,
        json!("reply,react,copy"),
        "what bob may do"
    );
    bob.press("Escape").await;
}

async fn a_reply_shows_the_quoted_line_and_leads_there(world: World) {
    world.post("a", "cleo", "the question\nin two lines").await;
    world.seed("a", 120).await;
    let ann = world.guest("ann").await;
    ann.open(&world.url("/rooms/a?around=1")).await;
    ann.wait_for(LIVE).await;
    act(&ann, 1, "reply").await;
    ann.wait_for(&says("#reply-bar", "cleo")).await;
    ann.wait_for(&format!(
        "document.activeElement === document.querySelector('{FIELD}')"
    ))
    .await;
    ann.type_text("the answer\n").await;
    ann.wait_for(&shown("the answer")).await;
    ann.wait_for(&says("#m122 .quote", "the question")).await;
    assert!(
        !ann.get::<String>("document.querySelector('#m122 .quote').innerText")
            .await
            .contains("two lines")
    );

    ann.click("#m122 .quote").await;
    ann.wait_for("((box) => box.top >= 0 && box.bottom <= innerHeight)(document.querySelector('#m1').getBoundingClientRect())").await;
    let mut client = world.server.client();
    let stored = send(
        &mut client,
        Method::GET,
        "/chat/a/messages/122",
        &Value::Null,
    )
    .await;
    assert_eq!(stored["reply_to"], 1);
}

async fn markdown_is_drawn_and_html_is_text(world: World) {
    let ann = world.guest("ann").await;
    let text = "**bold** and *italic*, `code` <b>html</b>\n\n```\nfn main() {}\n```\n\n- one\n- two\n\n> quoted\n\nhttps://example.org/a and [x](javascript:alert(1))";
    world.post("a", "cleo", text).await;
    world.enter(&ann, "a").await;
    ann.wait_for("document.querySelector('#m1 pre code')").await;
    let has = |selector: &str| format!("Boolean(document.querySelector('#m1 .body {selector}'))");
    for selector in [
        "strong",
        "em",
        "code",
        "pre",
        "ul li",
        "blockquote",
        "a[href=\"https://example.org/a\"]",
    ] {
        assert_eq!(
            ann.evaluate(&has(selector)).await,
            json!(true),
            "{selector}"
        );
    }
    for selector in ["b", "a[href^=javascript]", "script"] {
        assert_eq!(
            ann.evaluate(&has(selector)).await,
            json!(false),
            "{selector}"
        );
    }
    assert_eq!(
        ann.evaluate(&says("#m1 .body", "<b>html</b>")).await,
        json!(true)
    );
}

async fn messages_are_grouped_by_sender_and_day(world: World) {
    for (sender, text) in [("cleo", "1"), ("cleo", "2"), ("dan", "3"), ("dan", "4")] {
        world.post("a", sender, text).await;
    }
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    world.post("a", "dan", "5").await;
    ann.wait_for(&shown("5")).await;
    let joins = "[...document.querySelectorAll('#messages .message')].map((row) => Number(row.classList.contains('joins'))).join('')";
    assert_eq!(ann.evaluate(joins).await, json!("01011"));
    assert_eq!(
        ann.evaluate("document.querySelectorAll('#messages .day').length")
            .await,
        json!(1)
    );
    assert_eq!(
        ann.evaluate(&says("#messages .day", "Today")).await,
        json!(true)
    );
    let time = "document.querySelector('#m1 time')";
    assert!(
        ann.get::<String>(&format!("{time}.innerText")).await.len() <= 8,
        "a short time"
    );
    assert!(
        ann.get::<String>(&format!("{time}.closest('[title]').title"))
            .await
            .len()
            > 12,
        "exact on hover"
    );
}

async fn a_mention_of_the_reader_stands_out(world: World) {
    let ann = world.account("ann").await;
    world.enter(&ann, "a").await;
    world.post("a", "cleo", "hello @ann").await;
    world.post("a", "cleo", "hello @dan").await;
    ann.wait_for(&shown("hello @dan")).await;
    let stands_out = "[...document.querySelectorAll('#messages .message')].map((row) => row.classList.contains('mentions-me')).join()";
    assert_eq!(ann.evaluate(stands_out).await, json!("true,false"));
    let colours = "new Set([...document.querySelectorAll('#messages .message')].map((row) => getComputedStyle(row).backgroundColor)).size";
    assert_eq!(ann.evaluate(colours).await, json!(2));
}

async fn a_link_to_a_message_opens_the_room_there(world: World) {
    world.seed("a", 400).await;
    let ann = world.guest("ann").await;
    ann.open(&world.url("/rooms/a?around=77#m77")).await;
    ann.wait_for("((box) => box.top >= 0 && box.bottom <= innerHeight)(document.querySelector('#m77').getBoundingClientRect())").await;
    let link: String = ann.get("document.querySelector('#m80 .at').href").await;
    ann.open(&link).await;
    ann.wait_for("((box) => box.top >= 0 && box.bottom <= innerHeight)(document.querySelector('#m80').getBoundingClientRect())").await;
}

async fn a_long_text_folds(world: World) {
    let lines: Vec<_> = (1..=60).map(|i| format!("line {i}")).collect();
    world.post("a", "cleo", &lines.join("\n")).await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    let height = "document.querySelector('#m1').getBoundingClientRect().height";
    let folded: f64 = ann.get(height).await;
    ann.click("#m1 .fold").await;
    ann.wait_for(&format!("{height} > {folded} * 1.5")).await;
    ann.wait_for("document.querySelector('#m1 .fold').ariaExpanded === 'true'")
        .await;
    ann.click("#m1 .fold").await;
    ann.wait_for(&format!("{height} === {folded}")).await;
}

async fn a_text_stays_in_its_row(world: World) {
    let zalgo: String = "zalgo"
        .chars()
        .flat_map(|c| std::iter::once(c).chain(('\u{300}'..'\u{340}').cycle().take(40)))
        .collect();
    world.post("a", "cleo", "above").await;
    world.post("a", "cleo", &zalgo).await;
    world.post("a", "cleo", &"x".repeat(3_000)).await;
    world.post("a", "cleo", "\u{202e}reversed").await;
    world.post("a", "cleo", "שלום עולם").await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.wait_for("document.querySelector('#m5')").await;
    let clipped = "['hidden', 'clip'].includes(getComputedStyle(document.querySelector('#m2 .body')).overflowY)
        || getComputedStyle(document.querySelector('#m2')).contain.includes('paint')";
    assert_eq!(
        ann.evaluate(clipped).await,
        json!(true),
        "marks above and below are cut off"
    );
    assert_eq!(ann.evaluate("((scroller) => scroller.scrollWidth <= scroller.clientWidth)(document.querySelector('#scroller'))").await, json!(true));
    assert_eq!(
        ann.evaluate("getComputedStyle(document.querySelector('#m5 .body')).direction")
            .await,
        json!("rtl")
    );
}

/// Scrolls up until the first message of the room is shown.
async fn scroll_to_start(page: &Page) {
    for _ in 0..200 {
        if page
            .evaluate("Boolean(document.querySelector('#m1'))")
            .await
            == json!(true)
        {
            return;
        }
        let before: i64 = page
            .get("Number(document.querySelector('#messages .message').dataset.seq)")
            .await;
        page.evaluate("document.querySelector('#scroller').scrollBy(0, -1e6)")
            .await;
        page.wait_for(&format!(
            "Number(document.querySelector('#messages .message').dataset.seq) < {before}"
        ))
        .await;
    }
    panic!("the start of the room does not come");
}

fn is_dense(numbers: &[i64]) -> bool {
    numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

async fn history_loads_in_place_in_both_directions_and_rows_are_bounded(world: World) {
    world.seed("a", 1_000).await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;

    // The message that is read stays where it is while older ones are loaded.
    ann.evaluate("document.querySelector('#m960').scrollIntoView({ block: 'start' })")
        .await;
    let top = "document.querySelector('#m960').getBoundingClientRect().top";
    let before: f64 = ann.get(top).await;
    ann.wait_for("document.querySelector('#m920')").await;
    let after: f64 = ann.get(top).await;
    assert!((after - before).abs() < 2.0, "{before} became {after}");

    scroll_to_start(&ann).await;
    let numbers = seqs(&ann).await;
    assert!(is_dense(&numbers) && numbers.len() <= 350, "{numbers:?}");
    assert!(numbers.len() >= 150, "{}", numbers.len());

    // Down again by scrolling, then to the end.
    ann.evaluate("document.querySelector('#scroller').scrollBy(0, 1e6)")
        .await;
    ann.wait_for(
        "Number([...document.querySelectorAll('#messages .message')].at(-1).dataset.seq) > 340",
    )
    .await;
    ann.click("#jump").await;
    ann.wait_for("document.querySelector('#m1000')?.getBoundingClientRect().bottom <= innerHeight")
        .await;
    assert!(is_dense(&seqs(&ann).await));
}

async fn what_is_shown_is_not_fetched_again(world: World) {
    world.seed("a", 50).await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    world.post("a", "cleo", "live").await;
    ann.wait_for(&shown("live")).await;
    say(&ann, "mine").await;
    ann.wait_for(&shown("mine")).await;
    let traffic = ann.wait_for_requests().await;
    let rows: Vec<_> = traffic
        .sent
        .iter()
        .filter(|url| url.contains("/rows") || url.contains("/changes"))
        .collect();
    assert!(rows.is_empty(), "{rows:?}");
}

async fn a_reader_of_the_past_is_told_of_new_messages(world: World) {
    world.seed("a", 200).await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.evaluate("document.querySelector('#m155').scrollIntoView({ block: 'start' })")
        .await;
    ann.wait_for(&visible("#jump")).await;
    let top = "document.querySelector('#m155').getBoundingClientRect().top";
    ann.wait_for("document.querySelector('#m101')").await;
    let before: f64 = ann.get(top).await;

    for text in ["1", "2", "3"] {
        world.post("a", "cleo", text).await;
    }
    ann.wait_for(&says("#jump", "3")).await;
    let after: f64 = ann.get(top).await;
    assert!((after - before).abs() < 2.0, "{before} became {after}");
    ann.wait_for("document.querySelector('#messages .new-line + #m201')")
        .await;

    ann.click("#jump").await;
    ann.wait_for("document.querySelector('#jump').hidden").await;
    ann.wait_for("document.querySelector('#m203').getBoundingClientRect().bottom <= innerHeight")
        .await;
}
