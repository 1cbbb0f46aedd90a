//! One store: the connection to its database, and the kind of deployment it is on.

use super::connection::Connection;
use super::deployment::Deployment;

pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) deployment: Box<dyn Deployment>,
}
