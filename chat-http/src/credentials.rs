//! The user who makes a request, and the store as that user sees it.

use std::sync::{Arc, Mutex, PoisonError};

use chatcore::{
    Actor, ChatStore, Privacy, RoomName, Session, SessionToken, UserStore, UserWatcher, Username,
};
use http::request::Parts;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::authenticate::{Authenticate, Identity};
use crate::cookies::{self, Token};
use crate::error::{HttpError, Result};
use crate::limits::Proved;
use crate::response::Response;

/// The user who makes a request.
pub(crate) struct CurrentUser {
    pub(crate) username: Username,
    /// Set for an account, not for a guest.
    pub(crate) verified: bool,
    pub(crate) proof: Proof,
}

/// Proof that a request is made by a user.
#[derive(Clone)]
pub(crate) enum Proof {
    /// A session, by its token.
    Session {
        session: Session,
        token: SessionToken,
    },
    /// The word of the program that the chat is mounted in, until this token is cancelled.
    Program {
        ended: Option<CancellationToken>,
        /// Watches the user from the moment on at which the program was asked, so that an end
        /// before the socket or stream is open is not missed. Taken by its monitor.
        watcher: Arc<Mutex<Option<UserWatcher>>>,
    },
}

impl CurrentUser {
    fn by_session(session: Session, token: SessionToken) -> Self {
        Self {
            username: session.username.clone(),
            verified: session.verified,
            proof: Proof::Session { session, token },
        }
    }

    /// Takes the program's word for a user, and watches the user from now on.
    pub(crate) fn by_program(
        store: &ChatStore,
        username: Username,
        ended: Option<CancellationToken>,
    ) -> Self {
        let watcher = store.watch_user(&username);
        Self {
            username,
            verified: true,
            proof: Proof::Program {
                ended,
                watcher: Arc::new(Mutex::new(Some(watcher))),
            },
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        if self.verified {
            Actor::Account(self.username.clone())
        } else {
            Actor::Guest(self.username.clone())
        }
    }

    /// Returns the identity that limits are charged to.
    pub(crate) fn proved(&self) -> Proved {
        match &self.proof {
            Proof::Session { session, .. } if !self.verified => Proved::Guest(session.id),
            _ => Proved::Account(self.username.clone()),
        }
    }

    /// Returns a watcher that misses no end of what proves the user.
    pub(crate) fn watcher(&self, store: &ChatStore) -> UserWatcher {
        let early = match &self.proof {
            Proof::Session { .. } => None,
            Proof::Program { watcher, .. } => watcher
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        };

        early.unwrap_or_else(|| store.watch_user(&self.username))
    }

    /// Returns the session, unless the program vouches for the user.
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.proof {
            Proof::Session { session, .. } => Some(session),
            Proof::Program { .. } => None,
        }
    }

    /// Returns the token of the session, unless the program vouches for the user.
    pub(crate) fn token(&self) -> Option<&SessionToken> {
        match &self.proof {
            Proof::Session { token, .. } => Some(token),
            Proof::Program { .. } => None,
        }
    }
}

/// Result of the lookup of the credentials of a request.
pub(crate) enum Credentials {
    None,
    /// A token that stands for no session.
    Ended,
    User {
        user: CurrentUser,
        /// Set if the token came in a cookie that has lived for half of its time.
        renew_cookie: bool,
    },
}

/// Looks up the user who makes a request: asks the program, if it has users of its own, else the
/// store for the session.
pub(crate) async fn look_up(app: &App, head: &Parts) -> Result<Credentials> {
    match app.authenticate() {
        Some(authenticate) => ask_program(app, authenticate, head).await,
        None => look_up_session(app, &head.headers).await,
    }
}

async fn ask_program(
    app: &App,
    authenticate: &dyn Authenticate,
    head: &Parts,
) -> Result<Credentials> {
    let identity = authenticate.authenticate(head).await.map_err(|error| {
        tracing::error!(error, "the program could not say who makes a request");
        HttpError::unknown_user()
    })?;
    let Some(Identity { username, ended }) = identity else {
        return Ok(Credentials::None);
    };
    if ended.as_ref().is_some_and(CancellationToken::is_cancelled) {
        return Ok(Credentials::Ended);
    }

    let user = CurrentUser::by_program(app.store(), username, ended);
    app.claim(&user.username).await?;

    Ok(Credentials::User {
        user,
        renew_cookie: false,
    })
}

async fn look_up_session(app: &App, headers: &HeaderMap) -> Result<Credentials> {
    let (token, by_cookie) = match cookies::token(app, headers) {
        Token::None => return Ok(Credentials::None),
        Token::Malformed => return Ok(Credentials::Ended),
        Token::Bearer(token) => (token, false),
        Token::Cookie(token) => (token, true),
    };
    Ok(match app.store().session(&token).await? {
        None => Credentials::Ended,
        Some(session) => {
            let renew_cookie = by_cookie && app.store().is_renewal_due(&session);
            Credentials::User {
                user: CurrentUser::by_session(session, token),
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
    /// rooms need no lookup of their sessions. A room that does not exist is treated like a private
    /// one, so that a wait, or the use of a session, tells nobody which of them it is.
    pub(crate) async fn of(app: &App, head: &Parts, room: &RoomName) -> Result<Self> {
        if app.store().privacy(room).await? == Some(Privacy::Public) {
            return Ok(Self {
                store: app.store().as_user(Actor::Anonymous),
                user: None,
                is_public: true,
            });
        }

        let user = match Box::pin(look_up(app, head)).await? {
            Credentials::User { user, .. } => Some(user),
            Credentials::None | Credentials::Ended => None,
        };
        let actor = user.as_ref().map_or(Actor::Anonymous, CurrentUser::actor);
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
        Ok(()) => cookies::set(app, response, Some(token)),
        Err(error) => tracing::debug!(%error, "a cookie was not renewed"),
    }
}
