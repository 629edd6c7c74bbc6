//! The next crossing of a record if nothing changes but the time.

use super::explain::Explainer;
use super::horizon;
use crate::engine::EngineError;
use crate::rule::compiled::{Crossing, Reach, Window};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

/// How many crossings are tried that don't stand once their time has come.
const LOOKS: usize = 16;

impl Explainer<'_> {
    /// In the window. A statement of the operator's own may fail over decades, or run for too long, and what it says of
    /// now is to be told all the same.
    pub(super) async fn foretold(&self, window: Window) -> Result<Option<Crossing>, EngineError> {
        let first = self.first_that_stands(window);
        if horizon::asks_in_own_words(&self.rule.rule) {
            return Ok(tokio::time::timeout(self.patience, first).await.ok().and_then(Result::ok).flatten());
        }
        first.await
    }

    /// The first in the window that still stands once its time has come. Facts that are dated ahead count once they are
    /// due, so that a silence which they break is no crossing, and the one after them may be; and a query may say
    /// something else then.
    async fn first_that_stands(&self, window: Window) -> Result<Option<Crossing>, EngineError> {
        let (rule, zone) = (&self.rule.rule, &self.previewer.generation.catalog.time_zone);
        let mut window = Some(window);
        for _ in 0..LOOKS {
            let Some(reach) = window else { return Ok(None) };
            let mut found = self.crossings_in(reach).await?;
            if horizon::asks_for_now(rule) {
                found.extend(self.crossings_in(Window { now: reach.until, ..reach }).await?);
            }
            let found = found.into_iter().min_by_key(|crossing| crossing.crossed_at);
            if !horizon::may_not_stand(rule) {
                return Ok(found);
            }
            let until = found.as_ref().map_or(reach.until, |found| found.crossed_at);
            match found {
                Some(found) if self.crosses_then(&found).await? => return Ok(Some(found)),
                // All that it dates has been seen.
                None if !horizon::is_undone_by_facts(rule) => return Ok(None),
                Some(_) | None => window = horizon::ahead(rule, zone, until),
            }
        }
        Ok(None)
    }

    /// Whether it still crosses, by what is dated up to then.
    async fn crosses_then(&self, found: &Crossing) -> Result<bool, EngineError> {
        let (until, before) = (found.crossed_at, SignedDuration::from_micros(1));
        let window = Window { after: until.checked_sub(before).unwrap_or(Timestamp::MIN), until, now: until };
        Ok(self.crossings_in(window).await?.iter().any(|then| then.occasion == found.occasion))
    }

    async fn crossings_in(&self, window: Window) -> Result<Vec<Crossing>, EngineError> {
        let keys = std::slice::from_ref(&self.record.key);
        let mut found = Vec::new();
        for (index, statement) in self.rule.crossings(Reach::Of(window, keys)).into_iter().enumerate() {
            let mut rows = self.previewer.source.rows(&self.record.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                // What can't be read is told by the record's facts.
                found.extend(self.rule.read_crossing(index, &row, window).ok().flatten());
            }
        }
        Ok(found)
    }
}
