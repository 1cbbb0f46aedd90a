//! Accounts and sessions.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::columns::{parsed, time};
use super::pool::Priority;
use super::{Sqlite, sql};
use crate::account::{Account, NameKey};
use crate::backend::Accounts;
use crate::error::Result;
use crate::model::NewSession;
use crate::session::{Session, SessionId, TokenHash, expired_before};
use crate::timestamp::Timestamp;
use crate::types::Username;

/// The account of a name, in any case.
pub(super) fn find(connection: &Connection, name: &NameKey) -> rusqlite::Result<Option<Account>> {
    let read = |row: &Row<'_>| {
        Ok(Account {
            username: parsed(row, 0)?,
            hash: row.get(1)?,
            version: row.get(2)?,
        })
    };
    connection
        .prepare_cached(sql::ACCOUNT)?
        .query_row([name.as_str()], read)
        .optional()
}

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

impl Sqlite {
    /// Adds a session, unless `may` says no, and removes those that have expired.
    async fn add(
        &self,
        new: NewSession,
        may: impl FnOnce(&Transaction<'_>, &NewSession) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<bool> {
        let expired = expired_before(new.session.created_at, self.session_idle);
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                if !may(&c, &new)? {
                    return Ok(false);
                }
                let NewSession { token, session } = new;
                c.prepare_cached(sql::DROP_EXPIRED_SESSIONS)?
                    .execute([expired.as_micros()])?;
                c.prepare_cached(sql::ADD_SESSION)?.execute(params![
                    token.0,
                    session.id.to_string(),
                    session.username.as_str(),
                    NameKey::from(&session.username).as_str(),
                    session.verified,
                    session.device,
                    session.created_at.as_micros(),
                    session.last_seen.as_micros(),
                    session.renewed_at.as_micros(),
                ])?;
                c.commit()?;
                Ok(true)
            })
            .await
    }
}

fn end_others(
    c: &Connection,
    user: &Username,
    except: Option<SessionId>,
) -> rusqlite::Result<usize> {
    let except = except.map(|id| id.to_string()).unwrap_or_default();
    c.prepare_cached(sql::END_SESSIONS_OF)?
        .execute([user.as_str(), &except])
}

#[async_trait]
impl Accounts for Sqlite {
    async fn account(&self, name: NameKey) -> Result<Option<Account>> {
        self.readers
            .run(Priority::Normal, move |c| find(c, &name))
            .await
    }

    async fn account_names(&self, names: Vec<NameKey>) -> Result<Vec<Option<Username>>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let owner = |name| Ok(find(c, name)?.map(|account| account.username));
                names.iter().map(owner).collect()
            })
            .await
    }

    async fn create_account(&self, account: Account, first: NewSession) -> Result<bool> {
        self.add(first, move |c, _| {
            let fold = NameKey::from(&account.username);
            let Account {
                username,
                hash,
                version,
            } = account;
            let added = c.prepare_cached(sql::ADD_ACCOUNT)?.execute(params![
                fold.as_str(),
                username.as_str(),
                hash,
                version
            ])?;
            c.prepare_cached(sql::END_GUESTS)?
                .execute([fold.as_str()])?;
            Ok(added > 0)
        })
        .await
    }

    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                let Account {
                    username,
                    hash,
                    version,
                } = account;
                let fold = NameKey::from(&username);
                let key = params![fold.as_str(), version - 1, hash];
                if c.prepare_cached(sql::CHANGE_PASSWORD)?.execute(key)? == 0 {
                    return Ok(false);
                }
                end_others(&c, &username, Some(keep))?;
                c.commit()?;
                Ok(true)
            })
            .await
    }

    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()> {
        self.writer
            .run(Priority::Normal, move |c| {
                let fold = NameKey::from(&account.username);
                let key = params![fold.as_str(), old, account.hash];
                c.prepare_cached(sql::UPGRADE_HASH)?.execute(key).map(drop)
            })
            .await
    }

    async fn add_guest_session(&self, new: NewSession) -> Result<bool> {
        self.add(new, |c, new| {
            Ok(find(c, &NameKey::from(&new.session.username))?.is_none())
        })
        .await
    }

    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool> {
        let proved = move |c: &Transaction<'_>, new: &NewSession| {
            let account = find(c, &NameKey::from(&new.session.username))?;
            Ok(account.is_some_and(|account| account.version == version))
        };
        self.add(new, proved).await
    }

    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let key = params![token.0, alive_since.as_micros()];
                c.prepare_cached(sql::SESSION)?
                    .query_row(key, session)
                    .optional()
            })
            .await
    }

    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.writer
            .run(Priority::Normal, move |c| {
                c.prepare_cached(sql::TOUCH_SESSION)?
                    .execute(params![token.0, now.as_micros()])
                    .map(drop)
            })
            .await
    }

    async fn renew_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.writer
            .run(Priority::Normal, move |c| {
                c.prepare_cached(sql::RENEW_SESSION)?
                    .execute(params![token.0, now.as_micros()])
                    .map(drop)
            })
            .await
    }

    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>> {
        self.writer
            .run(Priority::Normal, move |c| {
                let whose = |row: &Row<'_>| parsed(row, 0);
                c.prepare_cached(sql::END_SESSION)?
                    .query_row([token.0], whose)
                    .optional()
            })
            .await
    }

    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let key = params![user.as_str(), alive_since.as_micros()];
                c.prepare_cached(sql::SESSIONS)?
                    .query_map(key, session)?
                    .collect()
            })
            .await
    }

    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                let ended = c
                    .prepare_cached(sql::END_SESSION_OF)?
                    .execute([user.as_str(), &id.to_string()])?;
                Ok(ended > 0)
            })
            .await
    }

    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64> {
        self.writer
            .run(Priority::Normal, move |c| {
                Ok(end_others(c, &user, except)? as u64)
            })
            .await
    }
}
