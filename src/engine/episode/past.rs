//! Episodes of counted rows that nobody has kept: between two instants, by the rows alone.

use super::replay::{Course, Terms};
use super::{course, crossing, is_open};
use crate::engine::error::EngineError;
use crate::engine::port::Source;
use crate::model::{Key, Tenant};
use crate::rule::CompiledRule;
use crate::rule::compiled::{Crossing, Window};
use jiff::Timestamp;

/// What is looked back on.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Past<'a> {
    pub source: &'a dyn Source,
    pub rule: &'a CompiledRule,
    pub tenant: &'a Tenant,
    /// Whoever is inside here has come inside before.
    pub from: Timestamp,
    pub until: Timestamp,
}

/// One of them.
pub(in crate::engine) struct PastEpisode {
    pub crossing: Crossing,
    /// It began before the span.
    pub before: bool,
    /// It goes on at the span's end.
    pub is_open: bool,
}

impl Past<'_> {
    /// The edge of an episode that nothing tells the beginning of.
    pub fn now(key: &Key, now: Timestamp) -> Crossing {
        crossing(key, 1, now, None)
    }

    /// The episodes of these records, which are all different, as a rule keeps them that begins to look at `from`. None
    /// for rules that count no rows over time.
    pub async fn episodes(&self, keys: &[Key]) -> Result<Vec<PastEpisode>, EngineError> {
        let Some(tide) = self.rule.rule.trigger.tide() else { return Ok(Vec::new()) };
        let window = Window { after: self.from, until: self.until, now: self.until };
        let rows = course::rows(self.source, self.rule, self.tenant, keys, window).await?;
        let terms = Terms { since: self.from, seed: Some(self.from), open_since: None, now: self.until };
        let mut found = Vec::new();
        for key in keys {
            let Some(rows) = rows.get(key) else { continue };
            let course = Course::of(&tide, rows, self.rule.zone(), self.until);
            let replayed = course.replay(None, terms);
            if let Some(last) = replayed.last.filter(|last| replayed.opened.is_empty() && is_open(last)) {
                let crossing = crossing(key, last.ordinal, last.opened_at, Some(course.level(last.opened_at)));
                found.push(PastEpisode { crossing, before: true, is_open: true });
            }
            for (episode, level) in replayed.opened {
                let crossing = crossing(key, episode.ordinal, episode.opened_at, Some(level));
                found.push(PastEpisode { crossing, before: false, is_open: is_open(&episode) });
            }
        }
        Ok(found)
    }
}
