//! The user who makes a request, and the store as that user sees it.

use chatcore::{Actor, Privacy, RoomName, Session, SessionToken, UserStore};
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};

use crate::app::App;
use crate::cookies::{self, Token};
use crate::error::Result;
use crate::response::Response;

/// The user who makes a request, by a session.
pub(crate) struct CurrentUser {
    pub(crate) session: Session,
    /// The token that proved the session.
    pub(crate) token: SessionToken,
}

/// Result of a look at the credentials of a request.
pub(crate) enum Credentials {
    None,
    /// A token that stands for no session.
    Ended,
    Session {
        user: CurrentUser,
        /// Tells if the token came in a cookie that has lived for half of its time.
        renew_cookie: bool,
    },
}

/// Looks up the session that a request names.
pub(crate) async fn look_up(app: &App, headers: &HeaderMap) -> Result<Credentials> {
    let (token, by_cookie) = match cookies::token(app.settings(), headers) {
        Token::None => return Ok(Credentials::None),
        Token::Malformed => return Ok(Credentials::Ended),
        Token::Bearer(token) => (token, false),
        Token::Cookie(token) => (token, true),
    };
    Ok(match app.store().session(&token).await? {
        None => Credentials::Ended,
        Some(session) => {
            let renew_cookie = by_cookie && app.store().is_renewal_due(&session);
            Credentials::Session {
                user: CurrentUser { session, token },
                renew_cookie,
            }
        }
    })
}

/// A room as the user who makes a request may see it.
pub(crate) struct RoomReader {
    pub(crate) store: UserStore,
    /// The user, where that was looked up.
    pub(crate) user: Option<CurrentUser>,
    is_public: bool,
}

impl RoomReader {
    /// Looks the user up only if the room is not there for everyone: the many readers of public
    /// rooms need no look at their sessions. A room that does not exist is treated like a private
    /// one, so that a wait, or the use of a session, tells nobody which of them it is.
    pub(crate) async fn of(app: &App, headers: &HeaderMap, room: &RoomName) -> Result<Self> {
        if app.store().privacy(room).await? == Some(Privacy::Public) {
            return Ok(Self {
                store: app.store().as_user(Actor::Anonymous),
                user: None,
                is_public: true,
            });
        }

        let user = match Box::pin(look_up(app, headers)).await? {
            Credentials::Session { user, .. } => Some(user),
            Credentials::None | Credentials::Ended => None,
        };
        let actor = user
            .as_ref()
            .map_or(Actor::Anonymous, |user| user.session.actor());
        Ok(Self {
            store: app.store().as_user(actor),
            user,
            is_public: false,
        })
    }

    /// Forbids clients to keep an answer that is not for everyone.
    pub(crate) fn restrict_caching(&self, mut answer: Response) -> Response {
        if !self.is_public {
            answer
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        answer
    }
}

/// Gives the client the token that it has for longer. If the store cannot write that down, a later
/// answer does it.
pub(crate) async fn renew_cookie(app: &App, response: &mut Response, token: &SessionToken) {
    match app.store().renew_session(token).await {
        Ok(()) => cookies::set(app.settings(), response, Some(token)),
        Err(error) => tracing::debug!(%error, "a cookie was not renewed"),
    }
}
