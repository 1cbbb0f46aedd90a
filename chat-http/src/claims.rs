//! Names of the program's users that are known to be claimed in the store.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use chatcore::{ChatStore, Error, Username};

/// Names remembered: this many, and as many of before.
const MAX_CLAIMS: usize = 25_000;

/// Names that need not be claimed again, in bounded memory. A claim is never taken back.
#[derive(Default)]
pub(crate) struct Claims(Mutex<[HashSet<Username>; 2]>);

impl Claims {
    /// Makes sure that the name has an account, which nobody can log in to.
    ///
    /// # Errors
    ///
    /// [`Error::NameReserved`] if the name differs only in case from another's.
    pub(crate) async fn ensure(&self, store: &ChatStore, username: &Username) -> Result<(), Error> {
        if self.contains(username) {
            return Ok(());
        }

        store.claim_name(username).await?;
        self.insert(username);
        Ok(())
    }

    fn contains(&self, username: &Username) -> bool {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().any(|set| set.contains(username))
    }

    fn insert(&self, username: &Username) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claims[0].len() >= MAX_CLAIMS {
            claims.swap(0, 1);
            claims[0].clear();
        }
        claims[0].insert(username.clone());
    }
}
