//! A session that is about to start.

use crate::session::{Session, TokenHash};

/// A session that is about to start, with the hash under which its token is stored.
#[derive(Debug, Clone)]
pub(crate) struct NewSession {
    pub(crate) token: TokenHash,
    pub(crate) session: Session,
}
