//! Refusal of those who may not post, or change messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::pending::Pending;
use super::{Admitted, MAX_MEMBERS, Worker, fail_room, out_of_time};
use crate::account::{NameKey, open_to_guests};
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::feed::{AccessRequest, Permission};
use crate::types::{RoomName, Username};

/// Rooms whose senders are looked up side by side.
pub(super) const LOOKUPS: usize = 16;

impl Worker {
    /// Fails and removes the requests in restricted rooms of those who may not take part there.
    pub(super) async fn reject_unauthorized(
        &mut self,
        pending: &mut Vec<Pending>,
        deadline: Instant,
    ) -> Result<()> {
        // What is left of a post that a guest sent too is another question.
        while self.reject_unauthorized_unknown(pending, deadline).await? {}
        Ok(())
    }

    /// The same for those of whom it is not known; says whether there were any.
    async fn reject_unauthorized_unknown(
        &mut self,
        pending: &mut Vec<Pending>,
        deadline: Instant,
    ) -> Result<bool> {
        let mut unknown: BTreeMap<RoomName, BTreeSet<(Username, bool)>> = BTreeMap::new();
        for request in &*pending {
            let Some((actor, verified)) = request.actor() else {
                continue;
            };
            let room = request.room();
            let known = self.rooms.get(room).filter(|known| known.head.restricted);
            if known.is_some_and(|known| !known.admitted[usize::from(verified)].contains(actor)) {
                unknown
                    .entry(room.clone())
                    .or_default()
                    .insert((actor.clone(), verified));
            }
        }
        if unknown.is_empty() {
            return Ok(false);
        }
        let this = &*self;
        let look_up = |(room, senders): (RoomName, BTreeSet<(Username, bool)>)| async move {
            let names: Vec<_> = senders.iter().map(|(name, _)| name.clone()).collect();
            let found = this
                .persist(deadline, || {
                    this.backend.newest_access(room.clone(), names.clone())
                })
                .await;
            (room, senders, found)
        };
        let found: Vec<_> = stream::iter(unknown)
            .map(look_up)
            .buffer_unordered(LOOKUPS)
            .collect()
            .await;
        let mut refused: HashMap<(RoomName, Username, bool), Error> = HashMap::new();
        for (room, senders, found) in found {
            let found = match found {
                // The room alone cannot be read.
                Err(error @ Error::Corrupt(_)) => {
                    fail_room(pending, &room, &error);
                    continue;
                }
                found => found?,
            };
            let Some(known) = self.rooms.get_mut(&room) else {
                continue;
            };
            // The last ban was lifted. A later one moves the closings, which refuses the batch.
            known.head.restricted &= found.iter().flatten().all(|access| access.restricted);
            if known
                .admitted
                .iter()
                .any(|admitted| admitted.len() > MAX_MEMBERS)
            {
                known.admitted = Admitted::default();
            }
            for ((sender, verified), access) in senders.into_iter().zip(found) {
                let writer = AccessRequest {
                    actor: Actor::named(sender.clone(), verified),
                    permission: Permission::Participate,
                };
                match writer.check(access.as_ref()) {
                    Ok(()) => drop(known.admitted[usize::from(verified)].insert(sender)),
                    Err(error) => drop(refused.insert((room.clone(), sender, verified), error)),
                }
            }
        }
        self.refuse_names_first(&mut refused, deadline).await?;

        for request in std::mem::take(pending) {
            let actor = request
                .actor()
                .map(|(actor, verified)| (actor.clone(), verified));
            let refused = actor.and_then(|(actor, verified)| {
                let error = refused.get(&(request.room().clone(), actor, verified))?;
                Some((error, verified))
            });
            match refused {
                Some((error, true)) => request.fail(error),
                // Who is verified and sent the same is not refused with them.
                Some((error, false)) => pending.extend(request.refuse_guests(error)),
                None => pending.push(request),
            }
        }
        Ok(true)
    }

    /// Has guests whose name has an account refused for that, as they would be in a room that does
    /// not exist. Else the answer would tell a private room from none.
    async fn refuse_names_first(
        &self,
        refused: &mut HashMap<(RoomName, Username, bool), Error>,
        deadline: Instant,
    ) -> Result<()> {
        let mut guests: Vec<_> = refused
            .iter_mut()
            .filter(|((_, _, verified), _)| !verified)
            .collect();
        if guests.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = guests
            .iter()
            .map(|((_, name, _), _)| NameKey::from(name))
            .collect();
        let owners = self
            .persist(deadline, || self.backend.account_names(names.clone()))
            .await?;
        for (((_, name, _), error), owner) in guests.iter_mut().zip(owners) {
            if let Err(claimed) = open_to_guests(name, owner.as_ref()) {
                **error = claimed;
            }
        }
        Ok(())
    }

    /// Fails and removes the requests of guests whose name, in any case, has an account by now.
    pub(super) async fn refuse_guests(
        &self,
        pending: &mut Vec<Pending>,
        deadline: Instant,
    ) -> Result<()> {
        if Instant::now() >= deadline {
            return Err(out_of_time());
        }
        let is_guest = |request: &Pending| request.actor().is_some_and(|(_, verified)| !verified);
        let guests = pending
            .iter()
            .filter(|request| is_guest(request))
            .filter_map(Pending::actor);
        let names: Vec<_> = guests.map(|(name, _)| NameKey::from(name)).collect();
        let mut owners = self
            .persist(deadline, || self.backend.account_names(names.clone()))
            .await?
            .into_iter();
        for request in std::mem::take(pending) {
            let guest = request
                .actor()
                .filter(|(_, verified)| !verified)
                .map(|(name, _)| name);
            let refused = guest.and_then(|name| {
                let owner = owners.next().flatten();
                open_to_guests(name, owner.as_ref()).err()
            });
            match refused {
                Some(refused) => pending.extend(request.refuse_guests(&refused)),
                None => pending.push(request),
            }
        }
        Ok(())
    }
}
