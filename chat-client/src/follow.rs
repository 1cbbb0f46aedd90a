//! Rooms that are followed, as one stream of events that goes on after every interruption.

mod engine;
mod event;
mod follower;
mod polling;
mod progress;
mod socket;
mod subscription;
mod task;

pub use self::event::{Event, Way};
pub use self::follower::Follower;
pub use self::subscription::{Position, Subscription};
