//! What a store needs of a database for accounts and sessions: each method is one atomic step.

use async_trait::async_trait;

use crate::account::{Account, NameKey};
use crate::error::Result;
use crate::model::NewSession;
use crate::session::{Session, SessionId, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::Username;

#[async_trait]
pub(crate) trait Accounts: Send + Sync + 'static {
    /// The account of this name, in any case.
    async fn account(&self, name: NameKey) -> Result<Option<Account>>;
    /// For each of these names, in any case, the name that has the account, if one has.
    async fn owners(&self, names: Vec<NameKey>) -> Result<Vec<Option<Username>>>;
    /// Makes an account with its first session and ends the guests' sessions of its name, in any
    /// case. Says whether it did; it does not if the name, in any case, has an account.
    ///
    /// Once it did, no guest's session of these names starts and no guest's message under them is
    /// stored, by any process.
    async fn claim(&self, account: Account, first: NewSession) -> Result<bool>;
    /// Replaces the hash of an account by that of another password, and ends the account's sessions
    /// but one. Says whether it did; it does not unless `account` has the version before.
    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool>;
    /// Replaces the hash of an account by another one of the same password, if it is still `old`.
    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()>;

    /// Starts a guest's session. Says whether it did; it does not if the name, in any case, has an
    /// account.
    async fn add_guest(&self, new: NewSession) -> Result<bool>;
    /// Starts a session of an account. Says whether it did; it does not if the account has another
    /// password since the version that was proved.
    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool>;
    /// The session of a token, unless its last use lies before `alive_since`.
    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>>;
    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()>;
    /// Records that the client was given the token at this time.
    async fn renew_session(&self, token: TokenHash, now: Timestamp) -> Result<()>;
    /// Ends a session; says whose it was.
    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>>;
    /// A user's sessions that are alive, the oldest first.
    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>>;
    /// Ends one session of a user; says whether there was one.
    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool>;
    /// Ends all sessions of a user but one; says how many.
    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64>;
}
