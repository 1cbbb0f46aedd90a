//! Accounts: registering, logging in, changing the password.

use super::ChatStore;
use crate::account::{Account, NameKey, Password, Verdict};
use crate::error::{Error, Result};
use crate::model::NewSession;
use crate::session::{Session, SessionToken};
use crate::types::Username;

/// The most attempts to start a session of an account that changes meanwhile.
const MAX_VOUCH_ATTEMPTS: usize = 4;

impl ChatStore {
    /// Makes an account and starts its first session. From then on the name belongs to it: guests
    /// cannot use it, nor any name that differs from it only in case, and their sessions of these
    /// names have ended.
    ///
    /// If one name, in any case, is registered several times at once, by whichever processes, one
    /// succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`]: nothing was stored. [`Error::Busy`], [`Error::Full`].
    /// [`Error::Unavailable`]: the account may be there or not; a log-in tells.
    pub async fn register(
        &self,
        user: &Username,
        password: &Password,
        device: &str,
    ) -> Result<(SessionToken, Session)> {
        // Spares the hash of a name that is taken; the claim decides.
        if self.account_name(user).await?.is_some() {
            return Err(Error::NameTaken);
        }
        let hash = self.engine.call(self.engine.hasher.hash(password)).await?;
        let (token, first) = self.new_session(user, true, device)?;
        let account = Account {
            username: user.clone(),
            hash,
            version: 1,
        };
        if !self
            .engine
            .call(self.engine.backend.create_account(account, first.clone()))
            .await?
        {
            return Err(Error::NameTaken);
        }
        self.engine.notify_sessions_ended(user);
        Ok((token, first.session))
    }

    /// Starts a session of an account. Takes as long for a name without an account as for a wrong
    /// password. A hash that was made with parameters other than today's is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::WrongPassword`], [`Error::Busy`], [`Error::Full`], [`Error::Unavailable`].
    pub async fn log_in(
        &self,
        user: &Username,
        password: &str,
        device: &str,
    ) -> Result<(SessionToken, Session)> {
        let account = self.verified(user, password).await?;
        let (token, new) = self.new_session(user, true, device)?;
        if !self
            .engine
            .call(
                self.engine
                    .backend
                    .add_session(new.clone(), account.version),
            )
            .await?
        {
            // It was changed since it was read.
            return Err(Error::WrongPassword);
        }
        Ok((token, new.session))
    }

    /// Starts a session that the program vouches for, for programs with users of their own: the
    /// caller has proved elsewhere who the user is. Unless the name has an account, one is created
    /// that has no password.
    ///
    /// From then on the name belongs to the account, as after [`register`](Self::register): it is
    /// [verified](Session::verified), it can own and join private rooms, edit and delete, and
    /// neither a guest nor a registration can take the name. Nobody can [log in](Self::log_in) to
    /// it.
    ///
    /// If the future is dropped, the session may have started.
    ///
    /// ```
    /// use chatcore::{ChatStore, Error, Privacy, Username};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let ann: Username = "ann".parse()?;
    /// let (token, session) = store.vouch(&ann, "Firefox on Linux").await?;
    /// let by_ann = store.as_user(session.actor());
    /// assert!(by_ann.create_room(&"plans".parse()?, Privacy::Private).await?);
    ///
    /// let taken = store.register(&ann, &"correct horse".parse()?, "").await;
    /// assert!(matches!(taken, Err(Error::NameTaken)));
    /// store.log_out(&token).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NameReserved`] if the name differs only in case from one that has an account,
    /// [`Error::Busy`], [`Error::Full`], [`Error::Unavailable`].
    pub async fn vouch(&self, user: &Username, device: &str) -> Result<(SessionToken, Session)> {
        for _ in 0..MAX_VOUCH_ATTEMPTS {
            let (token, new) = self.new_session(user, true, device)?;
            if self.add_vouched(user, new.clone()).await? {
                return Ok((token, new.session));
            }
        }
        Err(Error::Busy)
    }

    /// Makes a name belong to an account, which is created without a password unless there is one:
    /// neither a guest nor a registration can take the name. Sessions are started by
    /// [`vouch`](Self::vouch).
    ///
    /// # Errors
    ///
    /// Those of [`vouch`](Self::vouch).
    pub async fn claim_name(&self, user: &Username) -> Result<()> {
        // This look-up also publishes a claim whose first publication failed.
        let account = self.engine.backend.account(NameKey::from(user));
        let account = self.engine.call(account).await?;
        if account.is_some_and(|account| account.username == *user) {
            return Ok(());
        }

        let (token, _) = self.vouch(user, "").await?;
        self.log_out(&token).await
    }

    /// Adds a session to the account of a name, which is created if need be. Returns false if the
    /// account changed meanwhile.
    async fn add_vouched(&self, user: &Username, new: NewSession) -> Result<bool> {
        let engine = &self.engine;
        let account = engine.backend.account(NameKey::from(user));
        match engine.call(account).await? {
            Some(account) if account.username != *user => Err(Error::NameReserved),
            Some(account) => {
                let added = engine.backend.add_session(new, account.version);
                engine.call(added).await
            }
            None => {
                let account = Account::without_password(user.clone());
                let created = engine.backend.create_account(account, new);
                let created = engine.call(created).await?;
                if created {
                    engine.notify_sessions_ended(user);
                }
                Ok(created)
            }
        }
    }

    /// Gives the account of a session another password, and ends the account's other sessions.
    ///
    /// A log-in with the old password at the same time fails or its session ends with the others.
    ///
    /// # Errors
    ///
    /// [`Error::WrongPassword`] if `old` is not the password, or is not any more; nothing was
    /// changed. [`Error::Busy`], [`Error::Full`]. [`Error::Unavailable`]: changed or not; other
    /// sessions may have ended.
    pub async fn change_password(
        &self,
        session: &Session,
        old: &str,
        new: &Password,
    ) -> Result<()> {
        let user = &session.username;
        let account = self.verified(user, old).await?;
        let hash = self.engine.call(self.engine.hasher.hash(new)).await?;
        let changed = Account {
            hash,
            version: account.version + 1,
            ..account
        };
        if !self
            .engine
            .call(self.engine.backend.change_password(changed, session.id))
            .await?
        {
            return Err(Error::WrongPassword);
        }
        self.engine.notify_sessions_ended(user);
        Ok(())
    }

    /// The account of this name, if this is its password.
    async fn verified(&self, user: &Username, password: &str) -> Result<Account> {
        let account = self
            .engine
            .call(self.engine.backend.account(NameKey::from(user)))
            .await?;
        // The account may be that of another case.
        let account = account.filter(|account| account.username == *user);
        let hash = account.as_ref().and_then(Account::password_hash);
        let hash = hash.map(str::to_owned);
        let verdict = self
            .engine
            .call(self.engine.hasher.verify(password, hash))
            .await?;
        match (account, verdict) {
            (None, _) | (_, Verdict::Wrong) => Err(Error::WrongPassword),
            (Some(account), Verdict::Right) => Ok(account),
            (Some(account), Verdict::RightUpgraded(better)) => {
                let old = account.hash;
                let account = Account {
                    hash: better,
                    ..account
                };
                self.engine
                    .call(self.engine.backend.upgrade_hash(account.clone(), old))
                    .await?;
                Ok(account)
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;
    use crate::account::tests::weak_hash;
    use crate::options::Options;

    #[tokio::test]
    async fn a_log_in_replaces_a_hash_with_old_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::default();
        let backend = crate::backend::sqlite::open(folder.path().join("chat.db"), &options)
            .await
            .unwrap();
        let store = ChatStore::over(backend.clone(), options);
        let ann: Username = "ann".parse().unwrap();
        let (_, first) = store.new_session(&ann, true, "").unwrap();
        let hash = weak_hash("correct horse");
        let account = Account {
            username: ann.clone(),
            hash: hash.clone(),
            version: 1,
        };
        assert!(backend.create_account(account, first).await.unwrap());
        let stored = async || {
            backend
                .account(NameKey::from(&ann))
                .await
                .unwrap()
                .unwrap()
                .hash
        };

        assert!(matches!(
            store.log_in(&ann, "wrong horse", "").await,
            Err(Error::WrongPassword)
        ));
        assert_eq!(stored().await, hash);
        store.log_in(&ann, "correct horse", "").await.unwrap();
        let better = stored().await;
        assert!(
            better.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{better}"
        );
        store.log_in(&ann, "correct horse", "").await.unwrap();
        assert_eq!(stored().await, better, "it is current, and stays");
        // A change of the password is not undone by an upgrade that comes late.
        let late = Account {
            username: ann.clone(),
            hash: "late".into(),
            version: 1,
        };
        backend.upgrade_hash(late, hash).await.unwrap();
        assert_eq!(stored().await, better);
    }
}
