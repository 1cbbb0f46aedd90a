//! A request as handlers see it: path, query, body and credentials, read strictly.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::{Deref, DerefMut};
use std::str::FromStr;

use bytes::Bytes;
use chatcore::{
    Actor, ChangeSeq, Emoji, Invalid, Range, RoomName, Seq, Session, UserStore, Username,
};
use http::request::Parts;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::address::{self, Network};
use crate::app::App;
use crate::arrival::Arrival;
use crate::credentials::CurrentUser;
use crate::error::{HttpError, Result};
use crate::limits::Charged;

/// A request as a handler sees it. In memory of its own, because the future of a handler has room
/// for its arguments twice.
pub(crate) struct Call(Box<Received>);

/// The parts of a request.
pub(crate) struct Received {
    pub(crate) head: Parts,
    /// The path of the route, which names its parameters.
    pub(crate) path: &'static str,
    /// Parameters of the path, decoded.
    pub(crate) segments: Segments,
    pub(crate) query: Query,
    pub(crate) body: Bytes,
    /// The user whose credentials the request has, on routes that look them up.
    pub(crate) user: Option<CurrentUser>,
    /// Set if there were credentials of a session that has ended or never was.
    pub(crate) ended: bool,
    pub(crate) arrival: Arrival,
    /// The way to the bare connection, for a client that asks to speak another protocol.
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl From<Received> for Call {
    fn from(received: Received) -> Self {
        Self(Box::new(received))
    }
}

impl Deref for Call {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.0
    }
}

impl DerefMut for Call {
    fn deref_mut(&mut self) -> &mut Received {
        &mut self.0
    }
}

/// The parameters of a path, in their order.
pub(crate) type Segments = Vec<String>;

/// Formats of a body that are understood.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Json,
    Form,
}

impl Call {
    /// Returns the parameter that the route calls `{name}`.
    fn segment<T: FromStr<Err = Invalid>>(&self, name: &'static str) -> Result<T> {
        let open = self
            .path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let found = open
            .zip(&self.segments)
            .find(|(parameter, _)| *parameter == name);
        let (_, text) = found.ok_or_else(HttpError::internal)?;
        Ok(text.parse().map_err(|e| Invalid { field: name, ..e })?)
    }

    pub(crate) fn room(&self) -> Result<RoomName> {
        self.segment("room")
    }

    pub(crate) fn username(&self) -> Result<Username> {
        self.segment("username")
    }

    pub(crate) fn seq(&self) -> Result<Seq> {
        self.segment("seq")
    }

    pub(crate) fn emoji(&self) -> Result<Emoji> {
        self.segment("emoji")
    }

    pub(crate) fn id<T: FromStr<Err = Invalid>>(&self) -> Result<T> {
        self.segment("id")
    }

    pub(crate) fn file(&self) -> Option<&str> {
        self.segments.first().map(String::as_str)
    }

    /// Returns the user, on routes that need one.
    pub(crate) fn user(&self) -> Result<&CurrentUser> {
        self.user
            .as_ref()
            .ok_or_else(|| HttpError::no_session(self.ended))
    }

    /// Returns the session, on routes that need one. There is none for a user of the program that
    /// the chat is mounted in.
    pub(crate) fn session(&self) -> Result<&Session> {
        self.user()?
            .session()
            .ok_or_else(|| HttpError::no_session(self.ended))
    }

    /// Returns the store as the user who makes the request may see it, on routes that look the user
    /// up.
    pub(crate) fn user_store(&self, app: &App) -> UserStore {
        let actor = self
            .user
            .as_ref()
            .map_or(Actor::Anonymous, CurrentUser::actor);
        app.store().as_user(actor)
    }

    /// Returns the network that the request comes from, as limits count it.
    pub(crate) fn network(&self, app: &App) -> Network {
        let unknown = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let peer = self.arrival.peer.unwrap_or(unknown);
        address::client(&app.settings().trusted_proxies, peer, &self.head.headers).into()
    }

    /// Returns the caller to whom limits are charged.
    pub(crate) fn charged(&self, app: &App) -> Charged {
        let proved = self.user.as_ref().map(CurrentUser::proved);
        Charged::new(proved, self.network(app))
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// Returns the format that the request says its body has: JSON if it says nothing.
    pub(crate) fn body_format(&self) -> Result<BodyFormat> {
        let Some(value) = self.head.headers.get(CONTENT_TYPE) else {
            return Ok(BodyFormat::Json);
        };
        let essence = value
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" => Ok(BodyFormat::Json),
            "application/x-www-form-urlencoded" => Ok(BodyFormat::Form),
            _ => Err(HttpError::unsupported_media_type(
                "the Content-Type must be application/json",
            )),
        }
    }

    /// Returns the fields of a JSON body.
    pub(crate) fn json(&self) -> Result<Fields> {
        if self.body_format()? == BodyFormat::Form {
            return Err(HttpError::unsupported_media_type(
                "the Content-Type must be application/json",
            ));
        }
        Fields::parse(utf8(&self.body, "the body")?, "the body")
    }

    /// Returns the fields of a form.
    pub(crate) fn form(&self) -> Result<Fields> {
        if self.body_format()? == BodyFormat::Json {
            return Err(HttpError::unsupported_media_type(
                "the Content-Type must be application/x-www-form-urlencoded",
            ));
        }
        let pairs = pairs(utf8(&self.body, "the body")?)?;
        Ok(Fields(
            pairs
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect(),
        ))
    }

    /// Returns the fields of a JSON body or a form.
    pub(crate) fn fields(&self) -> Result<Fields> {
        if self.body_format()? == BodyFormat::Form {
            self.form()
        } else {
            self.json()
        }
    }
}

/// The fields of a body.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Returns the fields of a JSON object, which errors call `what`.
    pub(crate) fn parse(text: &str, what: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(HttpError::bad_request(format!(
                "{what} is empty; it must be a JSON object"
            )));
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => Err(HttpError::bad_request(format!(
                "{what} must be a JSON object, not {}",
                kind_of(&other)
            ))),
            Err(e) => Err(HttpError::bad_request(format!(
                "{what} is not valid JSON: {e}"
            ))),
        }
    }

    /// Returns a `seq`; `null` counts as left out.
    pub(crate) fn seq(&self, name: &str) -> Result<Option<Seq>> {
        self.number(name, Seq::new)
    }

    /// Returns the number of a change; `null` counts as left out.
    pub(crate) fn change(&self, name: &str) -> Result<Option<ChangeSeq>> {
        self.number(name, ChangeSeq::new)
    }

    fn number<T>(&self, name: &str, new: fn(i64) -> Option<T>) -> Result<Option<T>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64().and_then(new) {
                Some(number) => Ok(Some(number)),
                None => Err(HttpError::bad_request(format!(
                    "{name} must be a whole number from 0 up"
                ))),
            },
        }
    }

    /// Returns a yes or no. `null` is neither, and is refused: a room that was meant to be private
    /// must not be public by mistake.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(HttpError::bad_request(format!(
                "{name} must be true or false, not {}",
                kind_of(other)
            ))),
        }
    }

    /// Returns a text field; `null` counts as left out.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(HttpError::bad_request(format!(
                "{name} must be a string, not {}",
                kind_of(other)
            ))),
        }
    }

    /// Returns a text field of a validated type; an error calls it by its own name.
    pub(crate) fn get<T: FromStr<Err = Invalid>>(&self, name: &'static str) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        Ok(Some(
            text.parse().map_err(|e| Invalid { field: name, ..e })?,
        ))
    }

    pub(crate) fn required<T: FromStr<Err = Invalid>>(&self, name: &'static str) -> Result<T> {
        self.get(name)?
            .ok_or_else(|| HttpError::bad_request(format!("{name} is missing")))
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The parameters after the `?`.
#[derive(Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    raw: Option<String>,
}

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let pairs = text.map(pairs).transpose()?.unwrap_or_default();
        Ok(Self {
            pairs,
            raw: text.map(str::to_owned),
        })
    }

    /// Returns the query as it came.
    pub(crate) fn raw(&self) -> Option<&str> {
        self.raw.as_deref()
    }

    /// Returns a parameter that may be given once.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>> {
        let mut found = self
            .pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str());
        let first = found.next();
        if found.next().is_some() {
            return Err(HttpError::bad_request(format!(
                "{name} is given more than once"
            )));
        }
        Ok(first)
    }

    /// Returns a parameter of a validated type; an error calls it by its own name.
    pub(crate) fn parsed<T: FromStr<Err = Invalid>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>> {
        let Some(text) = self.get(name)? else {
            return Ok(None);
        };
        Ok(Some(
            text.parse().map_err(|e| Invalid { field: name, ..e })?,
        ))
    }

    /// Returns `limit`, from 1 to `most`.
    pub(crate) fn limit(&self, default: u32, most: u32) -> Result<u32> {
        let Some(text) = self.get("limit")? else {
            return Ok(default);
        };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| {
            HttpError::bad_request(format!("limit must be a whole number from 1 to {most}"))
        })
    }

    /// Returns the range that `since`, `after` or `before` asks for, or else the newest.
    pub(crate) fn range(&self) -> Result<Range> {
        let since = self.parsed("since")?.map(Range::Since);
        let after = self.parsed("after")?.map(Range::After);
        let before = self.parsed("before")?.map(Range::Before);
        let mut given = [since, after, before].into_iter().flatten();
        match (given.next(), given.next()) {
            (None, _) => Ok(Range::Newest),
            (Some(range), None) => Ok(range),
            _ => Err(HttpError::bad_request(
                "at most one of since, after and before may be given",
            )),
        }
    }
}

/// Returns the pairs of `application/x-www-form-urlencoded`, of which a query is one, with errors
/// where the WHATWG's parser would put replacement characters.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let decode = |part: &str| {
        if part.contains('+') {
            decode(&part.replace('+', " "))
        } else {
            decode(part)
        }
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Returns a percent-encoded text decoded, as RFC 3986 has it.
pub(crate) fn decode(text: &str) -> Result<String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(HttpError::bad_request(
                "a % in the address is not followed by two hexadecimal digits",
            ));
        }
        rest = &rest[at + 3..];
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| HttpError::bad_request("the percent-encoding is not of UTF-8"))
}

fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| HttpError::bad_request(format!("{what} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_read_strictly() {
        assert_eq!(decode("a%20b%C3%A9+%2F").ok().as_deref(), Some("a bé+/"));
        for text in [
            "%",
            "%2",
            "%zz",
            "a%2",
            "%%20",
            "%C3",
            "%ff",
            "%ED%A0%80",
            "%é",
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_query_keeps_names_and_values_apart() {
        let query = Query::parse(Some("a=1&b=x+y%2B&&c&d=%3D=")).expect("a query");
        let get = |name| query.get(name).ok().flatten();
        assert_eq!(
            (get("a"), get("b"), get("c"), get("d"), get("e")),
            (Some("1"), Some("x y+"), Some(""), Some("=="), None)
        );
        assert!(Query::parse(Some("a=%zz")).is_err());
        assert!(
            Query::parse(Some("a=1&a=2"))
                .expect("a query")
                .get("a")
                .is_err()
        );
    }
}
