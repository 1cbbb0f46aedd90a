//! Look-ups of users' access to a room.

use std::collections::HashSet;

use super::connection::Connection;
use super::find::Query;
use super::{documents, find};
use crate::account::NameKey;
use crate::error::Result;
use crate::model::Access;
use crate::types::{Privacy, RoomName, Username};

/// Has a query read the newest state, which a guard checks, or what a majority has.
pub(super) type State = fn(Query) -> Query;
pub(super) const NEWEST: State = Query::newest;
pub(super) const MAJORITY: State = |query| query;

/// Returns the access of everyone to a room, and that of each of these users.
pub(super) async fn access_of(
    connection: &Connection,
    room: &RoomName,
    users: &[Username],
    state: State,
) -> Result<Option<(Access, Vec<Access>)>> {
    let found = connection
        .find(state(find::room(room)), documents::access)
        .await?
        .pop();
    let Some(everyone) = found else {
        return Ok(None);
    };
    let (mut members, mut banned) = (HashSet::new(), HashSet::new());
    if everyone.restricted && !users.is_empty() {
        let names: Vec<_> = users.iter().map(NameKey::from).collect();
        let bans = connection.find(state(find::bans_of(room, &names)), documents::banned);
        let among = async {
            match everyone.privacy {
                Privacy::Private => {
                    connection
                        .find(state(find::members_among(room, users)), documents::member)
                        .await
                }
                Privacy::Public => Ok(Vec::new()),
            }
        };
        let (found, among) = futures_util::future::try_join(bans, among).await?;
        banned.extend(found.iter().map(NameKey::from));
        members.extend(among);
    }
    let of = |user: &Username| Access {
        member: members.contains(user),
        banned: banned.contains(&NameKey::from(user)),
        ..everyone.clone()
    };
    let all = users.iter().map(of).collect();
    Ok(Some((everyone, all)))
}

/// Returns the closings of a room, and the access of one user since.
pub(super) async fn access_of_one(
    connection: &Connection,
    room: &RoomName,
    user: &Username,
) -> Result<Option<(i64, Access)>> {
    let heads = find::heads(std::slice::from_ref(room));
    let Some((_, head)) = connection.find(heads, documents::head).await?.pop() else {
        return Ok(None);
    };
    let access = access_of(connection, room, std::slice::from_ref(user), NEWEST).await?;
    Ok(access.and_then(|(_, mut each)| Some((head.closings, each.pop()?))))
}
