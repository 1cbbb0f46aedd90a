//! Accounts and sessions.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};

use super::fields::{corrupt, text, time};
use crate::account::{Account, NameKey};
use crate::error::Result;
use crate::model::NewSession;
use crate::session::{Session, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::Username;

pub(in crate::backend::mongo) fn token(token: TokenHash) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: token.0.to_vec(),
    }
}

pub(in crate::backend::mongo) fn session_use(at: Timestamp) -> Document {
    doc! { "last_seen": at.as_micros(), "used": session_used(at) }
}

fn session_used(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_micros() / 1_000)
}

pub(in crate::backend::mongo) fn account(document: &RawDocument) -> Result<Account> {
    let account = document.get_document("account").map_err(corrupt)?;
    Ok(Account {
        username: text(account, "username")?,
        hash: account.get_str("hash").map_err(corrupt)?.to_owned(),
        version: account.get_i64("version").map_err(corrupt)?,
    })
}

/// Reads the name in the `_id`, and the name of the account.
pub(in crate::backend::mongo) fn owner(document: &RawDocument) -> Result<(String, Username)> {
    Ok((
        document.get_str("_id").map_err(corrupt)?.to_owned(),
        account(document)?.username,
    ))
}

pub(in crate::backend::mongo) fn new_account(account: &Account) -> RawDocumentBuf {
    let Account {
        username,
        hash,
        version,
    } = account;
    rawdoc! { "username": username.as_str(), "hash": hash.as_str(), "version": *version }
}

pub(in crate::backend::mongo) fn new_session(
    NewSession {
        token: hash,
        session,
    }: &NewSession,
) -> RawDocumentBuf {
    let at = session.last_seen;
    let mut document = rawdoc! {
        "_id": token(*hash),
        "id": session.id.to_string(),
        "username": session.username.as_str(),
        "verified": session.verified,
        "user_agent": session.device.as_str(),
        "created_at": session.created_at.as_micros(),
        "last_seen": at.as_micros(),
        "renewed_at": session.renewed_at.as_micros(),
        "used": session_used(at),
    };
    if !session.verified {
        document.append(cstr!("guest"), NameKey::from(&session.username).as_str());
    }
    document
}

pub(in crate::backend::mongo) fn session(document: &RawDocument) -> Result<Session> {
    Ok(Session {
        id: text(document, "id")?,
        username: text(document, "username")?,
        verified: document.get_bool("verified").map_err(corrupt)?,
        device: document.get_str("user_agent").map_err(corrupt)?.to_owned(),
        created_at: time(document, "created_at")?,
        last_seen: time(document, "last_seen")?,
        renewed_at: time(document, "renewed_at")?,
    })
}
