//! Accounts: names with a password, and the names that differ from them only in case.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Invalid, Reason, Result};
use crate::types::Username;

/// The fewest characters in a password.
pub const MIN_PASSWORD_CHARS: usize = 8;
/// The most characters in a password.
pub const MAX_PASSWORD_CHARS: usize = 256;

/// A password for an account: 8 to 256 characters after Unicode NFC.
///
/// The store keeps only its argon2id hash. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl FromStr for Password {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = |reason: String| Err(Invalid::new("password", reason));
        let normal = normal(text);

        match normal.chars().count() {
            0..MIN_PASSWORD_CHARS => refused(format!(
                "must have at least {MIN_PASSWORD_CHARS} characters"
            )),
            MIN_PASSWORD_CHARS..=MAX_PASSWORD_CHARS => Ok(Self(normal)),
            _ => refused(format!("must be at most {MAX_PASSWORD_CHARS} characters")),
        }
    }
}

/// Returns the text in NFC, so that a password is the same from every keyboard.
fn normal(text: &str) -> Arc<str> {
    if text.is_ascii() {
        text.into()
    } else {
        text.nfc().collect::<String>().into()
    }
}

/// The key of a name without regard to case: Unicode's full case folding, in NFC. Names that differ
/// only in case have the same key, and at most one of them has an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameKey(Arc<str>);

impl NameKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Username> for NameKey {
    fn from(name: &Username) -> Self {
        let name = name.as_str();
        if name.is_ascii() {
            return Self(name.to_ascii_lowercase().into());
        }

        // Some characters fold only once they are decomposed.
        let decomposed: String = name.nfd().collect();
        Self(
            UniCase::unicode(decomposed)
                .to_folded_case()
                .nfc()
                .collect::<String>()
                .into(),
        )
    }
}

impl Username {
    /// Returns true if both are the same name, or differ only in case. At most one of such names
    /// has an account, and then guests can use none of them.
    #[must_use]
    pub fn is_same_but_for_case(&self, other: &Self) -> bool {
        let (a, b) = (self.as_str(), other.as_str());
        if a.is_ascii() && b.is_ascii() {
            return a.eq_ignore_ascii_case(b);
        }
        NameKey::from(self) == NameKey::from(other)
    }
}

/// An account as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// The name as it was registered.
    pub(crate) username: Username,
    /// The argon2id hash of the password, with its parameters, as a PHC string. Empty for an
    /// account without a password.
    pub(crate) hash: String,
    /// Counts the passwords that the account has had, so that a proof of an old one is noticed.
    pub(crate) version: i64,
}

impl Account {
    /// Returns an account without a password: nobody can log in to it, only the program can start
    /// sessions of it.
    pub(crate) fn without_password(username: Username) -> Self {
        Self {
            username,
            hash: String::new(),
            version: 1,
        }
    }

    /// Returns the hash of the password, if the account has one.
    pub(crate) fn password_hash(&self) -> Option<&str> {
        Some(self.hash.as_str()).filter(|hash| !hash.is_empty())
    }
}

/// Checks that guests may use a name. `account_name` is the name of the account that it, in any
/// case, belongs to.
///
/// # Errors
///
/// [`Error::NameClaimed`], [`Error::NameReserved`].
pub(crate) fn open_to_guests(name: &Username, account_name: Option<&Username>) -> Result<()> {
    match account_name {
        None => Ok(()),
        Some(account_name) if account_name == name => Err(Error::NameClaimed),
        Some(_) => Err(Error::NameReserved),
    }
}

/// The result of the check of a password.
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right. The hash was made with old parameters; this one is of the same password with those of
    /// today.
    RightUpgraded(String),
}

/// Hashes that may wait for their turn. One takes tens of milliseconds, so callers in a longer
/// queue would give up before it ends.
const MAX_WAITING: usize = 64;

/// Hashes passwords on the blocking pool, few at a time, because each takes a core and 19 MiB.
pub(crate) struct Hasher {
    /// Permits to wait in the queue, or to run.
    queue: Semaphore,
    /// Permits to run.
    running: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        // Half of the cores: the others serve everyone who does not log in.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parallel = (cores / 2).max(1);

        Self {
            queue: Semaphore::new(parallel + MAX_WAITING),
            running: Arc::new(Semaphore::new(parallel)),
        }
    }
}

impl Hasher {
    /// Runs a job once it is its turn.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if too many wait, [`Error::Unavailable`] if the job panics.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _queued = self.queue.try_acquire().map_err(|_| Error::Busy)?;
        let permit = self.running.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::Closed)?;

        let work = tokio::task::spawn_blocking(move || {
            let value = job();
            // Not earlier: the work goes on even if its caller is dropped.
            drop(permit);
            value
        });

        work.await.map_err(|e| {
            let text = format!("a password was not hashed: {e}");
            Error::Unavailable(Reason::with_cause(text, e))
        })
    }

    /// Hashes a password with today's parameters.
    pub(crate) async fn hash(&self, password: &Password) -> Result<String> {
        let password = password.0.clone();
        self.run(move || hash(&password)).await?
    }

    /// Checks a password against the hash of an account. Without an account the answer is
    /// [`Verdict::Wrong`] and takes as long.
    pub(crate) async fn verify(&self, password: &str, stored: Option<String>) -> Result<Verdict> {
        let password = normal(password);
        self.run(move || verify(&password, stored.as_deref()))
            .await?
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn hash(password: &str) -> Result<String> {
    let hashed = argon2().hash_password(password.as_bytes());
    Ok(hashed
        .map_err(|e| Error::Unavailable(format!("a password was not hashed: {e}").into()))?
        .to_string())
}

/// The hash that a password is checked against where there is no account. It takes as much work as
/// any, and is that of no known password.
const DUMMY_HASH: &str = concat!(
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
);

fn verify(password: &str, stored: Option<&str>) -> Result<Verdict> {
    judge(password, stored, |hash| {
        argon2().verify_password(password.as_bytes(), hash).is_ok()
    })
}

/// Checks one hash with `is_right`, with or without an account.
fn judge(
    password: &str,
    stored: Option<&str>,
    is_right: impl FnOnce(&PasswordHash) -> bool,
) -> Result<Verdict> {
    let checked = PasswordHash::new(stored.unwrap_or(DUMMY_HASH))
        .map_err(|e| Error::Corrupt(format!("the hash of a password: {e}")))?;
    if !is_right(&checked) || stored.is_none() {
        return Ok(Verdict::Wrong);
    }

    if is_current(&checked) {
        Ok(Verdict::Right)
    } else {
        hash(password).map(Verdict::RightUpgraded)
    }
}

/// Returns true if a hash was made with the parameters that [`hash`] uses.
fn is_current(stored: &PasswordHash) -> bool {
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());

    stored.algorithm == Algorithm::Argon2id.ident()
        && stored.version == Some(Version::V0x13.into())
        && Params::try_from(stored).is_ok_and(|params| costs(&params) == costs(&Params::DEFAULT))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A hash as an older version would have made it.
    pub(crate) fn weak_hash(password: &str) -> String {
        let params = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        weak.hash_password(password.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn a_password_has_8_to_256_characters_and_is_not_shown() {
        for text in [
            "12345678",
            &"é".repeat(256),
            "with space",
            "e\u{301}2345678",
        ] {
            assert_eq!(
                text.parse::<Password>().map(|p| format!("{p:?}")),
                Ok("Password(…)".into())
            );
        }

        let reason = |text: &str| text.parse::<Password>().expect_err(text).to_string();
        assert_eq!(
            reason("1234567"),
            "password must have at least 8 characters"
        );

        // Eight characters before normalisation, seven after.
        assert_eq!(
            reason("e\u{301}234567"),
            "password must have at least 8 characters"
        );
        assert_eq!(
            reason(&"x".repeat(257)),
            "password must be at most 256 characters"
        );
    }

    #[test]
    fn names_that_differ_only_in_case_fold_to_the_same() {
        let same = |a: &str, b: &str| {
            let (a, b): (Username, Username) = (a.parse().expect(a), b.parse().expect(b));
            a.is_same_but_for_case(&b)
        };
        for (a, b) in [
            ("ann", "ANN"),
            ("Ünal", "üNAL"),
            ("straße", "STRASSE"),
            ("ΣΑΣ", "σας"),
            ("K\u{212a}", "kk"),
            ("e\u{301}a", "ÉA"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }

        for (a, b) in [
            ("ann", "anna"),
            ("ann", "ann\u{e9}"),
            ("e", "é"),
            ("i", "ı"),
            ("o", "0"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn a_hash_carries_its_parameters_and_is_upgraded_when_they_are_old() {
        let current = hash("correct horse").unwrap();
        assert!(
            current.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{current}"
        );
        assert!(matches!(
            verify("correct horse", Some(&current)),
            Ok(Verdict::Right)
        ));
        assert!(matches!(
            verify("wrong horse", Some(&current)),
            Ok(Verdict::Wrong)
        ));

        let weak = weak_hash("correct horse");
        assert!(matches!(
            verify("wrong horse", Some(&weak)),
            Ok(Verdict::Wrong)
        ));

        let Ok(Verdict::RightUpgraded(better)) = verify("correct horse", Some(&weak)) else {
            panic!("not upgraded");
        };
        assert!(matches!(
            verify("correct horse", Some(&better)),
            Ok(Verdict::Right)
        ));
        assert!(matches!(
            verify("correct horse", Some("$argon2id$rubbish")),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn an_unknown_name_costs_the_work_of_a_wrong_password() {
        let todays = hash("correct horse").unwrap();
        for answer in [false, true] {
            let mut checked = Vec::new();
            for stored in [None, Some(todays.as_str())] {
                let verdict = judge("wrong horse", stored, |hash| {
                    let size = (
                        hash.salt.as_ref().map(|s| s.len()),
                        hash.hash.as_ref().map(|h| h.len()),
                    );
                    checked.push((is_current(hash), size));
                    answer
                });
                assert_eq!(
                    matches!(verdict, Ok(Verdict::Right)),
                    answer && stored.is_some()
                );
            }
            assert_eq!(checked.len(), 2, "one check each");
            assert!(checked[0].0, "with today's parameters");
            assert_eq!(checked[0], checked[1]);
        }

        // All the work is done before it is refused.
        let nobodys =
            argon2().verify_password(b"wrong horse", &PasswordHash::new(DUMMY_HASH).unwrap());
        assert_eq!(nobodys, Err(argon2::password_hash::Error::PasswordInvalid));
        assert!(matches!(verify("wrong horse", None), Ok(Verdict::Wrong)));
    }

    #[tokio::test]
    async fn more_hashes_than_may_wait_are_refused() {
        let hasher = Arc::new(Hasher::default());
        let all = hasher.running.available_permits();
        let turns = hasher
            .running
            .clone()
            .acquire_many_owned(u32::try_from(all).unwrap())
            .await
            .unwrap();

        let password: Password = "correct horse".parse().unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..all + MAX_WAITING {
            let (hasher, password) = (hasher.clone(), password.clone());
            waiting.spawn(async move { hasher.hash(&password).await });
        }

        while hasher.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(hasher.hash(&password).await, Err(Error::Busy)));

        // A caller who stops waiting makes room.
        waiting.abort_all();
        while waiting.join_next().await.is_some() {}
        drop(turns);
        assert!(hasher.hash(&password).await.is_ok());
    }
}
