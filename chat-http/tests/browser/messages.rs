//! Messages as they are shown.

use serde_json::json;

use crate::world::{World, say, seqs, shown, texts};

in_both!(what_one_writes_another_sees,);
in_chromium!(without_scripts_one_reads_and_posts,);

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
    ann.wait_for(&shown(conversation[2])).await;

    for page in [&ann, &bob] {
        page.wait_for(&shown(conversation[2])).await;
        assert_eq!(seqs(page).await, [1, 2, 3], "each once, in order");
        assert_eq!(
            page.evaluate("document.querySelectorAll('#messages .guest').length")
                .await,
            json!(3)
        );
    }
    ann.reload().await;
    assert_eq!(texts(&ann).await, conversation, "a reload shows the same");
}

async fn without_scripts_one_reads_and_posts(world: World) {
    let ann = world.guest("ann").await;
    ann.disable_scripts().await;
    world.open_room(&ann, "plain").await;
    ann.fill("textarea[name=text]", "by a form").await;
    ann.click("form button.primary").await;
    ann.wait_for(&shown("by a form")).await;
}
