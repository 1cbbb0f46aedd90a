//! Sessions of one user: listed and ended by the user.
//!
//! Anyone may go by a guest's name, so a guest's session is the only one that is the guest's own.

use chatcore::{Session, SessionId};

use crate::app::App;
use crate::error::Result;

/// Lists the sessions of the user who has the current one.
pub(crate) async fn list(app: &App, current: &Session) -> Result<Vec<Session>> {
    match current.verified {
        true => Ok(app.store().sessions(&current.username).await?),
        false => Ok(vec![current.clone()]),
    }
}

/// Ends one of them. Returns false if there was none with this id.
pub(crate) async fn end(app: &App, current: &Session, id: SessionId) -> Result<bool> {
    let is_own = current.verified || current.id == id;
    Ok(is_own && app.store().end_session(&current.username, id).await?)
}

/// Ends all of them but the current one.
pub(crate) async fn end_others(app: &App, current: &Session) -> Result<()> {
    if current.verified {
        app.store()
            .end_sessions(&current.username, Some(current.id))
            .await?;
    }
    Ok(())
}
