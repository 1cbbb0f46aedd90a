//! Accounts and sessions.

use async_trait::async_trait;

use crate::account::{Account, NameKey};
use crate::error::Result;
use crate::model::{NewSession, Page};
use crate::session::{Session, SessionId, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::Username;

/// Keeps accounts and sessions.
#[async_trait]
pub(crate) trait Accounts: Send + Sync + 'static {
    /// Returns the account of this name, in any case.
    async fn account(&self, name: NameKey) -> Result<Option<Account>>;

    /// Lists the names that have an account, by their keys.
    async fn accounts(&self, page: Page<NameKey>) -> Result<Vec<Username>>;

    /// Returns the name of the account of each of these names, in any case; `None` for a name
    /// without one. The committer relies on it not to wait for other calls.
    async fn account_names(&self, names: Vec<NameKey>) -> Result<Vec<Option<Username>>>;

    /// Creates an account with its first session, and ends the guests' sessions of its name, in any
    /// case. Returns false, and does nothing, if the name, in any case, has an account.
    ///
    /// Once it returned true, no guest's session of these names starts and no guest's message under
    /// them is stored, by any process.
    async fn create_account(&self, account: Account, first: NewSession) -> Result<bool>;

    /// Replaces the hash of an account by that of another password, and ends the account's sessions
    /// but one. Returns false, and does nothing, unless `account` has the stored version.
    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool>;

    /// Replaces the hash of an account by another one of the same password, if it is still `old`.
    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()>;

    /// Starts a guest's session. Returns false, and does nothing, if the name, in any case, has an
    /// account.
    async fn add_guest_session(&self, new: NewSession) -> Result<bool>;

    /// Starts a session of an account. Returns false, and does nothing, if the account has another
    /// password since the version that was proved.
    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool>;

    /// Returns the session of a token, unless its last use lies before `alive_since`.
    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>>;

    /// Records a use of a session at this time.
    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()>;

    /// Records that the client was given the token at this time.
    async fn renew_session(&self, token: TokenHash, now: Timestamp) -> Result<()>;

    /// Ends a session. Returns its user, if there was one.
    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>>;

    /// Lists a user's sessions that are alive, the oldest first.
    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>>;

    /// Ends one session of a user. Returns false if there was none.
    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool>;

    /// Ends all sessions of a user but one. Returns the number of sessions that it ended.
    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64>;
}
