//! Users and their counters.

use chatcore::Username;
use serde::Serialize;

use crate::App;
use crate::error::Result;
use crate::request::Call;
use crate::response::{Response, cacheable_json};

#[derive(Serialize)]
struct Count {
    username: Username,
    message_count: u64,
}

pub(crate) async fn count(app: App, call: Call) -> Result<Response> {
    let username = call.username()?;
    let message_count = app.store().message_count(&username).await?;
    cacheable_json(&call, &Count { username, message_count })
}
