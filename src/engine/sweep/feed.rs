//! Streams what a rule's source and the state have to say, in batches. Nothing is collected beyond one batch.

use super::window::Reading;
use crate::engine::context::Context;
use crate::engine::episode::NEVER;
use crate::engine::error::EngineError;
use crate::engine::inbound;
use crate::engine::port::{EpisodePage, Lease, OpenEpisode, SourceError};
use crate::engine::time_order::TimeOrder;
use crate::model::{Key, Tenant, Value};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Crossing, Reach, Window};
use crate::rule::inbound::Unread;
use crate::rule::statement::Statement;
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use tokio::sync::mpsc;

/// Where crossings come from.
#[derive(Debug, Clone, Copy)]
pub enum Feed {
    Sweep(Reading),
    Reconcile(Window),
}

/// What is handed over at a time.
#[derive(Debug)]
pub enum Batch {
    Crossings(Vec<Crossing>),
    /// Events that name nobody.
    Unread(Vec<Unread>),
    /// Records that may have come inside.
    Candidates(Vec<Key>),
    /// Records and what is watched of each.
    Values(Vec<(Key, Value)>),
    /// Episodes that may have ended.
    Open(Vec<OpenEpisode>),
}

pub struct Feeder<'a> {
    pub context: &'a Context,
    pub rule: &'a CompiledRule,
    pub tenant: &'a Tenant,
    /// Of the whole catalog.
    pub tenants: &'a [Tenant],
    pub lease: &'a Lease,
    pub batches: mpsc::Sender<Batch>,
    /// Rows that are not what the catalog says.
    pub unreadable: u64,
}

impl Feeder<'_> {
    /// Reads everything, then closes the channel by being dropped. Returns how many rows were unreadable.
    pub async fn run(mut self, feed: Feed) -> Result<u64, EngineError> {
        if self.rule.rule.trigger.keeps_episodes() {
            self.seed().await?;
        }
        match feed {
            Feed::Sweep(reading) if matches!(self.rule.rule.trigger, Trigger::Changed(_)) => {
                self.values(self.rule.crossings(self.watched(reading))).await?;
            }
            Feed::Sweep(reading) if matches!(self.rule.rule.trigger, Trigger::Event(_)) => {
                self.events(reading.crossed).await?;
            }
            Feed::Sweep(reading) => {
                // What crossed first goes first.
                if let Some((window, since)) = reading.changed {
                    self.read(Reach::Changed(window, since), window).await?;
                }
                self.read(Reach::Crossed(reading.crossed), reading.crossed).await?;
            }
            // A rule's own SQL would run in full for every chunk.
            Feed::Reconcile(window) if matches!(self.rule.rule.trigger, Trigger::Query(_)) => {
                self.read(Reach::Crossed(window), window).await?;
            }
            Feed::Reconcile(window) => self.chunks(window).await?,
        }
        if self.rule.rule.trigger.keeps_episodes() {
            self.open(feed).await?;
        }
        Ok(self.unreadable)
    }

    async fn chunks(&mut self, window: Window) -> Result<(), SourceError> {
        let mut after: Option<Key> = None;
        loop {
            let upto = self.chunk_end(after.as_ref()).await?;
            let reach = Reach::Chunk { window, after: after.as_ref(), upto: upto.as_ref() };
            self.read(reach, window).await?;
            if upto.is_none() {
                return Ok(());
            }
            after = upto;
        }
    }

    async fn chunk_end(&mut self, after: Option<&Key>) -> Result<Option<Key>, SourceError> {
        let statement = self.rule.chunk_end(after, self.context.settings.batch);
        let row = self.context.source.rows(self.tenant, statement).try_next().await?;
        row.map(|row| self.rule.read_key(&row)).transpose().map_err(|error| SourceError::Refused(error.to_string()))
    }

    async fn read(&mut self, reach: Reach<'_>, window: Window) -> Result<(), SourceError> {
        // What is inside a segment is read whole, whatever the window.
        if window.after >= window.until && !matches!(self.rule.rule.trigger, Trigger::Segment(_)) {
            return Ok(());
        }
        if let Trigger::Changed(_) = self.rule.rule.trigger {
            return self.values(self.rule.crossings(reach)).await;
        }
        if self.rule.rule.trigger.keeps_episodes() {
            return self.keys(self.rule.crossings(reach)).await;
        }
        let limit = self.context.settings.batch;
        let (mut order, mut batch) = (TimeOrder::of(&self.rule.rule), Vec::new());
        for (index, statement) in self.rule.crossings(reach).into_iter().enumerate() {
            let mut rows = self.context.source.rows(self.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match self.rule.read_crossing(index, &row, window) {
                    Ok(Some(crossing)) if inside(window, crossing.crossed_at) => order.pass(crossing, &mut batch),
                    Ok(_) => {}
                    Err(_) => self.unreadable += 1,
                }
                if batch.len() >= limit && !self.send(Batch::Crossings(std::mem::take(&mut batch))).await {
                    return Ok(());
                }
            }
        }
        order.end(&mut batch);
        if !batch.is_empty() {
            self.send(Batch::Crossings(batch)).await;
        }
        Ok(())
    }

    /// What other systems said, as the state keeps it.
    async fn events(&mut self, window: Window) -> Result<(), EngineError> {
        let limit = self.context.settings.batch;
        let mut beyond = Some(0);
        while let Some(from) = beyond {
            let (store, whose) = (self.context.store.as_ref(), (self.tenant, self.tenants));
            let page = inbound::page_among(store, self.rule, whose, window, from, limit).await?;
            beyond = page.beyond;
            if !page.crossings.is_empty() && !self.send(Batch::Crossings(page.crossings)).await {
                return Ok(());
            }
            if !page.unread.is_empty() && !self.send(Batch::Unread(page.unread)).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Streams candidates; each batch names a record once.
    async fn keys(&mut self, statements: Vec<Statement>) -> Result<(), SourceError> {
        let limit = self.context.settings.batch;
        let mut batch = HashSet::new();
        for statement in statements {
            let mut rows = self.context.source.rows(self.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match self.rule.read_key(&row) {
                    Ok(key) => drop(batch.insert(key)),
                    Err(_) => self.unreadable += 1,
                }
                if batch.len() >= limit && !self.send(Batch::Candidates(batch.drain().collect())).await {
                    return Ok(());
                }
            }
        }
        if !batch.is_empty() {
            self.send(Batch::Candidates(batch.into_iter().collect())).await;
        }
        Ok(())
    }

    /// All records, or those that changed, where the catalog knows it and all have been seen once.
    fn watched(&self, reading: Reading) -> Reach<'static> {
        if self.lease.progress.seeded && self.rule.tracks_changes() {
            Reach::Changed(reading.crossed, reading.asked_after)
        } else {
            Reach::Crossed(reading.crossed)
        }
    }

    /// Streams values; each batch names a record once.
    async fn values(&mut self, statements: Vec<Statement>) -> Result<(), SourceError> {
        let limit = self.context.settings.batch;
        let mut batch = HashMap::new();
        for statement in statements {
            let mut rows = self.context.source.rows(self.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match self.rule.read_value(&row) {
                    Ok((key, value)) => drop(batch.insert(key, value)),
                    Err(_) => self.unreadable += 1,
                }
                if batch.len() >= limit && !self.send(Batch::Values(batch.drain().collect())).await {
                    return Ok(());
                }
            }
        }
        if !batch.is_empty() {
            self.send(Batch::Values(batch.into_iter().collect())).await;
        }
        Ok(())
    }

    /// Those who are inside at the baseline come first. A segment has no past: its members are read anyway.
    async fn seed(&mut self) -> Result<(), SourceError> {
        if self.lease.progress.seeded {
            return Ok(());
        }
        self.keys(self.rule.inside(self.lease.baseline).into_iter().collect()).await
    }

    /// Pages through open episodes: those that are due and, where it is time to ask again, recent ones; all of
    /// them for a segment, and when facts may have changed behind the watermark.
    async fn open(&mut self, feed: Feed) -> Result<(), EngineError> {
        let (due_until, opened_after) = match (feed, &self.rule.rule.trigger) {
            // A change is over at once.
            (_, Trigger::Changed(_)) => return Ok(()),
            (Feed::Reconcile(_), _) | (_, Trigger::Segment(_)) => (NEVER, NEVER),
            (Feed::Sweep(reading), _) if reading.recheck => (reading.crossed.now, reading.asked_after),
            (Feed::Sweep(reading), _) => (reading.crossed.now, NEVER),
        };
        let limit = self.context.settings.batch;
        let mut after = None;
        loop {
            let page = EpisodePage { after, due_until, opened_after, limit };
            let open = self.context.store.open_episodes(self.lease, &page).await?;
            let Some(last) = open.last() else { return Ok(()) };
            after = Some((last.episode.due_at, last.record));
            let full = open.len() >= limit;
            if !self.send(Batch::Open(open)).await || !full {
                return Ok(());
            }
        }
    }

    /// False when nobody takes batches any more: the sweep failed on the other side.
    async fn send(&self, batch: Batch) -> bool {
        self.batches.send(batch).await.is_ok()
    }
}

fn inside(window: Window, crossed: Timestamp) -> bool {
    window.after < crossed && crossed <= window.until
}
