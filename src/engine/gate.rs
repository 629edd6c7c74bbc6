//! Whether anything may be sent. A state that was restored from an older copy doesn't know what left since, and one that
//! was cloned is not the one that sends. Both are held until an operator confirms.
//!
//! Sends are numbered. A block of numbers is reserved in the state and committed, its end is written to the witness and
//! synced, and only then something is sent under it. So the state is never behind its witness, unless it is an older copy.
//! A block is as small as what is sent at the moment and good for a second: a copy that was made two seconds before the
//! last send is told apart.

use super::context::Context;
use super::event::Event;
use super::port::{BLOCK_LIFE, Bearing, Objection, StoreError, Testimony, Witness};
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Sends of one block at most: at full speed one sync of the witness for so many.
const LARGEST: u64 = 4_096;

/// How often it is said again, while nobody decides.
const REMIND: Duration = Duration::from_mins(10);

/// Closed until it was looked at. Without a witness it stands open.
#[derive(Default)]
pub(super) struct Gate {
    witness: OnceLock<Arc<dyn Witness>>,
    open: AtomicBool,
    look: Mutex<Look>,
    block: Mutex<Block>,
}

/// What was seen while it was closed.
#[derive(Default)]
struct Look {
    objection: Option<Objection>,
    /// When somebody last heard of it.
    told: Option<Instant>,
    /// When another node had been heard of at the first look.
    others_seen: Option<Timestamp>,
    /// It stood open before.
    opened: bool,
}

/// Sends that are reserved and not sent.
struct Block {
    left: u64,
    size: u64,
    until: Instant,
    /// The last send that was ever reserved here.
    end: u64,
}

impl Default for Block {
    fn default() -> Self {
        Self { left: 0, size: 1, until: Instant::now(), end: 0 }
    }
}

/// What speaks against sending, as the state and its witness stand.
fn judge(bearing: &Bearing, state: &str, testimony: Option<&Testimony>) -> Option<Objection> {
    // A confirmation says that this is the place. What was sent since it counts with what it confirmed, so a copy that was
    // made after it and before its use is older all the same.
    if let Some(said) = testimony.filter(|said| said.state == state && said.sequence > bearing.reserved) {
        let until = said.at.saturating_add(BLOCK_LIFE).unwrap_or(Timestamp::MAX);
        return Some(Objection::Restored { known: said.sequence, lost: said.sequence - bearing.reserved, until });
    }
    if bearing.confirmed {
        return None;
    }
    if testimony.is_some_and(|said| said.state != state) {
        return Some(Objection::Replaced);
    }
    let known_elsewhere = !bearing.admitted && bearing.elsewhere;
    let lost_its_witness = testimony.is_none() && bearing.reserved > 0;
    (known_elsewhere || lost_its_witness).then_some(Objection::Moved)
}

/// A node that never sent may join others that are at work on the same state at this moment: a clone has none.
fn joins(look: &mut Look, bearing: &Bearing, testimony: Option<&Testimony>) -> bool {
    let Some(seen) = bearing.others_seen.filter(|_| testimony.is_none()) else { return false };
    *look.others_seen.get_or_insert(seen) < seen
}

impl Gate {
    pub fn set_witness(&self, witness: Arc<dyn Witness>) {
        // Set once, by who builds the engine.
        let _ = self.witness.set(witness);
    }

    /// Looks, unless it is open already.
    pub async fn is_open(&self, context: &Context) -> Result<bool, StoreError> {
        let Some(witness) = self.witness.get() else { return Ok(true) };
        if self.open.load(Ordering::Acquire) {
            return Ok(true);
        }
        let mut look = self.look.lock().await;
        // Whoever looked before may have opened it, and what is sent since would look like a state that is behind.
        if self.open.load(Ordering::Acquire) {
            return Ok(true);
        }
        let (here, store) = (witness.here(), context.store.as_ref());
        let bearing = store.bearing(here).await?;
        let testimony = witness.testimony().await?;
        let state = store.secret().name();
        match judge(&bearing, &state, testimony.as_ref()) {
            Some(Objection::Moved) if joins(&mut look, &bearing, testimony.as_ref()) => {}
            Some(objection) => {
                self.hold(context, witness, &mut look, objection).await?;
                return Ok(false);
            }
            // Another node found it; that one tells why.
            None if bearing.halted => return Ok(false),
            None => {}
        }
        // The state went back while we were at work, so it may have forgotten who said no.
        let forgotten = if look.opened || look.objection.is_some() { store.recall().await? } else { 0 };
        if forgotten > 0 {
            context.announce(|| Event::Recalled { entries: forgotten });
        }
        let said = testimony.filter(|said| said.state == state).map_or(0, |said| said.sequence);
        let sequence = bearing.reserved.max(said);
        witness.testify(&Testimony { state, sequence, at: context.clock.now() }).await?;
        store.admit(here).await?;
        self.block.lock().await.end = sequence;
        self.open.store(true, Ordering::Release);
        look.opened = true;
        if look.objection.take().is_some() {
            context.announce(|| Event::SendingFreed);
        }
        context.due.notify_one();
        Ok(true)
    }

    async fn hold(
        &self,
        context: &Context,
        witness: &Arc<dyn Witness>,
        look: &mut Look,
        objection: Objection,
    ) -> Result<(), StoreError> {
        if look.objection.as_ref() != Some(&objection) {
            context.store.object(witness.here(), &objection, context.clock.now()).await?;
            look.told = None;
        }
        if look.told.is_none_or(|told| told.elapsed() >= REMIND) && context.events.receiver_count() > 0 {
            context.announce(|| Event::SendingHeld { reason: objection.explain() });
            look.told = Some(Instant::now());
        }
        look.objection = Some(objection);
        Ok(())
    }

    /// Reserves so many sends; false: the gate is closed, and nothing may leave.
    pub async fn draw(&self, context: &Context, count: usize) -> Result<bool, StoreError> {
        let Some(witness) = self.witness.get() else { return Ok(true) };
        if !self.open.load(Ordering::Acquire) {
            return Ok(false);
        }
        let count = count as u64;
        let mut block = self.block.lock().await;
        let now = Instant::now();
        if block.left < count || now >= block.until {
            // One that was used up before its time was too small.
            let size = if now < block.until { (block.size * 2).min(LARGEST) } else { 1 };
            let size = size.max(count);
            let Some(end) = context.store.reserve_sends(size).await? else {
                self.open.store(false, Ordering::Release);
                return Ok(false);
            };
            let at = context.clock.now();
            if end < block.end + size {
                // The state went back under our feet: a server fell over to a standby that was behind.
                let objection = Objection::Restored { known: block.end, lost: block.end + size - end, until: at };
                context.store.object(witness.here(), &objection, at).await?;
                self.open.store(false, Ordering::Release);
                context.announce(|| Event::SendingHeld { reason: objection.explain() });
                return Ok(false);
            }
            let state = context.store.secret().name();
            witness.testify(&Testimony { state, sequence: end, at }).await?;
            let life = Duration::try_from(BLOCK_LIFE).unwrap_or_default();
            *block = Block { left: size, size, until: now + life, end };
        }
        block.left -= count;
        Ok(true)
    }

    /// Lets other nodes know that this one is at work.
    pub async fn beat(&self, context: &Context) -> Result<u64, StoreError> {
        match self.witness.get() {
            Some(witness) if self.open.load(Ordering::Acquire) => context.store.beat(witness.here()).await,
            _ => Ok(1),
        }
    }
}

/// Looks while it is closed, until it is dropped: also when nothing is due that would have somebody ask.
pub(super) async fn watch(context: &Context) {
    loop {
        if let Err(error) = context.gate.is_open(context).await {
            context.announce(|| Event::StateFailed { reason: error.to_string() });
        }
        tokio::time::sleep(context.settings.poll).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn bearing(reserved: u64, admitted: bool) -> Bearing {
        Bearing { reserved, admitted, elsewhere: !admitted && reserved > 0, ..Bearing::default() }
    }

    fn said(state: &str, sequence: u64) -> Testimony {
        Testimony { state: state.to_owned(), sequence, at: Timestamp::UNIX_EPOCH }
    }

    #[rstest]
    #[case::fresh(bearing(0, false), None, None)]
    #[case::as_it_was(bearing(500, true), Some(said("ours", 500)), None)]
    #[case::a_crash_between_commit_and_witness(bearing(700, true), Some(said("ours", 500)), None)]
    #[case::restored(bearing(400, true), Some(said("ours", 500)), Some("restored"))]
    #[case::restored_elsewhere(bearing(400, false), Some(said("ours", 500)), Some("restored"))]
    #[case::cloned(bearing(500, false), Some(said("ours", 500)), Some("moved"))]
    #[case::copied_without_its_witness(bearing(500, false), None, Some("moved"))]
    #[case::its_witness_was_lost(bearing(500, true), None, Some("moved"))]
    #[case::another_state(bearing(0, false), Some(said("other", 500)), Some("replaced"))]
    #[case::confirmed(Bearing { confirmed: true, ..bearing(400, true) }, Some(said("other", 500)), None)]
    fn what_speaks_against_sending(
        #[case] bearing: Bearing,
        #[case] testimony: Option<Testimony>,
        #[case] expected: Option<&str>,
    ) {
        let found = judge(&bearing, "ours", testimony.as_ref());
        assert_eq!(found.as_ref().map(Objection::as_str), expected);
        if let Some(Objection::Restored { known, lost, until }) = found {
            assert_eq!((known, lost, until), (500, 100, Timestamp::UNIX_EPOCH + BLOCK_LIFE));
        }
    }
}
