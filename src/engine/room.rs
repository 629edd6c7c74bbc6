//! The room on the state's disk. When it runs short, sweeps stop first: they write most, and lose nothing by waiting.
//! What is due is still sent, and its outcomes are kept in what is left.

use super::context::Context;
use super::event::Event;
use super::port::Room;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Without a disk to look at there is always room.
#[derive(Default)]
pub(super) struct RoomGuard {
    room: OnceLock<Arc<dyn Room>>,
    short: AtomicBool,
}

impl RoomGuard {
    pub fn set(&self, room: Arc<dyn Room>) {
        // Set once, by who builds the engine.
        let _ = self.room.set(room);
    }

    /// Looks, and tells when it has changed. Once short, it takes a tenth more than the least to be enough again.
    pub fn is_short(&self, context: &Context) -> bool {
        let Some(room) = self.room.get() else { return false };
        let Some(free) = room.free() else { return false };
        let was = self.short.load(Ordering::Relaxed);
        let least = if was { room.least() + room.least() / 10 } else { room.least() };
        let short = free < least;
        // Kept as told only if somebody was there to hear it.
        if short != was && context.events.receiver_count() > 0 {
            self.short.store(short, Ordering::Relaxed);
            context.announce(|| if short { Event::RoomShort { free } } else { Event::RoomBack { free } });
        }
        short
    }
}
