//! The pages as a client without JavaScript sees them.

#[macro_use]
mod support;

use chat_http::{App, Guests, Part, Settings};
use chat_testkit::http::Client;
use chat_testkit::live::Socket;
use chatcore::{Actor, NewMessage, Privacy, RoomName, Username};
use futures_util::future::join_all;
use hyper::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use support::Running;

on_every_store! {
    a_person_logs_in_opens_a_room_writes_and_reads,
    markup_in_rooms_names_and_texts_is_shown_as_text,
    a_refused_form_says_why_and_keeps_what_was_typed,
    a_log_in_leads_only_to_this_server,
    older_messages_are_a_link_away,
    a_public_url_decides_on_prefix_and_cookie,
    a_person_registers_changes_the_password_and_ends_sessions,
    a_refused_registration_says_why_and_keeps_the_name,
    browsers_get_pages_whatever_fails,
    a_room_that_nobody_opened_can_be_created_from_its_page,
    a_guest_sees_and_ends_no_session_but_its_own,
    guests_who_may_only_read_are_sent_to_log_in,
    rows_come_as_a_fragment_before_after_and_around_a_message,
    a_fragment_has_a_page_of_rows_at_most_and_their_quotes,
    an_answer_that_is_large_is_not_compressed,
    a_socket_that_asks_for_rows_gets_those_of_the_page,
    a_deleted_message_is_not_quoted_any_more,
    rooms_beside_a_page_tell_what_is_unread,
    of_many_rooms_the_open_one_and_the_unread_ones_are_listed,
    who_invites_to_many_rooms_fills_the_list_of_nobody,
    a_socket_that_asks_for_lines_gets_those_of_the_list,
    a_user_is_told_that_the_own_rooms_changed,
    a_room_is_created_once_and_left_again,
    two_accounts_have_a_room_that_nobody_else_can_take,
    the_page_of_a_message_does_what_scripts_do,
    the_page_speaks_the_language_of_the_reader,
    an_error_page_offers_no_log_in_to_who_is_logged_in,
    pages_are_compressed_for_who_takes_that,
    a_script_gets_a_page_without_what_stands_beside_it,
}

/// Markup in every place where it could do harm.
const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{x}{{ if y }}",
    "</title></textarea>",
    "&lt;",
];

fn encode(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

async fn a_person_logs_in_opens_a_room_writes_and_reads(server: &Running) {
    let mut stranger = server.client();
    let front = stranger.get("/").await;
    assert_eq!(
        (front.status, front.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(front.text().contains("href=\"/login\""));
    let login = stranger
        .form(
            "/auth/login",
            "username=ann&password=&next=%2Frooms%2Fgeneral",
        )
        .await;
    assert_eq!(
        (login.status, login.header("location")),
        (303, Some("/rooms/general"))
    );
    let mut ann = server.client().with_session(&login);
    let opened = ann.form("/rooms", "room=a+b").await;
    assert_eq!(
        (opened.status, opened.header("location")),
        (303, Some("/rooms/a%20b"))
    );
    let posted = ann
        .form("/rooms/a%20b", "text=first+line%0D%0Asecond&nonce=n1")
        .await;
    assert_eq!(
        (posted.status, posted.header("location")),
        (303, Some("/rooms/a%20b"))
    );
    assert_eq!(
        ann.form("/rooms/a%20b", "text=first+line%0D%0Asecond&nonce=n1")
            .await
            .status,
        303,
        "sent twice"
    );
    let page = ann.get("/rooms/a%20b").await.text();
    assert_eq!(
        page.matches("<p>first line<br>second</p>").count(),
        1,
        "{page}"
    );
    assert!(page.contains(">guest</small>") && page.contains("Log out"));
    let front = ann.get("/").await.text();
    assert!(
        front.contains("href=\"/rooms/a%20b\"") && front.contains("<span id=\"count\">1</span>"),
        "{front}"
    );
    let page = stranger.get("/rooms/a%20b").await.text();
    assert!(
        page.contains("first line")
            && page.contains("/login?next=%2Frooms%2Fa%2520b")
            && !page.contains("<form id=\"composer\"")
    );
    let out = ann.form("/auth/logout", "").await;
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert_eq!(ann.get("/auth/me").await.status, 401);
}

async fn markup_in_rooms_names_and_texts_is_shown_as_text(server: &Running) {
    for (i, hostile) in HOSTILE.iter().enumerate() {
        // Names cannot have spaces or slashes; the rest stays.
        let name = hostile.replace([' ', '/'], "");
        let mut client = server.client();
        let path = format!("/chat/{}/messages", encode(&name));
        let posted = client
            .post(&path, &json!({ "sender": name, "text": hostile }))
            .await;
        assert_eq!(posted.status, 201, "{hostile}: {}", posted.text());
        let login = client
            .form("/auth/login", &format!("username={}", encode(&name)))
            .await;
        let mut user = server.client().with_session(&login);
        let mut pages = vec![
            user.get("/").await,
            user.get(&format!("/rooms/{}", encode(&name))).await,
            user.get(&format!(
                "/login?username={0}&next={0}&refused=401",
                encode(hostile)
            ))
            .await,
            user.form(
                "/rooms",
                &format!("room={}", encode(&format!("/{hostile}"))),
            )
            .await,
        ];
        // Refused for its length, and kept in the form.
        let long = format!("{hostile}{}", "x".repeat(4_000));
        pages.push(
            user.form(
                &format!("/rooms/{}", encode(&name)),
                &format!("text={}", encode(&long)),
            )
            .await,
        );
        for (page, status) in pages.iter().zip([200, 200, 200, 400, 400]) {
            let text = page.text();
            assert_eq!(page.status, status, "{text}");
            assert!(
                !text.contains("<script>alert") && !text.contains("<img") && !text.contains("\"'>"),
                "{i}: {text}"
            );
            // The templates' own tags, and no others of these kinds.
            assert_eq!(text.matches("</title>").count(), 1, "{text}");
            let fields = text.matches("<textarea").count();
            assert_eq!(text.matches("</textarea>").count(), fields, "{text}");
            let policy = page.header("content-security-policy").expect("a policy");
            assert!(
                policy.contains("script-src 'self'") && !policy.contains("unsafe"),
                "{policy}"
            );
            assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        }
        if *hostile == "{x}{{ if y }}" {
            assert!(pages[1].text().contains("{x}{{ if y }}"));
        }
        if *hostile == "&lt;" {
            assert!(pages[1].text().contains("&amp;lt;"));
        }
    }
}

async fn a_refused_form_says_why_and_keeps_what_was_typed(server: &Running) {
    let mut client = server.client();
    let refused = client
        .form("/auth/login", "username=a+b&next=%2Frooms%2Fx")
        .await;
    assert_eq!(refused.status, 303);
    let page = client
        .get(refused.header("location").expect("a page"))
        .await
        .text();
    assert!(
        page.contains("A name cannot have spaces.") && page.contains("value=\"a b\""),
        "{page}"
    );
    assert!(page.contains("value=\"/rooms/x\""));
    let refused = client
        .form("/auth/login", "username=ann&password=secret123")
        .await;
    let page = client
        .get(refused.header("location").expect("a page"))
        .await
        .text();
    assert!(page.contains("This is not the password of ann."), "{page}");

    let mut ann = server.guest("ann").await;
    let refused = ann
        .form("/rooms/a", &format!("text={}", "x".repeat(4_001)))
        .await;
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .text()
            .contains("A message has at most 4,000 characters.")
            && refused.text().contains(&"x".repeat(4_001))
    );
    assert_eq!(ann.get("/rooms/%zz").await.status, 400);
    let missing = ann.get("/rooms/a%2Fb").await;
    assert_eq!(
        (missing.status, missing.header("content-type")),
        (400, Some("text/html; charset=utf-8"))
    );
    let anonymous = client.form("/rooms/a", "text=kept").await;
    assert!(
        anonymous.status == 401 && anonymous.text().contains("Log in to go on."),
        "{}",
        anonymous.text()
    );
}

async fn a_log_in_leads_only_to_this_server(server: &Running) {
    for (next, to) in [
        ("/rooms/a%20b", "/rooms/a%20b"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/rooms//evil.example", "/"),
        ("/rooms/a\r\nset-cookie: x=y", "/"),
        ("/rooms/a%0d%0ax", "/"),
        ("", "/"),
    ] {
        let login = server
            .client()
            .form(
                "/auth/login",
                &format!("username=ann&next={}", encode(next)),
            )
            .await;
        assert_eq!(
            (login.status, login.header("location")),
            (303, Some(to)),
            "{next}"
        );
    }
}

async fn older_messages_are_a_link_away(server: &Running) {
    let mut client = server.client();
    for i in 1..=60 {
        client
            .post(
                "/chat/a/messages",
                &json!({ "sender": "ann", "text": format!("number {i}.") }),
            )
            .await;
    }
    let newest = client.get("/rooms/a").await.text();
    assert!(
        newest.contains("number 60.")
            && newest.contains("number 11.")
            && !newest.contains("number 10.")
    );
    assert!(
        newest.contains("href=\"/rooms/a?before=11\"") && newest.contains("data-newest=\"true\"")
    );
    let older = client.get("/rooms/a?before=11").await.text();
    assert!(
        older.contains("number 1.")
            && older.contains("number 10.")
            && !older.contains("number 11.")
    );
    assert!(
        older.contains("Newest messages")
            && older.contains("href=\"/rooms/a?after=10#m11\"")
            && older.contains("data-newest=\"false\"")
            && !older.contains("id=\"older\"")
    );
}

// No store is asked for these.
#[tokio::test]
async fn static_files_are_served_and_checked() {
    let server = Running::sqlite().await;
    for (path, kind) in [
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/app.js", "text/javascript; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
    ] {
        let file = server.client().get(path).await;
        assert_eq!(
            (file.status, file.header("content-type")),
            (200, Some(kind))
        );
        let mut again = server
            .client()
            .with_header("if-none-match", file.header("etag").expect("a tag"));
        assert_eq!(again.get(path).await.status, 304);
    }
}

// No store is asked for what differs here.
#[tokio::test]
async fn a_mounted_chat_has_the_name_and_the_links_of_its_program() {
    let server = Running::sqlite().await;
    let app = App::builder(server.store.clone())
        .mount_at("/community")
        .brand("Ann & Co")
        .log_in_link("/sign-in?next={next}")
        .without(Part::Accounts)
        .build()
        .expect("an application");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(chat_http::run(listener, app, async {
        drop(stopped.await);
    }));

    let mut client = Client::new(address);
    let message = json!({ "sender": "ann", "text": "hello" });
    let posted = client.post("/community/chat/a/messages", &message).await;
    assert_eq!(posted.status, 201);
    for path in [
        "/",
        "/rooms/a",
        "/rooms/a/people",
        "/rooms/a/messages/1",
        "/new",
        "/rooms/no",
    ] {
        let page = client.get(&format!("/community{path}")).await.text();
        assert!(page.contains("Ann &amp; Co</title>"), "{path}: {page}");
        for attribute in [
            "href=\"",
            "src=\"",
            "action=\"",
            "data-socket=\"",
            "data-api=\"",
        ] {
            for link in page.split(attribute).skip(1) {
                let link = link.split('"').next().unwrap_or_default();
                let is_own = link.starts_with("/community/") || link.starts_with('#');
                assert!(
                    is_own || link.starts_with("/sign-in?next=%2Fcommunity%2F"),
                    "{path}: {link}"
                );
            }
        }
    }
    let room = client.get("/community/rooms/a").await.text();
    assert!(
        room.contains("href=\"/sign-in?next=%2Fcommunity%2Frooms%2Fa\""),
        "{room}"
    );
    drop(stop);
    ended.await.expect("the server ended");
    server.stop().await;
}

async fn a_public_url_decides_on_prefix_and_cookie(server: &Running) {
    for (url, cookie, path, secure) in [
        ("https://chat.example", "__Host-session=", "Path=/;", true),
        (
            "https://chat.example/team",
            "__Secure-session=",
            "Path=/team",
            true,
        ),
        ("http://chat.example/team", "session=", "Path=/team", false),
    ] {
        let settings = Settings {
            public_url: Some(url.parse().expect(url)),
            ..Settings::default()
        };
        let prefix = settings
            .public_url
            .as_ref()
            .expect("set")
            .prefix()
            .to_owned();
        let server = server.again(settings).await;
        let origin = url.trim_end_matches("/team");
        let mut browser = server
            .client()
            .with_header("host", "chat.example")
            .with_header("origin", origin);
        let login = browser
            .form(&format!("{prefix}/auth/login"), "username=ann")
            .await;
        assert_eq!(
            (login.status, login.header("location")),
            (303, Some(format!("{prefix}/").as_str())),
            "{url}"
        );
        let set = format!("{};", login.header("set-cookie").expect("a cookie"));
        assert!(
            set.starts_with(cookie) && set.contains(path) && set.contains("Secure;") == secure,
            "{set}"
        );
        // Another scheme is another site, and another host another server.
        let other = if secure {
            "http://chat.example"
        } else {
            "https://chat.example"
        };
        let refused = browser
            .with_header("origin", other)
            .form("/auth/login", "username=ann")
            .await;
        assert_eq!(
            (refused.status, refused.text().contains("--public-url")),
            (403, true),
            "{url}"
        );
        let mut elsewhere = server.client();
        let refused = elsewhere.get("/chat/").await;
        assert!(
            refused.status == 421 && refused.text().contains("--allowed-hosts"),
            "{}",
            refused.text()
        );
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(
                elsewhere.get(path).await.status,
                200,
                "a probe by address: {path}"
            );
        }
        let mut ann = server
            .client()
            .with_header("host", "chat.example")
            .with_session(&login);
        // The servers share a store, where the room is from the second time on.
        let created = ann.form(&format!("{prefix}/rooms"), "room=a").await;
        assert!([303, 409].contains(&created.status), "{}", created.text());
        let page = ann.get(&format!("{prefix}/rooms/a")).await.text();
        assert!(
            page.contains(&format!("action=\"{prefix}/rooms/a\""))
                && page.contains(&format!("data-api=\"{prefix}/chat/a\""))
        );
        assert_eq!(
            ann.get("/auth/me").await.status,
            200,
            "a proxy may have removed the prefix"
        );
        server.stop().await;
    }
}

async fn a_person_registers_changes_the_password_and_ends_sessions(server: &Running) {
    let mut client = server.client();
    let page = client.get("/login").await.text();
    assert!(
        page.contains("action=\"/auth/register\"") && page.contains("action=\"/auth/login\""),
        "{page}"
    );
    // A guest is led to registering the name that is in use.
    let mut guest = server.guest("a&n").await;
    let page = guest.get("/account").await.text();
    assert!(
        page.contains("/login?form=register&amp;username=a%26n&amp;next=%2Faccount"),
        "{page}"
    );
    let page = client
        .get("/login?form=register&username=a%26n&next=%2Faccount")
        .await
        .text();
    assert!(
        page.contains("id=\"new-username\" name=\"username\" value=\"a&amp;n\""),
        "{page}"
    );
    let registered = client
        .form(
            "/auth/register",
            "username=a%26n&password=correct+horse&next=%2Faccount",
        )
        .await;
    assert_eq!(
        (registered.status, registered.header("location")),
        (303, Some("/account"))
    );
    let mut ann = server.client().with_session(&registered);
    let login = client
        .form("/auth/login", "username=a%26n&password=correct+horse")
        .await;
    let mut other = server.client().with_session(&login);
    let page = ann.get("/account").await.text();
    assert!(
        page.contains("a&amp;n") && page.matches(">this device</small>").count() == 1,
        "{page}"
    );

    // Ends one, by the form of its line.
    let at = page.find("name=\"id\" value=\"").expect("a form") + "name=\"id\" value=\"".len();
    let ended = ann
        .form("/account/sessions", &format!("id={}", &page[at..at + 32]))
        .await;
    assert_eq!(
        (ended.status, ended.header("location")),
        (303, Some("/account"))
    );
    assert_eq!(
        (
            ann.get("/auth/me").await.status,
            other.get("/auth/me").await.status
        ),
        (200, 401)
    );
    assert!(
        !ann.get("/account")
            .await
            .text()
            .contains("Log out everywhere else</button>")
    );

    let login = client
        .form("/auth/login", "username=a%26n&password=correct+horse")
        .await;
    let mut other = server.client().with_session(&login);
    for (body, why) in [
        (
            "password=wrong+horse&new_password=battery+staple",
            "This is not your current password.",
        ),
        (
            "password=correct+horse&new_password=short",
            "Use 8 to 256 characters.",
        ),
    ] {
        let refused = ann.form("/auth/password", body).await;
        assert_eq!(refused.status, 303);
        let page = ann
            .get(refused.header("location").expect("a page"))
            .await
            .text();
        assert!(
            page.contains(why) && !page.contains("horse") && !page.contains("short\""),
            "{page}"
        );
    }
    let changed = ann
        .form(
            "/auth/password",
            "username=a%26n&password=correct+horse&new_password=battery+staple",
        )
        .await;
    assert_eq!(
        (changed.status, changed.header("location")),
        (303, Some("/account?changed="))
    );
    assert!(
        ann.get("/account?changed=")
            .await
            .text()
            .contains("Your password was changed.")
    );
    assert_eq!(
        (
            ann.get("/auth/me").await.status,
            other.get("/auth/me").await.status
        ),
        (200, 401)
    );
    let login = client
        .form("/auth/login", "username=a%26n&password=battery+staple")
        .await;
    let mut other = server.client().with_session(&login);
    assert_eq!(ann.form("/account/sessions", "").await.status, 303);
    assert_eq!(
        (
            ann.get("/auth/me").await.status,
            other.get("/auth/me").await.status
        ),
        (200, 401)
    );
    // Who has no session is sent to log in.
    let away = other.get("/account").await;
    assert_eq!(
        (away.status, away.header("location")),
        (303, Some("/login?next=%2Faccount"))
    );
    assert_eq!(other.form("/account/sessions", "").await.status, 401);
    let away = other
        .form("/auth/password", "password=a&new_password=battery+staple")
        .await;
    assert_eq!(
        (away.status, away.header("location")),
        (303, Some("/login?next=%2Faccount"))
    );
}

async fn a_refused_registration_says_why_and_keeps_the_name(server: &Running) {
    server.account("ann").await;
    let mut client = server.client();
    for (path, body, why) in [
        (
            "/auth/register",
            "username=ann&password=correct+horse",
            "ann is taken.",
        ),
        (
            "/auth/register",
            "username=Ann&password=correct+horse",
            "Ann is taken.",
        ),
        (
            "/auth/register",
            "username=bob&password=short",
            "Use 8 to 256 characters.",
        ),
        (
            "/auth/register",
            "username=b+b&password=correct+horse",
            "A name cannot have spaces.",
        ),
        (
            "/auth/login",
            "username=ann&password=",
            "ann has an account. Enter its password.",
        ),
        (
            "/auth/login",
            "username=Ann&password=",
            "This name is too close to one that has an account.",
        ),
    ] {
        let refused = client
            .form(path, &format!("{body}&next=%2Frooms%2Fx"))
            .await;
        let location = refused.header("location").expect("a page").to_owned();
        assert!(
            refused.status == 303 && !location.contains("horse") && !location.contains("short"),
            "{location}"
        );
        let page = client.get(&location).await.text();
        let name = body[9..]
            .split('&')
            .next()
            .unwrap_or_default()
            .replace('+', " ");
        assert!(
            page.contains(why) && page.contains(&format!("value=\"{name}\"")),
            "{page}"
        );
        assert_eq!(page.matches("value=\"/rooms/x\"").count(), 3);
    }
}

async fn browsers_get_pages_whatever_fails(server: &Running) {
    let navigation = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let form = Some("application/x-www-form-urlencoded");
    let text = Some("text/plain");
    for (method, path, kind, body, foreign, status) in [
        (Method::GET, "/nothing", None, "", false, 404),
        (Method::GET, "/room/a", None, "", false, 404),
        (Method::GET, "/static/nothing.css", None, "", false, 404),
        (Method::GET, "/direct", None, "", false, 405),
        (Method::GET, "/auth/login", None, "", false, 405),
        (Method::GET, "/chat/nowhere", None, "", false, 404),
        (Method::GET, "/rooms/a?after=x", None, "", false, 400),
        (Method::POST, "/rooms/a", text, "text=x", false, 415),
        (
            Method::POST,
            "/auth/login",
            text,
            "username=ann",
            false,
            415,
        ),
        (Method::POST, "/auth/login", form, "username=ann", true, 403),
        (Method::POST, "/auth/logout", form, "", true, 403),
        (
            Method::POST,
            "/auth/login",
            form,
            "username=%zz",
            false,
            400,
        ),
        (Method::POST, "/rooms", form, "room=x", true, 403),
    ] {
        let mut browser = server.client().with_header("accept", navigation);
        if foreign {
            browser = browser.with_header("origin", "https://evil.example");
        }
        let reply = browser
            .request(method.clone(), path, kind, body.into())
            .await
            .expect("an answer");
        let is_page = reply.header("content-type") == Some("text/html; charset=utf-8");
        assert!(
            reply.status == status && is_page,
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        assert_eq!(
            reply.header("allow").is_some(),
            status == 405,
            "{method} {path}"
        );
    }

    // Without saying what they take: page paths and forms of pages, and no others.
    let mut plain = server.client();
    for (method, path, kind, is_page) in [
        (Method::DELETE, "/rooms/a", None, true),
        (Method::POST, "/auth/login", form, true),
        (Method::POST, "/auth/login", Some("application/json"), false),
        (Method::GET, "/nothing", None, false),
        (Method::DELETE, "/chat/a/messages", None, false),
    ] {
        let sent = plain
            .request(method.clone(), path, kind, "username=%zz".into())
            .await;
        let reply = sent.expect("an answer");
        let html = reply.header("content-type") == Some("text/html; charset=utf-8");
        assert!(
            reply.status >= 400 && html == is_page,
            "{method} {path}: {}",
            reply.text()
        );
    }
    let icon = plain.get("/favicon.ico").await;
    assert_eq!(
        (icon.status, icon.header("location")),
        (308, Some("/static/icon.svg"))
    );
}

async fn a_guest_sees_and_ends_no_session_but_its_own(server: &Running) {
    let (mut one, mut two) = (server.guest("ann").await, server.guest("ann").await);
    let listed = two.get("/auth/sessions").await.json();
    assert_eq!(
        (listed.as_array().map(Vec::len), &listed[0]["current"]),
        (Some(1), &json!(true))
    );
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        one.send(Method::DELETE, &format!("/auth/sessions/{id}"), "")
            .await
            .status,
        404
    );
    assert_eq!(
        one.send(Method::DELETE, "/auth/sessions", "").await.status,
        204
    );
    assert_eq!(
        one.form("/account/sessions", &format!("id={id}"))
            .await
            .status,
        303
    );
    assert_eq!(one.form("/account/sessions", "").await.status, 303);
    assert_eq!(
        one.get("/account")
            .await
            .text()
            .matches("class=\"device\"")
            .count(),
        1
    );
    assert_eq!(
        (
            one.get("/auth/me").await.status,
            two.get("/auth/me").await.status
        ),
        (200, 200)
    );
    assert_eq!(
        two.send(Method::DELETE, &format!("/auth/sessions/{id}"), "")
            .await
            .status,
        204
    );
    assert_eq!(
        (
            one.get("/auth/me").await.status,
            two.get("/auth/me").await.status
        ),
        (200, 401)
    );
}

async fn guests_who_may_only_read_are_sent_to_log_in(server: &Running) {
    let guest = server
        .guest("bob")
        .await
        .header("cookie")
        .expect("a session")
        .to_owned();
    let server = server
        .again(Settings {
            guests: Guests::Read,
            ..Settings::default()
        })
        .await;
    let mut ann = server.account("ann").await;
    assert_eq!(
        ann.post("/chat/a/messages", &json!({ "text": "for everyone" }))
            .await
            .status,
        201
    );
    let mut guest = server.client().with_header("cookie", &guest);
    for client in [&mut guest, &mut server.client()] {
        let page = client.get("/rooms/a").await.text();
        assert!(
            page.contains("for everyone") && page.contains("Log in to write</a>"),
            "{page}"
        );
        assert_eq!(
            client.get("/chat/a/messages").await.json()[0]["text"],
            "for everyone"
        );
        let sent = client.form("/rooms/a", "text=x").await;
        assert_eq!(
            (sent.status, sent.header("location")),
            (303, Some("/login?next=%2Frooms%2Fa"))
        );
        assert_eq!(
            client
                .post("/chat/a/messages", &json!({ "sender": "eve", "text": "x" }))
                .await
                .status,
            401
        );
        assert_eq!(client.get("/auth/me").await.status, 401);
    }
    let cookie = guest.header("cookie").expect("a session").to_owned();
    let mut socket = Socket::open(server.address, &[("cookie", &cookie)])
        .await
        .expect("a socket");
    socket
        .say(&json!({ "type": "subscribe", "room": "a", "after": 0 }))
        .await;
    assert_eq!(socket.expect("message").await["text"], "for everyone");
    for frame in [
        json!({ "type": "post", "room": "a", "text": "x", "sender": "eve" }),
        json!({ "type": "typing", "room": "a" }),
        json!({ "type": "read", "room": "a", "seq": 1 }),
    ] {
        socket.say(&frame).await;
        assert_eq!(socket.expect("error").await["status"], 401, "{frame}");
    }
    server.stop().await;
}

async fn a_room_that_nobody_opened_can_be_created_from_its_page(server: &Running) {
    for mut client in [server.client(), server.guest("bob").await] {
        let name = if client.header("cookie").is_some() {
            "two"
        } else {
            "one"
        };
        let page = client.get(&format!("/rooms/{name}")).await;
        assert_eq!(page.status, 404);
        let text = page.text();
        assert!(
            text.contains("Create this room")
                && text.contains(&format!("name=\"room\" value=\"{name}\"")),
            "{text}"
        );
        let created = client.form("/rooms", &format!("room={name}")).await;
        assert_eq!(
            (created.status, created.header("location")),
            (303, Some(format!("/rooms/{name}").as_str()))
        );
        assert_eq!(client.get(&format!("/rooms/{name}")).await.status, 200);
    }
    let server = server
        .again(Settings {
            guests: Guests::Read,
            ..Settings::default()
        })
        .await;
    let page = server.client().get("/rooms/three").await;
    assert_eq!(page.status, 404);
    assert!(
        page.text().contains("/login?next=%2Frooms%2Fthree")
            && !page.text().contains("Create this room")
    );
    server.stop().await;
}

/// Numbers of the messages in a page or a fragment.
fn rows_in(html: &str) -> Vec<i64> {
    let after = html.split("data-seq=\"").skip(1);
    let rows = after.filter(|rest| rest.contains("data-change=\""));
    rows.filter_map(|rest| {
        let (seq, rest) = rest.split_once('"')?;
        rest.starts_with(" data-change").then(|| seq.parse().ok())?
    })
    .collect()
}

async fn rows_come_as_a_fragment_before_after_and_around_a_message(server: &Running) {
    let mut ann = server.guest("ann").await;
    for n in 1..=9 {
        let posted = ann
            .post("/chat/long/messages", &json!({ "text": format!("n{n}") }))
            .await;
        assert_eq!(posted.status, 201);
    }
    let mut rows = async |query: &str| {
        let reply = ann.get(&format!("/rooms/long/rows?{query}")).await;
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        (reply.status, rows_in(&reply.text()))
    };
    for (query, expected) in [
        ("limit=2", vec![8, 9]),
        ("before=5&limit=3", vec![2, 3, 4]),
        ("after=5&limit=2", vec![6, 7]),
        ("around=5&limit=5", vec![3, 4, 5, 6, 7]),
        ("around=9&limit=4", vec![6, 7, 8, 9]),
        ("around=1&limit=4", vec![1, 2, 3]),
        ("around=5&limit=1", vec![5, 6]),
    ] {
        assert_eq!(rows(query).await, (200, expected), "{query}");
    }

    for (query, word) in [
        ("around=5&before=3", "around"),
        ("around=x", "around"),
        ("limit=0", "limit"),
    ] {
        let refused = ann.get(&format!("/rooms/long/rows?{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(
            refused.json()["detail"].to_string().contains(word),
            "{query}"
        );
    }
    let nowhere = ann.get("/rooms/nowhere/rows").await.text();
    assert_eq!(rows_in(&nowhere), Vec::<i64>::new());
}

async fn a_fragment_has_a_page_of_rows_at_most_and_their_quotes(server: &Running) {
    let mut ann = server.guest("ann").await;
    for n in 1..=20 {
        let message = json!({ "text": format!("first words of {n}.") });
        ann.post("/chat/long/messages", &message).await;
    }
    for n in 1..=35 {
        let message = json!({ "text": "an answer", "reply_to": 1 + n % 20 });
        let posted = ann.post("/chat/long/messages", &message).await;
        assert_eq!(posted.status, 201);
    }

    let refused = ann.get("/rooms/long/rows?limit=51").await;
    assert!(
        refused.status == 400 && refused.text().contains("from 1 to 50"),
        "{}",
        refused.text()
    );
    let rows = ann.get("/rooms/long/rows?limit=50").await.text();
    assert_eq!(rows_in(&rows), (6..=55).collect::<Vec<i64>>());

    // The messages that these answer are not among them.
    let rows = ann.get("/rooms/long/rows?after=20").await.text();
    let quotes = rows.split("first words of ").skip(1);
    let quoted: Vec<i64> = quotes
        .filter_map(|rest| rest.split('.').next()?.parse().ok())
        .collect();
    assert_eq!(
        quoted,
        (1..=35).map(|n| 1 + n % 20).collect::<Vec<i64>>(),
        "each in its row"
    );
}

async fn an_answer_that_is_large_is_not_compressed(server: &Running) {
    let mut ann = server
        .guest("ann")
        .await
        .with_header("accept-encoding", "gzip");
    for _ in 0..40 {
        let message = json!({ "text": "x".repeat(4_000) });
        let posted = ann.post("/chat/large/messages", &message).await;
        assert_eq!(posted.status, 201);
    }
    for (limit, coding) in [(40, None), (10, Some("gzip"))] {
        let rows = ann.get(&format!("/rooms/large/rows?limit={limit}")).await;
        assert_eq!(rows.header("content-encoding"), coding, "{limit}");
        assert_eq!(
            rows.header("vary").map(|v| v.contains("encoding")),
            Some(true)
        );
    }
}

async fn a_socket_that_asks_for_rows_gets_those_of_the_page(server: &Running) {
    let mut ann = server.account("ann").await;
    let first = ann
        .post("/chat/live/messages", &json!({ "text": "**first** <b>" }))
        .await;
    assert_eq!(first.status, 201);
    let headers = [
        ("cookie", ann.header("cookie").expect("a session")),
        ("accept-language", "de"),
    ];
    let mut with = Socket::open(server.address, &headers)
        .await
        .expect("a socket");
    let mut without = Socket::open(server.address, &headers[..1])
        .await
        .expect("a socket");
    with.say(&json!({ "type": "subscribe", "room": "live", "html": true }))
        .await;
    without
        .say(&json!({ "type": "subscribe", "room": "live" }))
        .await;
    with.expect("subscribed").await;
    without.expect("subscribed").await;

    ann.post(
        "/chat/live/messages",
        &json!({ "text": "re", "reply_to": 1 }),
    )
    .await;
    let frame = with.expect("message").await;
    let row = frame["html"].as_str().expect("a row").to_owned();
    assert!(
        row.contains("\"quote-text\">first &lt;b&gt;<") && row.contains("id=\"m2\""),
        "{row}"
    );
    assert_eq!((&frame["seq"], &frame["text"]), (&json!(2), &json!("re")));
    assert_eq!(without.expect("message").await.get("html"), None);
    ann.send(
        Method::PATCH,
        "/chat/live/messages/2",
        &json!({ "text": "`re`" }).to_string(),
    )
    .await;
    let changed = with.expect("changed").await;
    let row = changed["html"].as_str().expect("a row");
    assert!(
        row.contains("<code>re</code>") && row.contains(">bearbeitet</small>"),
        "{row}"
    );

    let mut ann = ann.with_header("accept-language", "de");
    let page = ann.get("/rooms/live/rows?after=1").await.text();
    assert_eq!(page, row);
}

async fn a_deleted_message_is_not_quoted_any_more(server: &Running) {
    let mut ann = server.account("ann").await;
    ann.post("/chat/quotes/messages", &json!({ "text": "secret" }))
        .await;
    ann.post(
        "/chat/quotes/messages",
        &json!({ "text": "re", "reply_to": 1 }),
    )
    .await;
    let rows = ann.get("/rooms/quotes/rows?after=1").await.text();
    assert!(rows.contains("secret"), "{rows}");

    let deleted = ann
        .send(Method::DELETE, "/chat/quotes/messages/1", "")
        .await;
    assert_eq!(deleted.status, 204);
    let rows = ann.get("/rooms/quotes/rows").await.text();
    assert!(
        !rows.contains("secret") && rows.contains("data-deleted"),
        "{rows}"
    );
}

/// The entry of a room in the list beside a page.
fn entry<'a>(page: &'a str, room: &str) -> &'a str {
    let begin = format!("data-room=\"{room}\"");
    let at = page
        .find(&begin)
        .unwrap_or_else(|| panic!("{room} in {page}"));
    let end = page[at..].find("</li>").expect("its end");
    &page[at..at + end]
}

async fn rooms_beside_a_page_tell_what_is_unread(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    for room in ["one", "two"] {
        let created = ann.form("/rooms", &format!("room={room}")).await;
        assert_eq!(created.status, 303);
    }
    for text in ["hello", "again", "look, @ann"] {
        bob.post("/chat/one/messages", &json!({ "text": text }))
            .await;
    }

    let page = ann.get("/rooms/two").await.text();
    let one = entry(&page, "one");
    assert!(
        one.contains("data-unread=\"3\"") && one.contains("data-mentions=\"1\""),
        "{one}"
    );
    assert!(one.contains("bob: look, @ann"), "{one}");
    assert!(entry(&page, "two").contains("aria-current=\"page\""));
    let (at_one, at_two) = (
        page.find("data-room=\"one\""),
        page.find("data-room=\"two\""),
    );
    assert!(at_one < at_two, "the room with the newest message is first");

    ann.post("/chat/one/read", &json!({ "seq": 3 })).await;
    let page = ann.get("/").await.text();
    let one = entry(&page, "one");
    assert!(one.contains("data-unread=\"0\"") && one.contains("data-mentions=\"0\""));

    // Whoever is not logged in sees the public rooms.
    ann.form("/rooms", "room=den&private=on").await;
    let page = server.client().get("/").await.text();
    assert!(page.contains("data-room=\"one\"") && !page.contains("/rooms/den"));
    let found = ann.get("/?find=DE").await.text();
    let list = found.split("<main").nth(1).expect("the page itself");
    assert!(list.contains("/rooms/den") && !list.contains("/rooms/one"));
    assert!(list.contains("🔒"), "{list}");
    assert!(!server.client().get("/").await.text().contains("🔒"));
}

async fn of_many_rooms_the_open_one_and_the_unread_ones_are_listed(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    let name: Username = "ann".parse().expect("a name");
    let rooms: Vec<RoomName> = (0..=100)
        .map(|n| format!("r{n:03}").parse().expect("a name"))
        .collect();
    let joins = rooms.iter().map(|room| server.store.join(room, &name));
    for joined in join_all(joins).await {
        joined.expect("joined");
    }
    bob.post("/chat/r100/messages", &json!({ "text": "**new** `words`" }))
        .await;

    let page = ann.get("/rooms/r099").await.text();
    assert!(entry(&page, "r099").contains("aria-current=\"page\""));
    let unread = entry(&page, "r100");
    assert!(
        unread.contains("data-unread=\"1\"") && unread.contains("bob: new words"),
        "{unread}"
    );
    assert!(page.contains("data-room=\"r097\"") && !page.contains("data-room=\"r098\""));
}

async fn who_invites_to_many_rooms_fills_the_list_of_nobody(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    let [name, mallory] = ["ann", "mallory"].map(|name| name.parse::<Username>().expect("a name"));
    server.account("mallory").await;
    bob.form("/rooms", "room=tea").await;
    ann.post("/chat/tea/join", &json!({})).await;
    ann.form("/rooms", "room=own&private=on").await;
    ann.post("/chat/own/messages", &json!({ "text": "a note" }))
        .await;
    ann.post("/chat/own/read", &json!({ "seq": 1 })).await;
    bob.form("/direct", "username=ann").await;

    let owner = server.store.as_user(Actor::Account(mallory));
    for n in 0..120 {
        let room: RoomName = format!("a{n:03}").parse().expect("a name");
        owner
            .create_room(&room, Privacy::Private)
            .await
            .expect("created");
        owner.invite(&room, &name).await.expect("invited");
        // It names the user, and is unread.
        let text = "look, @ann".parse().expect("a text");
        let message = NewMessage {
            verified: true,
            ..NewMessage::new(room, "mallory".parse().expect("a name"), text)
        };
        server.store.post(message).await.expect("posted");
    }

    let page = ann.get("/").await.text();
    let (listed, invitations) = page.split_once("id=\"invitations\"").expect("invitations");
    for room in ["tea", "own"] {
        assert!(entry(listed, room).contains("data-unread=\"0\""), "{room}");
    }
    assert_eq!(listed.matches("data-room=").count(), 2, "{listed}");
    assert_eq!(invitations.matches("data-room=").count(), 20);
    assert!(
        entry(invitations, "@ann &amp; bob").contains("data-direct"),
        "who may write comes first"
    );

    // Whoever opens one and reads it has it among the others.
    ann.post("/chat/a007/read", &json!({ "seq": 1 })).await;
    bob.post("/chat/@ann%20&%20bob/messages", &json!({ "text": "psst" }))
        .await;
    let page = ann.get("/").await.text();
    let (listed, _) = page.split_once("id=\"invitations\"").expect("invitations");
    assert!(entry(listed, "a007").contains("data-unread=\"0\""));
    assert!(entry(listed, "@ann &amp; bob").contains("data-unread=\"1\""));
}

async fn a_socket_that_asks_for_lines_gets_those_of_the_list(server: &Running) {
    let mut ann = server.account("ann").await;
    ann.post("/chat/live/messages", &json!({ "text": "first" }))
        .await;
    let mut socket = Socket::open(
        server.address,
        &[("cookie", ann.header("cookie").expect("one"))],
    )
    .await
    .expect("a socket");
    socket
        .say(&json!({ "type": "subscribe", "room": "live", "line": true }))
        .await;
    socket.expect("subscribed").await;
    let text = format!("**bold** `code`\n\n{}", "x".repeat(200));
    ann.post("/chat/live/messages", &json!({ "text": text }))
        .await;
    let frame = socket.expect("message").await;
    let line = frame["line"].as_str().expect("a line");
    assert!(
        line.starts_with("bold code xxx") && line.len() == 80,
        "{line}"
    );
    assert_eq!(frame.get("html"), None);
    assert!(ann.get("/").await.text().contains(&format!("ann: {line}<")));

    ann.send(Method::DELETE, "/chat/live/messages/2", "").await;
    assert_eq!(socket.expect("changed").await["line"], "");
}

async fn a_user_is_told_that_the_own_rooms_changed(server: &Running) {
    let (mut ann, bob) = (server.account("ann").await, server.account("bob").await);
    let cookie = [("cookie", bob.header("cookie").expect("a session"))];
    let mut socket = Socket::open(server.address, &cookie)
        .await
        .expect("a socket");
    socket.say(&json!({ "type": "ping" })).await;
    socket.expect("pong").await;
    ann.send(Method::PUT, "/chat/den", r#"{"private":true}"#)
        .await;
    for (method, path) in [
        (Method::PUT, "/chat/den/members/bob"),
        (Method::DELETE, "/chat/den/members/bob"),
        (Method::PUT, "/chat/den/members/bob"),
        (Method::PUT, "/chat/den/bans/bob"),
    ] {
        let done = ann.send(method, path, "").await;
        assert!((200..300).contains(&done.status), "{}", done.text());
        assert_eq!(socket.expect("rooms").await, json!({ "type": "rooms" }));
    }
}

async fn a_room_is_created_once_and_left_again(server: &Running) {
    let mut ann = server.account("ann").await;
    let form = ann.get("/new").await.text();
    assert!(form.contains("name=\"private\"") && form.contains("action=\"/rooms\""));
    let created = ann
        .form("/rooms", "room=tea&topic=Which+is+best%3F&private=on")
        .await;
    assert_eq!(created.header("location"), Some("/rooms/tea"));
    assert!(
        ann.get("/rooms/tea")
            .await
            .text()
            .contains("Which is best?")
    );

    let again = ann.form("/rooms", "room=tea&topic=typed").await;
    let page = again.text();
    assert_eq!(again.status, 409);
    assert!(
        page.contains("There is already a room with this name."),
        "{page}"
    );
    assert!(page.contains("href=\"/rooms/tea\"") && page.contains("value=\"typed\""));
    let long = format!("room=x&topic={}", "y".repeat(201));
    let refused = ann.form("/rooms", &long).await;
    assert!(
        refused.status == 400
            && refused
                .text()
                .contains("A topic has at most 200 characters.")
    );

    let mut bob = server.account("bob").await;
    assert_eq!(bob.form("/rooms", "room=open").await.status, 303);
    let joined = ann.form("/rooms/open/people", "do=join").await;
    assert_eq!(joined.header("location"), Some("/rooms/open"));
    assert!(ann.get("/").await.text().contains("data-room=\"open\""));
    let topic = bob
        .form("/rooms/open/people", "do=topic&topic=All+of+it")
        .await;
    assert_eq!(topic.header("location"), Some("/rooms/open/people?done="));
    assert!(ann.get("/rooms/open").await.text().contains("All of it"));
    assert_eq!(
        ann.form("/rooms/open/people", "do=topic&topic=x")
            .await
            .status,
        403
    );
    let left = ann.form("/rooms/open/people", "do=leave").await;
    assert_eq!(left.header("location"), Some("/"));
    assert!(!ann.get("/").await.text().contains("data-room=\"open\""));
}

async fn two_accounts_have_a_room_that_nobody_else_can_take(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    let mut eve = server.account("eve").await;
    let room = "/chat/%40ann%20%26%20bob";
    // Nobody can be there first.
    let created = eve.send(Method::PUT, room, r#"{"private":true}"#).await;
    assert_eq!(created.status, 403);
    let joined = eve.post(&format!("{room}/join"), &json!({})).await;
    assert_eq!(joined.status, 404);
    let posted = eve
        .post(&format!("{room}/messages"), &json!({ "text": "x" }))
        .await;
    assert_eq!(posted.status, 404);
    assert_eq!(eve.form("/rooms", "room=%40ann+%26+bob").await.status, 403);

    let opened = ann.form("/direct", "username=bob").await;
    let page = opened.header("location").expect("a room").to_owned();
    assert_eq!(page, "/rooms/%40ann%20%26%20bob");
    let back = bob.form("/direct", "username=ann").await;
    assert_eq!(back.header("location"), Some(page.as_str()));
    assert_eq!(ann.form(&page, "text=only+for+you").await.status, 303);
    let seen = bob.get(&page).await.text();
    assert!(seen.contains("only for you"));
    assert!(seen.contains("data-label=\"ann\"") && seen.contains("<h1 dir=\"auto\">ann"));
    assert_eq!(eve.get(&page).await.status, 404);

    // Who left comes back when either of them writes.
    assert_eq!(
        bob.form(&format!("{page}/people"), "do=leave").await.status,
        303
    );
    assert_eq!(bob.get(&page).await.status, 404);
    assert_eq!(bob.form("/direct", "username=ann").await.status, 303);
    assert_eq!(bob.get(&page).await.status, 200);

    let mut guest = server.guest("guest").await;
    for (client, form, status) in [
        (&mut ann, "username=ann", 400),
        (&mut bob, "username=nobody", 404),
        (&mut guest, "username=ann", 403),
        (&mut server.client(), "username=ann", 401),
    ] {
        assert_eq!(client.form("/direct", form).await.status, status, "{form}");
    }
}

async fn the_page_of_a_message_does_what_scripts_do(server: &Running) {
    let (mut ann, mut bob) = (server.account("ann").await, server.account("bob").await);
    ann.post("/chat/a/messages", &json!({ "text": "first" }))
        .await;
    let page = "/rooms/a/messages/1";
    let shown = bob.get(page).await.text();
    assert!(
        shown.contains("id=\"reply\"") && !shown.contains("id=\"edit\""),
        "{shown}"
    );

    let reply = bob.form("/rooms/a", "text=second&reply_to=1").await;
    assert_eq!(reply.status, 303);
    let reacted = bob.form(page, &format!("add={}", encode("👍"))).await;
    assert_eq!(reacted.header("location"), Some("/rooms/a?around=1#m1"));
    let edited = ann.form(page, "do=edit&text=first%0D%0Aand+more").await;
    assert_eq!(edited.status, 303);
    let room = ann.get("/rooms/a").await.text();
    assert!(room.contains("<p>first<br>and more</p>") && room.contains("data-users=\"bob\""));
    assert!(room.contains("data-reply-to=\"1\""), "{room}");
    assert!(
        bob.get(page)
            .await
            .text()
            .contains("aria-pressed=\"true\">👍")
    );
    assert_eq!(
        bob.form(page, &format!("remove={}", encode("👍")))
            .await
            .status,
        303
    );
    assert!(!ann.get("/rooms/a").await.text().contains("data-users"));

    let refused = ann
        .form(page, &format!("do=edit&text={}", "x".repeat(4_001)))
        .await;
    assert!(
        refused.status == 400
            && refused.text().contains(&"x".repeat(4_001))
            && refused
                .text()
                .contains("A message has at most 4,000 characters.")
    );
    let refused = bob.form(page, "do=delete").await;
    assert!(refused.status == 403 && refused.text().contains("Only its author"));
    assert_eq!(ann.form(page, "do=delete").await.status, 303);
    assert!(ann.get("/rooms/a").await.text().contains("data-deleted"));
    assert_eq!(ann.get("/rooms/a/messages/9").await.status, 404);
    assert_eq!(ann.get("/rooms/nowhere/messages/1").await.status, 404);
    assert_eq!(server.client().form(page, "do=delete").await.status, 401);
}

async fn the_page_speaks_the_language_of_the_reader(server: &Running) {
    let mut client = server
        .client()
        .with_header("accept-language", "de-AT,de;q=0.9,en;q=0.5");
    let page = client.get("/login").await.text();
    assert!(
        page.contains("<html lang=\"de\">") && page.contains("Als Gast mitmachen"),
        "{page}"
    );
    let missing = client.get("/rooms/nowhere").await.text();
    assert!(missing.contains("Raum nicht gefunden"), "{missing}");
    let refused = client.form("/rooms", "room=%2F").await.text();
    assert!(refused.contains("keinen Schrägstrich"), "{refused}");
    let page = server.client().get("/login").await.text();
    assert!(page.contains("<html lang=\"en\">") && page.contains("Join as a guest"));
}

async fn an_error_page_offers_no_log_in_to_who_is_logged_in(server: &Running) {
    let mut ann = server
        .account("ann")
        .await
        .with_header("accept", "text/html");
    let page = ann.get("/nothing").await;
    assert_eq!(page.status, 404);
    assert!(!page.text().contains("href=\"/login"), "{}", page.text());
    let mut stranger = server.client();
    let page = stranger.form("/rooms/a/people", "do=join").await;
    assert!(page.text().contains("href=\"/login\""), "{}", page.text());
}

async fn pages_are_compressed_for_who_takes_that(server: &Running) {
    for i in 0..30 {
        let message = json!({ "sender": "ann", "text": format!("message {i}") });
        server.client().post("/chat/a/messages", &message).await;
    }
    let plain = server.client().get("/rooms/a").await;
    assert_eq!(plain.header("content-encoding"), None);
    let style = plain
        .text()
        .split("rel=\"stylesheet\" href=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next().map(str::to_owned))
        .expect("a stylesheet");
    for (accepted, coding) in [("gzip, br", "br"), ("gzip", "gzip")] {
        let mut client = server.client().with_header("accept-encoding", accepted);
        let page = client.get("/rooms/a").await;
        assert_eq!(page.header("content-encoding"), Some(coding));
        assert!(
            4 * page.body.len() < plain.body.len(),
            "{}",
            page.body.len()
        );
        let rows = client.get("/rooms/a/rows").await;
        assert_eq!(rows.header("content-encoding"), Some(coding));
        let file = client.get(&style).await;
        assert_eq!(file.header("content-encoding"), Some(coding));
        let kept = file.header("cache-control").expect("how long");
        assert!(kept.contains("immutable") && kept.contains("max-age=31536000"));
        assert_eq!(file.header("vary"), Some("accept-encoding"));
    }
    // The name of another version leads to what there is now, which is not kept.
    let old = server.client().get("/static/style.0123456789ab.css").await;
    assert_eq!(
        (old.status, old.header("cache-control")),
        (200, Some("no-cache"))
    );
}

async fn a_script_gets_a_page_without_what_stands_beside_it(server: &Running) {
    let mut ann = server.account("ann").await;
    ann.form("/rooms", "room=a").await;
    let whole = ann.get("/rooms/a").await.text();
    assert!(whole.contains("id=\"sidebar\"") && whole.contains("id=\"messages\""));
    let mut script = ann.with_header("x-chat-part", "main");
    let part = script.get("/rooms/a").await.text();
    assert!(!part.contains("id=\"sidebar\"") && part.contains("id=\"messages\""));
    assert!(part.contains("data-user=\"ann\""));
}
