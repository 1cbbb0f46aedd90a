//! Decides who may post in a room, and change messages in it.
//!
//! Everyone may, in a public room without bans. In a restricted room the store is asked for the
//! access of each actor who is not known to have it. The answer stays right until the commit: a
//! batch is refused if the `closings` in the room's [`Head`](crate::model::Head) have moved, and
//! nobody loses the right to post without moving them.
//!
//! A guest, who uses a name without proof, may post as long as nobody has an account of that name,
//! in any case. Only the commit itself can tell: it is refused with
//! [`NameClaimed`](crate::model::Append::NameClaimed), and [`reject_guests`] finds out whose.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt as _, stream};

use super::calls::Calls;
use super::pending::{Pending, fail_room};
use super::rooms::RoomCache;
use crate::access::{AccessRequest, Permission};
use crate::account::{NameKey, open_to_guests};
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::model::Access;
use crate::types::{RoomName, Username};

/// Rooms whose access is read side by side.
const CONCURRENT_READS: usize = 16;

/// Actors to look up, by room. All of them have a name.
#[derive(Default)]
pub(super) struct ActorsByRoom(BTreeMap<RoomName, BTreeSet<Actor>>);

impl ActorsByRoom {
    pub(super) fn insert(&mut self, room: &RoomName, actor: Actor) {
        if actor != Actor::Anonymous {
            self.0.entry(room.clone()).or_default().insert(actor);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Actors who may not take part in a room, each with the error that says why.
#[derive(Default)]
pub(super) struct Denials(HashMap<(RoomName, Actor), Error>);

impl Denials {
    pub(super) fn get(&self, room: &RoomName, actor: Option<&Actor>) -> Option<&Error> {
        self.0.get(&(room.clone(), actor?.clone()))
    }
}

/// Fails and removes the requests in restricted rooms of actors who may not take part there.
pub(super) async fn reject_unauthorized(
    pending: &mut Vec<Pending>,
    rooms: &mut RoomCache,
    calls: &Calls,
) -> Result<()> {
    loop {
        let unknown = unknown_actors(pending, rooms);
        if unknown.is_empty() {
            return Ok(());
        }

        let mut denials = Denials::default();
        for answer in read_access(calls, unknown).await {
            decide(answer, pending, rooms, &mut denials)?;
        }
        prefer_name_errors(&mut denials, calls).await?;

        // A post that a guest and an account sent with the same nonce is the account's from now
        // on, which is another actor to look up.
        remove_denied(pending, &denials);
    }
}

/// Asks the store which of these actors may not take part, whatever is remembered.
pub(super) async fn find_denials(calls: &Calls, actors: ActorsByRoom) -> Result<Denials> {
    let mut denials = Denials::default();
    for answer in read_access(calls, actors).await {
        for (actor, access) in answer.actors.into_iter().zip(answer.access?) {
            if let Err(error) = check(&actor, access.as_ref()) {
                denials.0.insert((answer.room.clone(), actor), error);
            }
        }
    }
    Ok(denials)
}

/// Fails and removes the requests of guests whose name, in any case, has an account by now.
pub(super) async fn reject_guests(pending: &mut Vec<Pending>, calls: &Calls) -> Result<()> {
    calls.check_deadline()?;

    let guests = pending.iter().filter_map(Pending::guest);
    let mut account_names = account_names(guests, calls).await?.into_iter();

    for request in std::mem::take(pending) {
        let refused = request.guest().and_then(|name| {
            let account_name = account_names.next().flatten();
            open_to_guests(name, account_name.as_ref()).err()
        });
        match refused {
            Some(refused) => pending.extend(request.fail_guests(&refused)),
            None => pending.push(request),
        }
    }
    Ok(())
}

/// Returns the actors of whom it is not known that they may take part in their room.
fn unknown_actors(pending: &[Pending], rooms: &RoomCache) -> ActorsByRoom {
    let mut unknown = ActorsByRoom::default();
    for request in pending {
        let room = request.room();
        if let Some(known) = rooms.get(room).filter(|known| known.is_restricted())
            && let Some(actor) = request.actor()
            && !known.is_authorized(&actor)
        {
            unknown.insert(room, actor);
        }
    }
    unknown
}

/// The store's answer about the actors in one room.
pub(super) struct AccessAnswer {
    pub(super) room: RoomName,
    actors: BTreeSet<Actor>,
    /// Access of each actor, in order.
    pub(super) access: Result<Vec<Option<Access>>>,
}

/// Reads the access of actors from the store.
pub(super) async fn read_access(calls: &Calls, actors: ActorsByRoom) -> Vec<AccessAnswer> {
    let read = |(room, actors): (RoomName, BTreeSet<Actor>)| async move {
        let names: Vec<_> = actors.iter().filter_map(Actor::username).cloned().collect();
        let access = calls
            .retry(|| calls.backend.newest_access(room.clone(), names.clone()))
            .await;
        AccessAnswer {
            room,
            actors,
            access,
        }
    };

    stream::iter(actors.0)
        .map(read)
        .buffer_unordered(CONCURRENT_READS)
        .collect()
        .await
}

/// Remembers the actors who may take part, and adds the others to `denials`.
fn decide(
    answer: AccessAnswer,
    pending: &mut Vec<Pending>,
    rooms: &mut RoomCache,
    denials: &mut Denials,
) -> Result<()> {
    let AccessAnswer {
        room,
        actors,
        access,
    } = answer;
    let access = match access {
        // This room alone cannot be read.
        Err(error @ Error::Corrupt(_)) => {
            fail_room(pending, &room, &error);
            return Ok(());
        }
        access => access?,
    };
    let Some(known) = rooms.get_mut(&room) else {
        return Ok(());
    };

    known.open_without_bans(access.iter().flatten());

    let mut authorized = Vec::with_capacity(actors.len());
    for (actor, access) in actors.into_iter().zip(access) {
        match check(&actor, access.as_ref()) {
            Ok(()) => authorized.push(actor),
            Err(error) => drop(denials.0.insert((room.clone(), actor), error)),
        }
    }
    known.authorize(authorized);
    Ok(())
}

fn check(actor: &Actor, access: Option<&Access>) -> Result<()> {
    let request = AccessRequest {
        actor: actor.clone(),
        permission: Permission::Participate,
    };
    request.check(access)
}

/// Denies guests whose name has an account for that reason, as in a room that does not exist.
/// Otherwise the answer would tell a private room from none.
async fn prefer_name_errors(denials: &mut Denials, calls: &Calls) -> Result<()> {
    let mut guests: Vec<_> = denials
        .0
        .iter_mut()
        .filter_map(|((_, actor), error)| match actor {
            Actor::Guest(name) => Some((name, error)),
            Actor::Anonymous | Actor::Account(_) => None,
        })
        .collect();

    let names = guests.iter().map(|(name, _)| *name);
    let account_names = account_names(names, calls).await?;
    for ((name, error), account_name) in guests.iter_mut().zip(account_names) {
        if let Err(claimed) = open_to_guests(name, account_name.as_ref()) {
            **error = claimed;
        }
    }
    Ok(())
}

/// Returns the name of the account of each name, in any case.
async fn account_names<'a>(
    names: impl Iterator<Item = &'a Username>,
    calls: &Calls,
) -> Result<Vec<Option<Username>>> {
    let keys: Vec<_> = names.map(NameKey::from).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }

    calls
        .retry(|| calls.backend.account_names(keys.clone()))
        .await
}

/// Fails and removes the requests of denied actors.
fn remove_denied(pending: &mut Vec<Pending>, denials: &Denials) {
    for request in std::mem::take(pending) {
        let actor = request.actor();
        match (denials.get(request.room(), actor.as_ref()), &actor) {
            (None, _) => pending.push(request),
            // An account that sent the same post is not refused with the guest.
            (Some(error), Some(Actor::Guest(_))) => pending.extend(request.fail_guests(error)),
            (Some(error), _) => request.fail(error),
        }
    }
}
