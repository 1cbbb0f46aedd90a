//! Accounts and sessions.
//!
//! The collection `names` holds one document for a name in any case, and its `_id` decides between
//! two users who register it. What depends on it is changed together with it: in one
//! transaction, or, on a standalone mongod, under the lock of the one process that works there, in
//! an order that a crash may cut off anywhere.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::bson::{RawDocument, RawDocumentBuf, doc, rawdoc};

use super::error::error;
use super::scheduler::Mongo;
use super::step::{Step, Writer};
use super::store::Store;
use super::{commands, documents, find, names};
use crate::account::{Account, NameKey};
use crate::backend::Accounts;
use crate::error::Result;
use crate::model::{NewSession, Page};
use crate::session::{Session, SessionId, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::Username;

/// Writes to an account, or to a session that depends on one.
enum AccountStep {
    Claim(Account, NewSession),
    Password(Account, SessionId),
    Guest(NewSession),
    /// A session for the version of the password that was proved.
    LogIn(NewSession, i64),
}

#[async_trait]
impl Step for AccountStep {
    fn claims(&self) -> Option<NameKey> {
        match self {
            Self::Claim(account, _) => Some(NameKey::from(&account.username)),
            _ => None,
        }
    }

    /// Without a transaction, a failed precondition leaves sessions ended. These had to end in any
    /// case: guests' sessions under a name that has an account, or sessions from before a newer
    /// password.
    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        match &*self {
            Self::Claim(account, first) => claim(writer, account, first).await,
            Self::Password(account, keep) => {
                let others = find::sessions_of(&account.username, Some(*keep));
                writer.write(commands::delete("sessions", others)?).await?;
                let set = rawdoc! { "$set": { "account": documents::new_account(account) } };
                let before = proved(&account.username, account.version - 1);
                let statement = rawdoc! { "q": before, "u": set };
                Ok(writer.write(commands::update("names", statement)).await?.n == 1)
            }
            Self::Guest(new) => {
                let fold = NameKey::from(&new.session.username);
                let used = writer.write(use_by_guest(&fold)).await?;
                Ok(
                    used.duplicate.is_none()
                        && writer.write(insert(new)).await?.duplicate.is_none(),
                )
            }
            Self::LogIn(new, version) => {
                let current = proved(&new.session.username, *version);
                let used = rawdoc! { "q": current, "u": { "$inc": { "uses": 1_i64 } } };
                let used = writer.write(commands::update("names", used)).await?;
                Ok(used.n == 1 && writer.write(insert(new)).await?.duplicate.is_none())
            }
        }
    }
}

/// Returns the command that keeps a name from being claimed before the transaction ends. It fails
/// with a duplicate key if the name has an account.
fn use_by_guest(name: &NameKey) -> RawDocumentBuf {
    let statement = rawdoc! {
        "q": { "_id": name.as_str(), "account": { "$exists": false } },
        "u": { "$inc": { "uses": 1_i64 } },
        "upsert": true,
    };
    commands::update("names", statement)
}

/// Matches an account with this version of the password.
fn proved(user: &Username, version: i64) -> RawDocumentBuf {
    rawdoc! {
        "_id": NameKey::from(user).as_str(),
        "account.username": user.as_str(),
        "account.version": version,
    }
}

/// Claims the name of an account, ends the sessions of guests who use it, and stores the first
/// session of the account.
async fn claim(
    writer: &mut Writer<'_>,
    account: &Account,
    first: &NewSession,
) -> mongodb::error::Result<bool> {
    let name = NameKey::from(&account.username);
    if !writer.is_in_transaction() {
        // First, so that a crash in between leaves no guest with a claimed name.
        end_guests(writer, &name).await?;
    }

    // First in a transaction, because this is where transactions meet.
    let open = rawdoc! { "_id": name.as_str(), "account": { "$exists": false } };
    let set = rawdoc! { "$set": { "account": documents::new_account(account) } };
    let statement = rawdoc! { "q": open, "u": set, "upsert": true };
    let claimed = writer.write(commands::update("names", statement)).await?;
    if claimed.duplicate.is_some() {
        return Ok(false);
    }

    if writer.is_in_transaction() {
        end_guests(writer, &name).await?;
    }
    Ok(writer.write(insert(first)).await?.duplicate.is_none())
}

async fn end_guests(writer: &mut Writer<'_>, name: &NameKey) -> mongodb::error::Result<()> {
    let sessions = commands::delete("sessions", find::guests_of(name))?;
    writer.write(sessions).await.map(drop)
}

fn insert(new: &NewSession) -> RawDocumentBuf {
    commands::insert("sessions", documents::new_session(new))
}

#[async_trait]
impl Accounts for Mongo {
    async fn account(&self, name: NameKey) -> Result<Option<Account>> {
        self.run(|this| async move {
            let read = |document: &RawDocument| {
                Ok((
                    documents::account(document)?,
                    document.get_bool("told").unwrap_or(false),
                ))
            };
            let found = this
                .connection
                .find(find::accounts(std::slice::from_ref(&name)), read)
                .await?
                .pop();
            let Some((account, is_published)) = found else {
                return Ok(None);
            };
            // The process that claimed the name died, or was cut off, before all processes were
            // told.
            if !is_published && this.deployment.is_shared() {
                names::publish_claim(&this.connection, &name).await?;
            }
            Ok(Some(account))
        })
        .await
    }

    async fn accounts(&self, page: Page<NameKey>) -> Result<Vec<Username>> {
        let accounts = find::account_page(&page);
        let username = |document: &RawDocument| Ok(documents::account(document)?.username);
        self.run(|this| async move { this.connection.find(accounts, username).await })
            .await
    }

    async fn account_names(&self, names: Vec<NameKey>) -> Result<Vec<Option<Username>>> {
        self.run_commit(|this| async move { this.account_names(&names).await })
            .await
    }

    async fn create_account(&self, account: Account, first: NewSession) -> Result<bool> {
        self.run_write(|this| async move {
            this.deployment
                .run_step(&this.connection, &mut AccountStep::Claim(account, first))
                .await
        })
        .await
    }

    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool> {
        self.run_write(|this| async move {
            this.deployment
                .run_step(&this.connection, &mut AccountStep::Password(account, keep))
                .await
        })
        .await
    }

    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()> {
        self.run_write(|this| async move {
            let fold = NameKey::from(&account.username);
            let stored = doc! { "_id": fold.as_str(), "account.hash": old };
            let better = doc! { "$set": { "account.hash": account.hash } };
            this.connection
                .limited(
                    this.connection
                        .collection("names")
                        .update_one(stored, better),
                )
                .await
                .map_err(error)?;
            Ok(())
        })
        .await
    }

    async fn add_guest_session(&self, new: NewSession) -> Result<bool> {
        self.run_write(|this| async move {
            this.deployment
                .run_step(&this.connection, &mut AccountStep::Guest(new))
                .await
        })
        .await
    }

    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool> {
        self.run_write(move |this| async move {
            this.deployment
                .run_step(&this.connection, &mut AccountStep::LogIn(new, version))
                .await
        })
        .await
    }

    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>> {
        self.run(|this| async move {
            Ok(this
                .connection
                .find(find::session(token, alive_since), documents::session)
                .await?
                .pop())
        })
        .await
    }

    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.run_write(|this| async move {
            let used = doc! { "$set": documents::session_use(now) };
            let sessions = this.connection.collection("sessions");
            this.connection
                .limited(sessions.update_one(find::token(token), used))
                .await
                .map_err(error)?;
            Ok(())
        })
        .await
    }

    async fn renew_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.run_write(|this| async move {
            let renewed = doc! { "$set": { "renewed_at": now.as_micros() } };
            let sessions = this.connection.collection("sessions");
            this.connection
                .limited(sessions.update_one(find::token(token), renewed))
                .await
                .map_err(error)?;
            Ok(())
        })
        .await
    }

    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>> {
        self.run_write(|this| async move {
            let sessions = this.connection.collection("sessions");
            let ended = this
                .connection
                .limited(sessions.find_one_and_delete(find::token(token)))
                .await;
            Ok(ended
                .map_err(error)?
                .and_then(|session| session.get_str("username").ok()?.parse().ok()))
        })
        .await
    }

    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>> {
        self.run(|this| async move {
            this.connection
                .find(find::sessions(&user, alive_since), documents::session)
                .await
        })
        .await
    }

    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool> {
        self.run_write(move |this| async move {
            let sessions = this.connection.collection("sessions");
            let ended = this
                .connection
                .limited(sessions.delete_one(find::session_of(&user, id)))
                .await
                .map_err(error)?;
            Ok(ended.deleted_count > 0)
        })
        .await
    }

    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64> {
        self.run_write(move |this| async move {
            let filter = find::sessions_of(&user, except);
            let sessions = this.connection.collection("sessions");
            Ok(this
                .connection
                .limited(sessions.delete_many(filter))
                .await
                .map_err(error)?
                .deleted_count)
        })
        .await
    }
}

impl Store {
    /// Returns the account names of those of these names, in any case, that have an account.
    async fn account_names(&self, names: &[NameKey]) -> Result<Vec<Option<Username>>> {
        let found: HashMap<_, _> = self
            .connection
            .find(find::accounts(names), documents::owner)
            .await?
            .into_iter()
            .collect();
        Ok(names
            .iter()
            .map(|name| found.get(name.as_str()).cloned())
            .collect())
    }
}
