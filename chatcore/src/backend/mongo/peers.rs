//! The processes that work on one replica set, and the end of those that died.
//!
//! A process that dies in the middle of a transaction leaves it open on the server, which holds the
//! heads of its rooms until a time limit that is a minute by default. So every process writes down
//! the session that its transactions run in, and counts a number up. Whoever sees such a number
//! stand still ends that session, which aborts the transaction. If the process was alive after all,
//! that costs it a retry.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Collection, Database};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::documents::SLOTS;
use super::echo::Echo;
use super::error::{error, is_duplicate};
use super::find;
use crate::error::Result;
use crate::model::ProcessId;

/// Interval at which a process counts, and checks the others.
const BEAT: Duration = Duration::from_millis(500);
/// Longest time that both may take. A command on a connection that died without a word has no end.
const MAX_TURN: Duration = Duration::from_secs(1);
/// Checks in a row that may find a process where it was. Checks are counted and not time, because
/// after a stall of the database all processes have stood still.
const STILL: u32 = 4;

/// This process among the others. It signs off when this is dropped or closed.
pub(super) struct Peers {
    pub(super) id: ObjectId,
    /// Session of this process's batches.
    pub(super) commits: Document,
    /// Set while this process may publish its presence. Locked while it does, so that nothing is
    /// published after it signed off, and nothing older after newer.
    pub(super) is_signed_on: Mutex<bool>,
    /// Beats of this process that were written and came back by the change stream: how far it is
    /// behind.
    pub(super) echo: Arc<Echo>,
    closing: watch::Sender<()>,
}

struct Heartbeat {
    processes: Collection<Document>,
    presence: Collection<Document>,
    id: ObjectId,
    /// Document of this process: the sessions, the slot, and where the process runs.
    registration: Document,
    /// Last beats of the other processes, and the number of checks that found each unchanged.
    seen: HashMap<ObjectId, (i64, u32)>,
    /// The number of the last beat, as this process counts.
    turn: i64,
    echo: Arc<Echo>,
}

impl Peers {
    /// Signs on with the sessions of this process, and ends those of processes that are known to be
    /// dead. Returns the number of a slot too, which no other process has unless there are many.
    pub(super) async fn join<'a>(
        database: &Database,
        commits: &'a Document,
        others: impl Iterator<Item = &'a Document>,
    ) -> Result<(Self, i32)> {
        let sessions: Vec<_> = std::iter::once(commits).chain(others).collect();
        let registration =
            doc! { "sessions": sessions, "host": host(), "pid": i64::from(std::process::id()) };
        let (id, echo) = (ObjectId::new(), Arc::new(Echo::default()));
        let mut me = Heartbeat {
            processes: database.collection("processes"),
            presence: database.collection("presence"),
            id,
            registration,
            seen: HashMap::new(),
            turn: 0,
            echo: echo.clone(),
        };
        me.check_others().await.map_err(error)?;
        let slot = me.take_slot().await?;
        me.beat().await.map_err(error)?;
        let (closing, mut closed) = watch::channel(());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sleep(BEAT) => {}
                    _ = closed.changed() => break,
                }
                match timeout(MAX_TURN, me.turn()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => {
                        tracing::debug!(error = %e.kind, "the other processes could not be checked");
                    }
                    Err(_) => tracing::debug!("the other processes could not be checked in time"),
                }
            }
            let _ = timeout(MAX_TURN, me.remove(me.id)).await;
        });
        Ok((
            Self {
                id,
                commits: commits.clone(),
                is_signed_on: Mutex::new(true),
                echo,
                closing,
            },
            slot,
        ))
    }

    /// Returns true if that is this process.
    pub(super) fn is_me(&self, process: ProcessId) -> bool {
        self.id.bytes() == process.0
    }

    /// Signs off, once no transaction is open any more.
    pub(super) async fn leave(&self) {
        *self.is_signed_on.lock().await = false;
        self.closing.send_replace(());
    }
}

impl Heartbeat {
    /// Signs on with the first slot that is free, if there is one.
    async fn take_slot(&mut self) -> Result<i32> {
        for slot in 0..SLOTS {
            let mut registration = self.registration.clone();
            registration.insert("tally", slot);
            let mut process = doc! { "_id": self.id, "beats": 0_i64 };
            process.extend(registration.clone());
            match self.processes.insert_one(process).await {
                Err(e) if is_duplicate(&e) => {}
                taken => {
                    taken.map_err(error)?;
                    self.registration = registration;
                    return Ok(slot);
                }
            }
        }
        let [random] = crate::session::random()?;
        Ok(i32::from(random) % SLOTS)
    }

    async fn turn(&mut self) -> mongodb::error::Result<()> {
        match self.beat().await {
            // Taken for dead for a while; another process has the slot now. They share it.
            Err(e) if is_duplicate(&e) => drop(self.registration.remove("tally")),
            done => done?,
        }
        self.check_others().await
    }

    async fn beat(&mut self) -> mongodb::error::Result<()> {
        // Not worth a wait for the journal: the next one is half a second away.
        let light = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
        self.turn += 1;
        let beat = doc! {
            "$inc": { "beats": 1_i64 },
            "$set": { "turn": self.turn },
            "$setOnInsert": self.registration.clone(),
        };
        self.processes
            .update_one(doc! { "_id": self.id }, beat)
            .upsert(true)
            .write_concern(light)
            .await?;
        self.echo.written(self.turn, Instant::now());
        Ok(())
    }

    async fn check_others(&mut self) -> mongodb::error::Result<()> {
        let others = doc! { "_id": { "$gt": Bson::MinKey, "$ne": self.id } };
        let others: Vec<Document> = self.processes.find(others).await?.try_collect().await?;
        let present: HashSet<_> = others
            .iter()
            .filter_map(|other| other.get_object_id("_id").ok())
            .collect();
        self.seen.retain(|id, _| present.contains(id));
        for other in others {
            let Ok(id) = other.get_object_id("_id") else {
                continue;
            };
            if self.is_dead(id, &other) {
                self.remove_dead(id, &other).await?;
            }
        }
        Ok(())
    }

    fn is_dead(&mut self, id: ObjectId, other: &Document) -> bool {
        let beats = other.get_i64("beats").unwrap_or(0);
        let (last, checks) = self.seen.entry(id).or_insert((beats, 0));
        *checks = if *last == beats { *checks + 1 } else { 0 };
        *last = beats;
        *checks > STILL || self.is_gone_from_here(other)
    }

    /// Returns true if the other ran where this process runs, and does not any more.
    fn is_gone_from_here(&self, other: &Document) -> bool {
        let here = self.registration.get_str("host").is_ok_and(|host| {
            !host.is_empty() && other.get_str("host").is_ok_and(|there| there == host)
        });
        let pid = other.get_i64("pid").unwrap_or(0);
        here && pid > 0 && !Path::new(&format!("/proc/{pid}")).exists()
    }

    async fn remove_dead(&mut self, id: ObjectId, other: &Document) -> mongodb::error::Result<()> {
        if let Ok(sessions) = other.get_array("sessions") {
            tracing::info!(
                pid = other.get_i64("pid").unwrap_or(0),
                "ending the sessions of a process that stands still"
            );
            let kill = doc! { "killSessions": sessions.clone() };
            self.processes
                .client()
                .database("admin")
                .run_command(kill)
                .await?;
        }
        self.remove(id).await?;
        self.seen.remove(&id);
        Ok(())
    }

    /// Removes what a process has written down.
    async fn remove(&self, id: ObjectId) -> mongodb::error::Result<()> {
        self.presence.delete_many(find::presence_of(id)).await?;
        self.processes.delete_one(doc! { "_id": id }).await?;
        Ok(())
    }
}

/// Names the running system and the space of process numbers in it; empty where that is unknown.
fn host() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if boot.is_empty() || space.as_os_str().is_empty() {
        return String::new();
    }
    format!("{} {}", boot.trim(), space.display())
}
