//! Accounts and sessions.

use async_trait::async_trait;
use rusqlite::{Connection, Row, Transaction, params};

use super::columns::{parsed, time};
use super::database::Sqlite;
use super::sql;
use super::statement::Statements as _;
use crate::account::{Account, NameKey};
use crate::backend::Accounts;
use crate::error::Result;
use crate::model::{NewSession, Page};
use crate::session::{Session, SessionId, TokenHash, expired_before};
use crate::timestamp::Timestamp;
use crate::types::Username;

#[async_trait]
impl Accounts for Sqlite {
    async fn account(&self, name: NameKey) -> Result<Option<Account>> {
        self.read(move |c| find_account(c, &name)).await
    }

    async fn accounts(&self, page: Page<NameKey>) -> Result<Vec<Username>> {
        self.read(move |c| {
            let after = page.after.as_ref().map_or("", NameKey::as_str);
            c.list(sql::ACCOUNTS, params![after, page.limit], |row| {
                parsed(row, 0)
            })
        })
        .await
    }

    async fn account_names(&self, names: Vec<NameKey>) -> Result<Vec<Option<Username>>> {
        self.read(move |c| {
            let account_name = |name| {
                let account = find_account(c, name)?;
                Ok(account.map(|account| account.username))
            };
            names.iter().map(account_name).collect()
        })
        .await
    }

    async fn create_account(&self, account: Account, first: NewSession) -> Result<bool> {
        self.add_session_if(first, move |c, _| {
            let key = NameKey::from(&account.username);
            let Account {
                username,
                hash,
                version,
            } = account;
            let added = c.run(
                sql::ADD_ACCOUNT,
                params![key.as_str(), username.as_str(), hash, version],
            )?;
            c.run(sql::END_GUESTS, [key.as_str()])?;
            Ok(added > 0)
        })
        .await
    }

    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool> {
        self.write(move |c| {
            let c = c.transaction()?;
            let Account {
                username,
                hash,
                version,
            } = account;
            let key = NameKey::from(&username);
            let values = params![key.as_str(), version - 1, hash];
            if c.run(sql::CHANGE_PASSWORD, values)? == 0 {
                return Ok(false);
            }

            end_others(&c, &username, Some(keep))?;
            c.commit()?;
            Ok(true)
        })
        .await
    }

    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()> {
        self.write(move |c| {
            let key = NameKey::from(&account.username);
            let values = params![key.as_str(), old, account.hash];
            c.run(sql::UPGRADE_HASH, values).map(drop)
        })
        .await
    }

    async fn add_guest_session(&self, new: NewSession) -> Result<bool> {
        self.add_session_if(new, |c, new| {
            let account = find_account(c, &NameKey::from(&new.session.username))?;
            Ok(account.is_none())
        })
        .await
    }

    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool> {
        self.add_session_if(new, move |c, new| {
            let account = find_account(c, &NameKey::from(&new.session.username))?;
            Ok(account.is_some_and(|account| account.version == version))
        })
        .await
    }

    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>> {
        self.read(move |c| {
            let key = params![token.0, alive_since.as_micros()];
            c.find(sql::SESSION, key, session)
        })
        .await
    }

    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.write(move |c| {
            let touch = params![token.0, now.as_micros()];
            c.run(sql::TOUCH_SESSION, touch).map(drop)
        })
        .await
    }

    async fn renew_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.write(move |c| {
            let renewal = params![token.0, now.as_micros()];
            c.run(sql::RENEW_SESSION, renewal).map(drop)
        })
        .await
    }

    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>> {
        self.write(move |c| c.find(sql::END_SESSION, [token.0], |row| parsed(row, 0)))
            .await
    }

    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>> {
        self.read(move |c| {
            let key = params![user.as_str(), alive_since.as_micros()];
            c.list(sql::SESSIONS, key, session)
        })
        .await
    }

    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool> {
        self.write(move |c| {
            let ended = c.run(sql::END_SESSION_OF, [user.as_str(), &id.to_string()])?;
            Ok(ended > 0)
        })
        .await
    }

    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64> {
        self.write(move |c| Ok(end_others(c, &user, except)? as u64))
            .await
    }
}

impl Sqlite {
    /// Removes the sessions that have expired, and adds one if `may_add` allows it in the same
    /// transaction. Returns false, and does nothing, if it does not.
    async fn add_session_if(
        &self,
        new: NewSession,
        may_add: impl FnOnce(&Transaction<'_>, &NewSession) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<bool> {
        let expired = expired_before(new.session.created_at, self.session_idle);

        self.write(move |c| {
            let c = c.transaction()?;
            if !may_add(&c, &new)? {
                return Ok(false);
            }

            c.run(sql::DROP_EXPIRED_SESSIONS, [expired.as_micros()])?;
            let NewSession { token, session } = new;
            let key = NameKey::from(&session.username);
            let row = params![
                token.0,
                session.id.to_string(),
                session.username.as_str(),
                key.as_str(),
                session.verified,
                session.device,
                session.created_at.as_micros(),
                session.last_seen.as_micros(),
                session.renewed_at.as_micros(),
            ];
            c.run(sql::ADD_SESSION, row)?;

            c.commit()?;
            Ok(true)
        })
        .await
    }
}

/// Reads the account of a name, in any case.
pub(super) fn find_account(c: &Connection, name: &NameKey) -> rusqlite::Result<Option<Account>> {
    c.find(sql::ACCOUNT, [name.as_str()], |row| {
        Ok(Account {
            username: parsed(row, 0)?,
            hash: row.get(1)?,
            version: row.get(2)?,
        })
    })
}

/// Reads a row of [`sql::SESSION`].
fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: parsed(row, 0)?,
        username: parsed(row, 1)?,
        verified: row.get(2)?,
        device: row.get(3)?,
        created_at: time(row, 4)?,
        last_seen: time(row, 5)?,
        renewed_at: time(row, 6)?,
    })
}

/// Ends the sessions of a user but one. Returns the number of sessions that it ended.
fn end_others(
    c: &Connection,
    user: &Username,
    except: Option<SessionId>,
) -> rusqlite::Result<usize> {
    let except = except.map(|id| id.to_string()).unwrap_or_default();

    c.run(sql::END_SESSIONS_OF, [user.as_str(), &except])
}
