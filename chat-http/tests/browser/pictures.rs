//! Pictures of the pages: those of the README, and every page in every look for a person to judge.
//! They are written to the folder that `CHAT_PICTURES` names.

use std::path::PathBuf;
use std::time::Duration;

use chat_testkit::browser::webp::{Frame, animate};
use chat_testkit::browser::{Engine, Page, Size};
use chat_testkit::http::Client;
use hyper::Method;
use serde_json::{Value, json};

use crate::rooms::in_room;
use crate::world::{FIELD, LIVE, World, act, say, says, send, shown, visible};

/// Most bytes of the animation.
const MAX_ANIMATION: usize = 2 * 1024 * 1024;
const WINDOW: Size = Size::desktop(1200, 760);
const STAGE: Size = Size::desktop(900, 600);

fn folder() -> PathBuf {
    let folder = std::env::var_os("CHAT_PICTURES").expect("CHAT_PICTURES names a folder");
    // A test runs in the folder of its crate.
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    root.join(folder)
}

/// Ann and her colleagues, on an ordinary day.
struct Office {
    world: World,
    ann: Page,
    anns: Client,
    bob: Client,
    dmitri: Client,
}

impl Office {
    async fn open() -> Option<Self> {
        let world = World::start(Engine::Chromium).await?;
        let ann = world.account("ann").await;
        let anns = world.client("ann").await;
        let bob = world.server.account("bob").await;
        let dmitri = world.server.account("dmitri").await;
        let mut office = Self {
            world,
            ann,
            anns,
            bob,
            dmitri,
        };
        office.furnish().await;
        Some(office)
    }

    async fn furnish(&mut self) {
        let (ann, put) = (&mut self.anns, Method::PUT);
        for (room, topic) in [
            ("design", ""),
            ("lunch", ""),
            ("releases", ""),
            ("general", "Everything that has no room of its own"),
        ] {
            send(ann, put.clone(), &format!("/chat/{room}"), &json!({})).await;
            let topic = json!({ "topic": topic });
            send(ann, Method::PATCH, &format!("/chat/{room}"), &topic).await;
            let join = format!("/chat/{room}/join");
            send(ann, Method::POST, &join, &Value::Null).await;
        }
        send(ann, put.clone(), "/chat/leads", &json!({ "private": true })).await;
        send(ann, put, "/chat/leads/members/bob", &Value::Null).await;
        self.talk().await;
    }

    /// Posts the messages of the room, up to the last one that ann has read.
    async fn talk(&mut self) {
        let (ann, bob, dmitri) = (&mut self.anns, &mut self.bob, &mut self.dmitri);
        post(bob, "general", "The standalone run hung again last night:\n\n- only after a restart of `mongod`\n- never on a replica set", None).await;
        post(dmitri, "general", "I have a patch for this:\n\n```\nlet lease = store.lease().await?;\nassert!(lease.is_held());\n```\n\nReview welcome: https://example.org/reviews/118", None).await;
        react(ann, 2, "👍").await;
        react(bob, 2, "👍").await;
        react(bob, 2, "🎉").await;
        post(
            bob,
            "general",
            "Looks right to me. @ann could you try it on the replica set?",
            Some(2),
        )
        .await;
        post(
            ann,
            "general",
            "Running it now, forty rounds. Will take a few minutes.",
            None,
        )
        .await;
        send(
            ann,
            Method::POST,
            "/chat/general/read",
            &json!({ "seq": 4 }),
        )
        .await;

        self.world
            .post(
                "general",
                "eve",
                "Hi! Is this the right place to ask about the guest limits?",
            )
            .await;
        post(dmitri, "general", "It is :-) Ask away.", None).await;
        self.world
            .post("general", "eve", "How many rooms may one address create?")
            .await;
        for (room, text) in [
            ("design", "@ann the dark theme is ready, have a look"),
            ("lunch", "Soup."),
            ("lunch", "Or noodles?"),
            ("releases", "**0.9** is tagged."),
            ("leads", "Budget is through."),
        ] {
            post(bob, room, text, None).await;
        }
    }

    /// Posts ann's answer.
    async fn answer(&mut self) {
        let (ann, bob) = (&mut self.anns, &mut self.bob);
        post(ann, "general", "Twenty an hour, and accounts are counted by themselves. See [operations.md](https://example.org/operations.md).", None).await;
        let edited = json!({ "text": "Twenty an hour; accounts are counted by themselves. See [operations.md](https://example.org/operations.md)." });
        send(ann, Method::PATCH, "/chat/general/messages/8", &edited).await;
        react(bob, 8, "🙏").await;
        post(ann, "general", "Forty rounds, no hang. Merging. 🎉", None).await;
    }
}

async fn post(client: &mut Client, room: &str, text: &str, reply_to: Option<i64>) {
    let message = match reply_to {
        Some(seq) => json!({ "text": text, "reply_to": seq }),
        None => json!({ "text": text }),
    };
    let path = format!("/chat/{room}/messages");
    send(client, Method::POST, &path, &message).await;
}

async fn react(client: &mut Client, seq: i64, emoji: &str) {
    let emoji: String = emoji.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/chat/general/messages/{seq}/reactions/{emoji}");
    send(client, Method::PUT, &path, &Value::Null).await;
}

/// Waits until nothing moves and fonts are there.
async fn settle(page: &Page) {
    page.evaluate("document.fonts.ready.then(() => Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))).then(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn())))))")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes files: CHAT_PICTURES=docs"]
async fn pictures_of_the_readme() {
    let Some(office) = Office::open().await else {
        return;
    };
    film(&office).await;

    let Some(mut office) = Office::open().await else {
        return;
    };
    office.answer().await;
    let page = &office.ann;
    page.resize(WINDOW).await;
    page.prefer(&[("prefers-color-scheme", "light")]).await;
    office.world.enter(page, "general").await;
    page.hover("#m5 .body").await;
    settle(page).await;
    page.picture(&folder().join("room.png")).await;

    page.prefer(&[("prefers-color-scheme", "dark")]).await;
    page.press("Control+k").await;
    page.wait_for(&visible("#finder input")).await;
    page.type_text("l").await;
    page.wait_for(&says("#found [role=option]", "lunch")).await;
    settle(page).await;
    page.picture(&folder().join("find.png")).await;
    page.press("Escape").await;

    page.resize(Size::PHONE).await;
    office.world.enter(page, "general").await;
    settle(page).await;
    page.picture(&folder().join("phone.png")).await;
}

/// Takes the pictures of an animation.
struct Film<'a> {
    page: &'a Page,
    frames: Vec<Frame>,
}

impl Film<'_> {
    async fn take(&mut self, millis: u64) {
        settle(self.page).await;
        self.frames.push(Frame {
            picture: self.page.webp().await,
            shown: Duration::from_millis(millis),
        });
    }
}

/// Ann reads, answers, reacts and goes to another room.
async fn film(office: &Office) {
    let page = &office.ann;
    page.resize(STAGE).await;
    page.prefer(&[("prefers-color-scheme", "light")]).await;
    office.world.enter(page, "general").await;
    let mut film = Film {
        page,
        frames: Vec::new(),
    };
    film.take(1_200).await;

    page.click(FIELD).await;
    for (i, letter) in "Forty rounds, no hang!".chars().enumerate() {
        page.type_text(&letter.to_string()).await;
        if i % 2 == 1 {
            film.take(110).await;
        }
    }
    page.press("Enter").await;
    page.wait_for(&shown("Forty rounds, no hang!")).await;
    page.wait_for("document.querySelector('#m8')").await;
    film.take(900).await;

    let dmitri = office.world.stranger().await;
    let account = json!({ "username": "dmitri", "password": crate::support::PASSWORD });
    office.world.log_in(&dmitri, "login", &account).await;
    office.world.enter(&dmitri, "general").await;
    dmitri.type_text("Then I merge").await;
    page.wait_for(&says("#typing", "dmitri")).await;
    film.take(900).await;
    say(&dmitri, " it.").await;
    page.wait_for(&shown("Then I merge it.")).await;
    film.take(900).await;
    page.hover("#m9 .body").await;
    film.take(500).await;
    page.click("#m9 .row-tools [data-do=react]").await;
    page.wait_for(&visible("#picker .emoji button")).await;
    page.type_text("tada").await;
    page.wait_for("document.querySelector('#picker .emoji').children.length < 5")
        .await;
    film.take(900).await;
    page.press("Enter").await;
    page.wait_for("document.querySelector('#m9 .reaction')")
        .await;
    film.take(1_000).await;

    page.click("#rooms a.room[data-room=design]").await;
    page.wait_for(&in_room("design")).await;
    film.take(1_600).await;
    page.prefer(&[("prefers-color-scheme", "dark")]).await;
    film.take(1_600).await;

    let animation = animate(&film.frames, STAGE);
    assert!(animation.len() < MAX_ANIMATION, "{} bytes", animation.len());
    std::fs::write(folder().join("chat.webp"), animation).expect("written");
}

/// A look in which a person judges the pages.
struct Look {
    name: &'static str,
    size: Size,
    scheme: &'static str,
    forced_colors: &'static str,
}

const fn look(name: &'static str, size: Size, scheme: &'static str) -> Look {
    Look {
        name,
        size,
        scheme,
        forced_colors: "none",
    }
}

const LOOKS: [Look; 5] = [
    look("wide", Size::desktop(1440, 900), "light"),
    look("wide-dark", Size::desktop(1440, 900), "dark"),
    look("narrow", Size::PHONE, "light"),
    look("narrow-dark", Size::PHONE, "dark"),
    Look {
        forced_colors: "active",
        ..look("forced", Size::WIDE, "dark")
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes files for a person to look at: CHAT_PICTURES=/tmp"]
async fn pictures_of_every_page() {
    let Some(mut office) = Office::open().await else {
        return;
    };
    office.answer().await;
    hard_cases(&mut office).await;
    let stranger = office.world.stranger().await;
    for page in [&office.ann, &stranger] {
        page.expect_failed_requests();
    }
    for look in LOOKS {
        for language in ["en", "de"] {
            for page in [&office.ann, &stranger] {
                page.resize(look.size).await;
                page.prefer(&[
                    ("prefers-color-scheme", look.scheme),
                    ("forced-colors", look.forced_colors),
                ])
                .await;
                page.speak(language).await;
            }
            let name = format!("{}-{language}", look.name);
            pages(&office, &stranger, &name).await;
            parts(&office, &name).await;
        }
    }
    office.ann.prefer(&[]).await;
    office.ann.resize(Size::WIDE).await;
    office.world.enter(&office.ann, "general").await;
    office.ann.print().await;
    office.ann.picture(&folder().join("print.png")).await;
}

/// Names and texts that are hard to lay out, and invitations.
async fn hard_cases(office: &mut Office) {
    let long = "a-very-long-name-that-somebody-chose-for-whatever-reason-0123456";
    office.world.server.account(long).await;
    let zalgo: String = "zalgo"
        .chars()
        .flat_map(|c| std::iter::once(c).chain(('\u{300}'..'\u{330}').take(30)))
        .collect();
    for (sender, text) in [
        (
            "a-very-long-guest-name-that-nobody-can-pronounce-at-all-0123456",
            "x".repeat(400),
        ),
        ("שרה", "שלום עולם, מה **שלומך**?".into()),
        ("zoë", zalgo),
        ("zoë", "🎉🎉".into()),
        ("zoë", (1..40).map(|n| format!("line {n}\n")).collect()),
        ("zoë", "> quoted\n\nand `code` and\n\n1. one\n2. two".into()),
    ] {
        office.world.post("hard%20cases", sender, &text).await;
    }
    send(
        &mut office.anns,
        Method::POST,
        "/chat/hard%20cases/join",
        &Value::Null,
    )
    .await;
    send(
        &mut office.anns,
        Method::PUT,
        &format!("/chat/leads/members/{long}"),
        &Value::Null,
    )
    .await;
    for room in ["offsite", "board"] {
        let bob = &mut office.bob;
        let path = format!("/chat/{room}");
        send(bob, Method::PUT, &path, &json!({ "private": true })).await;
        send(
            bob,
            Method::PUT,
            &format!("{path}/members/ann"),
            &Value::Null,
        )
        .await;
    }
}

async fn pages(office: &Office, stranger: &Page, look: &str) {
    for (name, page, path) in [
        ("log-in", stranger, "/login"),
        (
            "log-in-refused",
            stranger,
            "/login?form=login&username=ann&refused=401",
        ),
        ("stranger", stranger, "/rooms/general"),
        ("rooms", &office.ann, "/"),
        ("new", &office.ann, "/new"),
        ("room", &office.ann, "/rooms/general"),
        ("hard", &office.ann, "/rooms/hard%20cases"),
        ("empty", &office.ann, "/rooms/offsite"),
        ("message", &office.ann, "/rooms/general/messages/8"),
        ("people", &office.ann, "/rooms/leads/people"),
        ("account", &office.ann, "/account?refused=403"),
        ("missing", &office.ann, "/rooms/nowhere"),
        ("error", &office.ann, "/no/such/page"),
    ] {
        page.open(&office.world.url(path)).await;
        if path.starts_with("/rooms/")
            && !path.contains("/messages/")
            && !path.contains("people")
            && name != "missing"
        {
            page.wait_for(LIVE).await;
        }
        settle(page).await;
        page.picture(&folder().join(format!("{name}-{look}.png")))
            .await;
    }
}

/// Panels, menus and dialogs of a room.
async fn parts(office: &Office, look: &str) {
    let page = &office.ann;
    let take = async |name: &str| {
        settle(page).await;
        page.picture(&folder().join(format!("{name}-{look}.png")))
            .await;
    };
    office.world.enter(page, "general").await;
    page.click("#show-members").await;
    page.wait_for(&visible("#member-list")).await;
    take("members").await;
    page.click("#close-members").await;
    page.click("#notify").await;
    take("notify").await;
    page.press("Escape").await;
    if !look.starts_with("narrow") {
        act(page, 8, "react").await;
        page.wait_for(&visible("#picker .emoji button")).await;
        take("picker").await;
        page.press("Escape").await;
        act(page, 8, "edit").await;
        page.wait_for(&visible(".editor textarea")).await;
        page.press("Escape").await;
        page.press("Escape").await;
        page.fill(FIELD, "@d").await;
        page.wait_for(&visible("#completions [role=option]")).await;
        take("completions").await;
        page.fill(FIELD, "").await;
    } else {
        page.click("#open-sidebar").await;
        take("drawer").await;
        page.click("#close-sidebar").await;
    }
    page.evaluate("document.querySelector('#scroller').focus()")
        .await;
    page.press("?").await;
    page.wait_for("document.querySelector('#shortcuts').open")
        .await;
    take("shortcuts").await;
    page.press("Escape").await;
}
