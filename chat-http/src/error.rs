//! Failures of requests as clients are told of them. The only table of status codes.

use std::borrow::Cow;

use chatcore::{Error, Invalid, MAX_REACTIONS};
use hyper::StatusCode;
use hyper::header::{
    ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};

/// A failed request: a status and one sentence that a person can act on.
#[derive(Debug)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

pub(crate) type Result<T, E = HttpError> = std::result::Result<T, E>;

impl HttpError {
    fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        let challenge = (
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"chat\""),
        );
        Self {
            headers: vec![challenge],
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// Returns `401`: there is no session, or there was one which has ended.
    pub(crate) fn no_session(ended: bool) -> Self {
        Self::unauthorized(match ended {
            true => "the session has ended; log in",
            false => "there is no session; log in",
        })
    }

    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Returns `421`: the request is meant for another server.
    pub(crate) fn misdirected(detail: String) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, detail)
    }

    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    fn gone(detail: &'static str) -> Self {
        Self::new(StatusCode::GONE, detail)
    }

    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let detail = format!("this path takes {allowed}");
        let allow = HeaderValue::from_str(allowed)
            .ok()
            .map(|value| (ALLOW, value));
        Self {
            headers: allow.into_iter().collect(),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        }
    }

    pub(crate) fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )
    }

    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body must be at most {} KiB", most / 1024),
        )
    }

    pub(crate) fn upgrade_required(detail: &'static str) -> Self {
        let headers = vec![
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        ];
        Self {
            headers,
            ..Self::new(StatusCode::UPGRADE_REQUIRED, detail)
        }
    }

    pub(crate) fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    pub(crate) fn too_many_requests(detail: impl Into<Cow<'static, str>>, seconds: u64) -> Self {
        Self {
            headers: retry_after(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server could not answer this request",
        )
    }

    /// Returns `503`: the program that the chat is mounted in could not say who makes a request.
    pub(crate) fn unknown_user() -> Self {
        Self::unavailable("it could not be found out who you are; try again", 2)
    }

    fn unavailable(detail: &'static str, seconds: u64) -> Self {
        Self {
            headers: retry_after(seconds),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    pub(crate) fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }
}

fn retry_after(seconds: u64) -> Vec<(HeaderName, HeaderValue)> {
    vec![(RETRY_AFTER, seconds.into())]
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => invalid.into(),
            Error::RoomNotFound => Self::not_found("Room not found"),
            Error::MessageNotFound => Self::not_found("Message not found"),
            Error::MessageDeleted => Self::conflict("the message is deleted"),
            Error::TooManyReactions => Self::conflict(format!(
                "a message has at most {MAX_REACTIONS} different emoji"
            )),
            Error::ChangesGone => Self::gone(
                "the changes after this one are not kept any more; read again what is shown",
            ),
            Error::AccountNotFound => Self::not_found("no account has this name"),
            Error::Banned => Self::forbidden("this name is banned from the room"),
            Error::Forbidden(reason) => Self::forbidden(reason),
            Error::PrivacyFixed => Self::conflict(
                "the room exists and is public; a private room is made under another name",
            ),
            Error::RoomIsPublic => Self::conflict("the room is public: everyone may join it"),
            Error::NonceConflict => {
                Self::conflict("the nonce was already used for a message with another text")
            }
            Error::NameTaken => Self::conflict("the name is taken"),
            Error::NameClaimed => {
                Self::unauthorized("the name has an account; log in with its password")
            }
            Error::NameReserved => Self::forbidden(
                "the name differs only in case from one that has an account; take another",
            ),
            Error::WrongPassword => Self::unauthorized(
                "no account has this name and password; a name without an account is used without a password",
            ),
            Error::Busy => Self::unavailable(
                "too many calls are waiting; nothing was stored, try again",
                1,
            ),
            Error::Full => Self::unavailable("the store is full; nothing was stored", 10),
            Error::Closed => Self::unavailable("the server is stopping; try again", 2),
            Error::Unavailable(reason) | Error::InUse(reason) => {
                tracing::warn!(%reason, "the store is out of reach");
                Self::unavailable(
                    "the store is out of reach; try again, with the same nonce if you post",
                    2,
                )
            }
            other => {
                tracing::error!(error = %other, "the store failed");
                Self::internal()
            }
        }
    }
}

impl From<Invalid> for HttpError {
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.to_string())
    }
}
