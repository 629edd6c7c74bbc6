//! Streams crossings from the source in batches. Nothing is collected beyond one batch.

use super::window::Reading;
use crate::engine::context::Context;
use crate::engine::port::SourceError;
use crate::model::{Key, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Crossing, Reach, Window};
use futures::TryStreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// Where crossings come from.
#[derive(Debug, Clone, Copy)]
pub enum Feed {
    Sweep(Reading),
    Reconcile(Window),
}

pub struct Feeder<'a> {
    pub context: &'a Context,
    pub rule: &'a CompiledRule,
    pub tenant: &'a Tenant,
    pub batches: mpsc::Sender<Vec<Crossing>>,
    pub batch: Vec<Crossing>,
    /// Rows that are not what the catalog says.
    pub unreadable: u64,
}

impl Feeder<'_> {
    /// Reads everything, then closes the channel by being dropped. Returns how many rows were unreadable.
    pub async fn run(mut self, feed: Feed) -> Result<u64, SourceError> {
        match feed {
            Feed::Sweep(reading) => {
                self.read(Reach::Crossed(reading.crossed), reading.crossed).await?;
                if let Some((window, since)) = reading.changed {
                    self.read(Reach::Changed(window, since), window).await?;
                }
            }
            // A rule's own SQL would run in full for every chunk.
            Feed::Reconcile(window) if matches!(self.rule.rule.trigger, Trigger::Query(_)) => {
                self.read(Reach::Crossed(window), window).await?;
            }
            Feed::Reconcile(window) => self.chunks(window).await?,
        }
        self.flush().await;
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
        if window.after >= window.until {
            return Ok(());
        }
        let limit = self.context.settings.batch;
        for (index, statement) in self.rule.crossings(reach).into_iter().enumerate() {
            let mut rows = self.context.source.rows(self.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match self.rule.read_crossing(index, &row, window) {
                    Ok(Some(crossing)) if inside(window, crossing.crossed_at) => self.batch.push(crossing),
                    Ok(_) => {}
                    Err(_) => self.unreadable += 1,
                }
                if self.batch.len() >= limit && !self.flush().await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False when nobody takes batches any more: the sweep failed on the other side.
    async fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        self.batches.send(std::mem::take(&mut self.batch)).await.is_ok()
    }
}

fn inside(window: Window, crossed: Timestamp) -> bool {
    window.after < crossed && crossed <= window.until
}
