//! Log-in, accounts and sessions.

use hyper::Method;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue, SET_COOKIE};

use super::Client;
use crate::error::{Error, Result};
use crate::transport::{Answer, SessionHeader, path};
use crate::wire::{Credentials, Me, NewPassword, Registration, Session};

/// Names of the session cookie: plain, of an https server, and of one below a path prefix.
const COOKIES: [&str; 3] = ["session", "__Host-session", "__Secure-session"];

impl Client {
    /// Uses the session with this token, such as one from [`token`](Self::token).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no header can carry it.
    pub fn with_token(self, token: &str) -> Result<Self> {
        self.with_session(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Uses the session of a browser's cookie, `name=value`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no header can carry it.
    pub fn with_cookie(self, cookie: &str) -> Result<Self> {
        self.with_session(COOKIE, cookie)
    }

    fn with_session(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let invalid = |_| Error::Invalid("the session has characters that no header has".into());
        let mut value = HeaderValue::from_str(value).map_err(invalid)?;
        value.set_sensitive(true);

        self.session = Some(SessionHeader { name, value });
        self.username = None;
        Ok(self)
    }

    /// Returns the token of the session, to be used [later](Self::with_token) or elsewhere; `None`
    /// without a session, or with one that came as a cookie. It is a secret.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        let session = self.session.as_ref()?;
        session.value.to_str().ok()?.strip_prefix("Bearer ")
    }

    /// Logs in with the password of an account.
    ///
    /// # Errors
    ///
    /// Refused with `401` if the password is wrong; those of calls.
    pub async fn log_in(&mut self, username: &str, password: &str) -> Result<Me> {
        let credentials = Credentials {
            username: username.to_owned(),
            password: Some(password.to_owned()),
        };
        self.start_session("login", &credentials).await
    }

    /// Logs in as a guest, under a name that has no account.
    ///
    /// # Errors
    ///
    /// Refused with `401` if the name has an account, and with `403` if the server takes no guests;
    /// those of calls.
    pub async fn log_in_guest(&mut self, username: &str) -> Result<Me> {
        let credentials = Credentials {
            username: username.to_owned(),
            password: None,
        };
        self.start_session("login", &credentials).await
    }

    /// Makes an account, and logs in. It is asked for once: if there was no answer, [log
    /// in](Self::log_in) to find out whether the account was made.
    ///
    /// # Errors
    ///
    /// Refused with `409` if the name is taken; those of calls.
    pub async fn register(&mut self, username: &str, password: &str) -> Result<Me> {
        let registration = Registration {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        let call = self
            .call(Method::POST, path(&["auth", "register"], &[]))
            .with_body(&registration)?;
        let answer = self.transport.send_once(&call).await?;
        self.take_session(&answer)
    }

    async fn start_session(&mut self, route: &str, credentials: &Credentials) -> Result<Me> {
        let path = path(&["auth", route], &[]);
        let answer = self.send_body(Method::POST, path, credentials).await?;
        self.take_session(&answer)
    }

    fn take_session(&mut self, answer: &Answer) -> Result<Me> {
        let me: Me = answer.json()?;
        let token = token(answer).ok_or_else(|| Error::Answer("it has no session".into()))?;
        *self = self.clone().with_token(&token)?;
        self.username = Some(me.username.clone());
        Ok(me)
    }

    /// Ends the session.
    ///
    /// # Errors
    ///
    /// Those of calls.
    pub async fn log_out(&mut self) -> Result<()> {
        self.send(Method::POST, path(&["auth", "logout"], &[]))
            .await?;
        self.session = None;
        self.username = None;
        Ok(())
    }

    /// Returns the user of the session.
    ///
    /// # Errors
    ///
    /// Refused with `401` without a session; those of calls.
    pub async fn me(&self) -> Result<Me> {
        self.get(path(&["auth", "me"], &[])).await
    }

    /// Returns the name of the user, which is asked for where the session came from elsewhere.
    pub(super) async fn username(&self) -> Result<String> {
        match &self.username {
            Some(username) => Ok(username.clone()),
            None => Ok(self.me().await?.username),
        }
    }

    /// Changes the password of the account. Every other session of it ends.
    ///
    /// # Errors
    ///
    /// Refused with `403` if `password` is not the account's; those of calls.
    pub async fn change_password(&self, password: &str, new_password: &str) -> Result<()> {
        let body = NewPassword {
            password: password.to_owned(),
            new_password: new_password.to_owned(),
        };
        let call = self
            .call(Method::POST, path(&["auth", "password"], &[]))
            .with_body(&body)?;
        self.transport.send_once(&call).await.map(drop)
    }

    /// Lists the sessions of the user.
    ///
    /// # Errors
    ///
    /// Those of calls.
    pub async fn sessions(&self) -> Result<Vec<Session>> {
        self.get(path(&["auth", "sessions"], &[])).await
    }

    /// Ends another session of the user.
    ///
    /// # Errors
    ///
    /// Refused with `404` if there is no such session; those of calls.
    pub async fn end_session(&self, id: &str) -> Result<()> {
        let path = path(&["auth", "sessions", id], &[]);
        self.send(Method::DELETE, path).await.map(drop)
    }
}

/// Returns the token in the cookie that an answer sets.
fn token(answer: &Answer) -> Option<String> {
    let cookies = answer.headers.get_all(SET_COOKIE).iter();
    cookies
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next()?.split_once('='))
        .find(|(name, _)| COOKIES.contains(name))
        .map(|(_, token)| token.to_owned())
}
