//! Sessions: starting, using, listing and ending them.

use super::ChatStore;
use crate::account::{NameKey, open_to_guests};
use crate::error::{Error, Result};
use crate::model::{NewSession, Signal};
use crate::session::{Session, SessionId, SessionToken, TOUCH_AFTER, expired_before};
use crate::types::Username;

impl ChatStore {
    /// Starts a session for a user who proves nothing: a guest. `device` is the client's
    /// description of itself, kept for the list of sessions.
    ///
    /// # Errors
    ///
    /// [`Error::NameClaimed`] and [`Error::NameReserved`] if the name, in any case, has an account;
    /// a registration at the same time leaves no such session. [`Error::Unavailable`],
    /// [`Error::Full`].
    pub async fn log_in_guest(
        &self,
        user: &Username,
        device: &str,
    ) -> Result<(SessionToken, Session)> {
        let (token, new) = self.new_session(user, false, device)?;
        if self
            .engine
            .call(self.engine.backend.add_guest_session(new.clone()))
            .await?
        {
            return Ok((token, new.session));
        }
        let owner = self.account_name(user).await?;
        open_to_guests(user, owner.as_ref())?;
        // An account is never removed, so there is one.
        Err(Error::Corrupt(
            "a name is claimed and has no account".into(),
        ))
    }

    pub(super) fn new_session(
        &self,
        user: &Username,
        verified: bool,
        device: &str,
    ) -> Result<(SessionToken, NewSession)> {
        let token = SessionToken::random()?;
        let session = Session::new(user.clone(), verified, device, self.engine.now())?;
        let new = NewSession {
            token: token.hash(),
            session,
        };
        Ok((token, new))
    }

    /// Returns the name that has an account, out of those that differ from `user` at most in case.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn account_name(&self, user: &Username) -> Result<Option<Username>> {
        let owners = self
            .engine
            .call(self.engine.backend.account_names(vec![NameKey::from(user)]))
            .await?;
        Ok(owners.into_iter().next().flatten())
    }

    /// Returns the session that a token stands for, if it has neither ended nor expired. Counts as
    /// a use of it, which is stored at most once an hour.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn session(&self, token: &SessionToken) -> Result<Option<Session>> {
        let now = self.engine.now();
        let hash = token.hash();
        let Some(session) = self
            .engine
            .call(
                self.engine
                    .backend
                    .session(hash, self.engine.alive_since(now)),
            )
            .await?
        else {
            return Ok(None);
        };
        if session.last_seen
            <= expired_before(now, TOUCH_AFTER.min(self.engine.options.session_idle / 2))
        {
            // The next use is written down instead.
            if let Err(error) = self
                .engine
                .call(self.engine.backend.touch_session(hash, now))
                .await
            {
                tracing::debug!(%error, "the last use of a session was not stored");
            }
        }
        Ok(Some(session))
    }

    /// Returns true once half of the idle time is over since the client of a session was given its
    /// token. A client that keeps a token no longer than a session may be idle needs it again then,
    /// however often the session was used.
    #[must_use]
    pub fn is_renewal_due(&self, session: &Session) -> bool {
        session.renewed_at
            <= expired_before(self.engine.now(), self.engine.options.session_idle / 2)
    }

    /// Records that the client of a session is given its token again.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn renew_session(&self, token: &SessionToken) -> Result<()> {
        self.engine
            .call(
                self.engine
                    .backend
                    .renew_session(token.hash(), self.engine.now()),
            )
            .await
    }

    /// Ends the session of a token, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn log_out(&self, token: &SessionToken) -> Result<()> {
        if let Some(user) = self
            .engine
            .call(self.engine.backend.end_session(token.hash()))
            .await?
        {
            self.engine.notify_sessions_ended(&user);
        }
        Ok(())
    }

    /// Returns a user's sessions, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn sessions(&self, user: &Username) -> Result<Vec<Session>> {
        self.engine
            .call(
                self.engine
                    .backend
                    .sessions(user.clone(), self.engine.alive_since(self.engine.now())),
            )
            .await
    }

    /// Ends one session of a user. Returns true if there was one with that id.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn end_session(&self, user: &Username, id: SessionId) -> Result<bool> {
        let ended = self
            .engine
            .call(self.engine.backend.end_session_of(user.clone(), id))
            .await?;
        if ended {
            self.engine.notify_sessions_ended(user);
        }
        Ok(ended)
    }

    /// Ends every session of a user, except one if given. Returns the number of sessions that
    /// ended.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn end_sessions(&self, user: &Username, except: Option<SessionId>) -> Result<u64> {
        let ended = self
            .engine
            .call(self.engine.backend.end_sessions_of(user.clone(), except))
            .await?;
        self.engine.notify_sessions_ended(user);
        Ok(ended)
    }

    /// Ends everything that a user has open, at every process that shares the store: the sessions,
    /// and whatever the program vouches for without one. Watchers of the user get
    /// [`UserUpdate::Revoked`](crate::UserUpdate::Revoked).
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]: other processes may not have been notified; the call may be
    /// repeated.
    pub async fn revoke(&self, user: &Username) -> Result<()> {
        self.end_sessions(user, None).await?;

        let engine = &self.engine;
        engine.feed.users.notify_revoked(user);
        let signal = Signal::Revoked(user.clone());
        engine.call(engine.backend.publish_signal(signal)).await
    }
}
