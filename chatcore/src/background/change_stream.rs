//! Following what other processes do, through the backend.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Engine;

/// Time before a change stream is opened again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Has the backend report changes to the feed, again and again.
pub(super) async fn follow(engine: Weak<Engine>) {
    let mut pause = FIRST_PAUSE;
    let mut is_broken = false;
    loop {
        let Some((backend, feed)) = engine
            .upgrade()
            .map(|engine| (engine.backend.clone(), engine.feed.clone()))
        else {
            break;
        };
        if feed.is_closed() {
            break;
        }

        let began = Instant::now();
        let ended = backend.watch(feed.clone()).await;
        feed.pause();
        drop(backend);
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
            is_broken = false;
        }
        if let Err(error) = ended
            && !std::mem::replace(&mut is_broken, true)
        {
            tracing::warn!(%error, "the change stream is broken; reading from the store");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
