//! One store: the connection to its database, and this process's place there.

use super::connection::Connection;
use super::deployment::Deployment;

pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) deployment: Box<dyn Deployment>,
}
