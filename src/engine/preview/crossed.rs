//! Which crossings a preview and an explanation look at.

use super::{Preview, PreviewScope, Previewer, own_lane};
use crate::engine::context::tenants_of;
use crate::engine::episode::{NEVER, Outlook, Watch};
use crate::engine::error::EngineError;
use crate::engine::port::{EpisodePage, Lease, Progress};
use crate::engine::rehearse::horizon;
use crate::engine::{adopt, inbound, time_order};
use crate::model::{Key, Lane, Occasion, RecordId, Tenant, Value};
use crate::rule::CompiledRule;
use crate::rule::checked::{Backfill, Cadence, Segment, Trigger};
use crate::rule::compiled::{Crossing, Reach, Window};
use crate::rule::inbound::Unread;
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// Events read at once.
const PAGE: usize = 1_000;

/// The newest crossings, never more than twice as many as are wanted.
struct Kept {
    most: usize,
    /// No crossing is newer than this.
    latest: Timestamp,
    /// How many cross then.
    at_latest: usize,
    /// Each with its place in the order in which a sweep takes them.
    crossings: Vec<(usize, Crossing)>,
    taken: usize,
    left_out: bool,
}

impl Kept {
    const fn new(most: usize, latest: Timestamp) -> Self {
        Self { most, latest, at_latest: 0, crossings: Vec::new(), taken: 0, left_out: false }
    }

    /// False: no other will be kept.
    fn take(&mut self, crossing: Crossing) -> bool {
        if self.at_latest >= self.most {
            self.left_out = true;
            return false;
        }
        self.at_latest += usize::from(crossing.crossed_at >= self.latest);
        self.crossings.push((self.taken, crossing));
        self.taken += 1;
        if self.crossings.len() >= self.most.saturating_mul(2).max(2) {
            self.drop_oldest();
        }
        true
    }

    fn take_all(&mut self, crossings: Vec<Crossing>) -> bool {
        crossings.into_iter().all(|crossing| self.take(crossing))
    }

    fn drop_oldest(&mut self) {
        // Rows of a query, or events, that name an occasion again name no other: the first counts.
        self.crossings.sort_by_key(|(place, _)| *place);
        let mut seen = HashSet::new();
        self.crossings.retain(|(_, crossing)| seen.insert((crossing.key.clone(), crossing.occasion.clone())));
        self.crossings.sort_by(|(_, a), (_, b)| newest_first(a, b));
        self.left_out |= self.crossings.len() > self.most;
        self.crossings.truncate(self.most);
    }

    fn end(mut self, rule: &CompiledRule, preview: &mut Preview) -> Vec<Crossing> {
        self.drop_oldest();
        preview.truncated |= self.left_out;
        self.crossings.sort_by_key(|(place, _)| *place);
        let mut crossings: Vec<Crossing> = self.crossings.into_iter().map(|(_, crossing)| crossing).collect();
        time_order::arrange(&rule.rule, &mut crossings);
        crossings
    }
}

pub(in crate::engine) fn newest_first(a: &Crossing, b: &Crossing) -> Ordering {
    (b.crossed_at, &b.occasion).cmp(&(a.crossed_at, &a.occasion))
}

impl Previewer<'_> {
    /// The newest, in the order in which a sweep takes them.
    pub(in crate::engine) async fn crossings(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
        scope: &PreviewScope,
        preview: &mut Preview,
    ) -> Result<Vec<Crossing>, EngineError> {
        let window = self.window(rule, scope);
        let reach = match scope {
            PreviewScope::Records(keys) => Reach::Of(window, keys),
            PreviewScope::LastInterval | PreviewScope::Last(_) => Reach::Crossed(window),
        };
        if rule.rule.trigger.keeps_episodes() {
            let mut crossings = self.episodes(rule, (tenant, lane), (reach, window), preview).await?;
            if !matches!(scope, PreviewScope::Last(_)) {
                self.found_inside(rule, (tenant, lane), &mut crossings).await?;
            }
            return Ok(crossings);
        }
        let mut kept = Kept::new(self.limit, window.until);
        if !self.events(rule, tenant, window, (scope, &mut kept), preview).await? {
            return Ok(kept.end(rule, preview));
        }
        for (index, statement) in rule.crossings(reach).into_iter().enumerate() {
            let mut rows = self.source.rows(tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match rule.read_crossing(index, &row, window) {
                    Ok(crossing) => {
                        if crossing.is_some_and(|crossing| !kept.take(crossing)) {
                            return Ok(kept.end(rule, preview));
                        }
                    }
                    Err(error) => {
                        let (entity, key) = (rule.rule.for_each.clone(), Key::new(error.key.clone()));
                        let record = RecordId { tenant: tenant.clone(), entity, key };
                        preview.misses.push((record, Occasion::from(""), error.to_string()));
                    }
                }
            }
        }
        Ok(kept.end(rule, preview))
    }

    /// Since when what crossed is looked at, where that is what is looked at.
    pub(super) fn since(&self, rule: &CompiledRule, scope: &PreviewScope) -> Option<Timestamp> {
        let by_time = !matches!(rule.rule.trigger, Trigger::Segment(_) | Trigger::Changed(_) | Trigger::Schedule(_));
        let is_span = !matches!(scope, PreviewScope::Records(_));
        (by_time && is_span).then(|| self.window(rule, scope).after)
    }

    /// Where a rule that has not run in any tenant begins, if that lies before what is looked at.
    pub(super) async fn before_it(
        &self,
        rule: &CompiledRule,
        since: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, EngineError> {
        let Some(since) = since else { return Ok(None) };
        for tenant in tenants_of(&self.generation.catalog) {
            if self.adopted(rule, own_lane(rule), &tenant).await?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(self.began(rule, None)).filter(|begins| *begins < since))
    }

    fn window(&self, rule: &CompiledRule, scope: &PreviewScope) -> Window {
        let back = |by: SignedDuration| self.now.checked_sub(by).unwrap_or(Timestamp::MIN);
        let after = match (scope, &rule.rule.cadence) {
            (PreviewScope::Last(span), _) => back(*span),
            (PreviewScope::LastInterval, Cadence::Every(every)) => back(SignedDuration::from_secs(every.max_seconds())),
            (PreviewScope::LastInterval, Cadence::Cron(_)) => back(SignedDuration::from_hours(24)),
            (PreviewScope::Records(_), _) => adopt::BEGINNING,
        };
        horizon::behind(&rule.rule, &self.generation.catalog.time_zone, after, self.now)
    }

    /// What other systems said, for a rule that waits for it. False: no other crossing will be kept.
    async fn events(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        window: Window,
        (scope, kept): (&PreviewScope, &mut Kept),
        preview: &mut Preview,
    ) -> Result<bool, EngineError> {
        let is_span = !matches!(scope, PreviewScope::Records(_));
        let named = |key: &Key| matches!(scope, PreviewScope::Records(keys) if keys.contains(key));
        let wanted = |crossing: &Crossing| is_span || named(&crossing.key);
        let mut beyond = Some(0);
        while let Some(from) = beyond {
            let page = inbound::page(self.store, rule, tenant, window, from, PAGE).await?;
            for Unread { id, problem, key, .. } in page.unread {
                let Some(key) = key.filter(named) else { continue };
                let record = RecordId { tenant: tenant.clone(), entity: rule.rule.for_each.clone(), key };
                preview.misses.push((record, Occasion::new(id), format!("the event can't be read: {problem}")));
            }
            for crossing in page.crossings.into_iter().filter(wanted) {
                if !kept.take(crossing) {
                    return Ok(false);
                }
            }
            beyond = page.beyond;
        }
        Ok(true)
    }

    /// How the record's episode stands, and which edge comes by time alone. `None` for rules without episodes.
    pub(in crate::engine) async fn outlook(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
        key: &Key,
    ) -> Result<Option<Outlook>, EngineError> {
        if !rule.rule.trigger.keeps_episodes() {
            return Ok(None);
        }
        let scope = PreviewScope::Records(vec![key.clone()]);
        let window = self.window(rule, &scope);
        let mut lease = self.watched(rule, (tenant, lane), (window, true)).await?;
        if let Some(begins) = self.first_look(rule, (tenant, lane)).await? {
            lease.baseline = begins;
        }
        Ok(Some(self.watch(rule, tenant, &lease, window).outlook(key).await?))
    }

    /// Where a rule over counted rows will begin to look that has not looked yet.
    async fn first_look(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
    ) -> Result<Option<Timestamp>, EngineError> {
        if rule.rule.trigger.tide().is_none() || self.adopted(rule, lane, tenant).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(self.began(rule, None)))
    }

    /// Where the watch of a preview begins. Of named records it is where the rule's own began, so that their episodes
    /// are counted as it counts them; who was inside at the start of a span, and has no episode in the state, is
    /// taken for one of those whom a baseline leaves out.
    async fn watched(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
        (window, named): (Window, bool),
    ) -> Result<Lease, EngineError> {
        let is_segment = matches!(rule.rule.trigger, Trigger::Segment(_));
        let mut lease = self.lease(rule, tenant, lane);
        let known = if named { self.adopted(rule, lane, tenant).await? } else { None };
        lease.baseline = known.as_ref().map_or(window.after, |known| known.baseline);
        let seeded = known.as_ref().is_some_and(|known| known.progress.seeded);
        // Of named records only what is open counts, of a span also what has ended since.
        let swept_at = if named { self.now } else { window.after };
        // What a sweep has seen of an open episode is in the state.
        let watermark = known.as_ref().map_or(window.after, |known| known.progress.watermark);
        lease.progress = Progress { watermark, swept_at, seeded: is_segment || seeded, ..lease.progress };
        Ok(lease)
    }

    fn watch<'w>(&'w self, rule: &'w CompiledRule, tenant: &'w Tenant, lease: &'w Lease, window: Window) -> Watch<'w> {
        let since = window.after.max(lease.baseline);
        Watch {
            source: self.source,
            store: self.store,
            rule,
            tenant,
            namer: self.namer(rule, tenant, lease.lane),
            lease,
            now: self.now,
            since,
            asked_after: window.after,
            anew: None,
            looked: lease.progress.watermark.min(self.now).max(since),
        }
    }

    /// Edges of episodes, as the next sweep would find them.
    async fn episodes(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
        (reach, window): (Reach<'_>, Window),
        preview: &mut Preview,
    ) -> Result<Vec<Crossing>, EngineError> {
        let named = if let Reach::Of(_, keys) = reach { Some(keys) } else { None };
        let lease = self.watched(rule, (tenant, lane), (window, named.is_some())).await?;
        let watch = self.watch(rule, tenant, &lease, window);
        let mut kept = Kept::new(self.limit, window.until);
        match &rule.rule.trigger {
            Trigger::Segment(Segment { leaves: true, .. }) => self.leaving(&watch, named, &mut kept).await?,
            Trigger::Changed(_) => self.changes(&watch, reach, &mut kept).await?,
            _ => self.openings(&watch, (reach, named), &mut kept).await?,
        }
        Ok(kept.end(rule, preview))
    }

    /// Nothing tells since when a record is inside of a segment. Whoever is there at the rule's first look counts as come
    /// when the rule began, which is what the baseline leaves out.
    async fn found_inside(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
        crossings: &mut [Crossing],
    ) -> Result<(), EngineError> {
        let enters = matches!(rule.rule.trigger, Trigger::Segment(Segment { leaves: false, .. }));
        if !enters || rule.rule.backfill == Backfill::All {
            return Ok(());
        }
        let known = self.adopted(rule, lane, tenant).await?;
        if known.as_ref().is_some_and(|known| known.progress.seeded) {
            return Ok(());
        }
        let began = self.began(rule, known.as_ref());
        for crossing in crossings {
            crossing.crossed_at = began;
            crossing.occasion_at = Some(began);
        }
        Ok(())
    }

    async fn leaving(&self, watch: &Watch<'_>, named: Option<&[Key]>, kept: &mut Kept) -> Result<(), EngineError> {
        if let Some(keys) = named {
            kept.take_all(watch.open_of(keys).await?.crossings);
            return Ok(());
        }
        let mut after = None;
        loop {
            // Also those whom no sweep has seen outside yet: without a time to be outside for, they leave with the next.
            let page = EpisodePage { after, due_until: Timestamp::MAX, opened_after: NEVER, limit: PAGE };
            let open = self.store.open_episodes(watch.lease, &page).await?;
            let Some(last) = open.last() else { return Ok(()) };
            after = Some((last.episode.due_at, last.record));
            if !kept.take_all(watch.open(&open).await?.crossings) || open.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn changes(&self, watch: &Watch<'_>, reach: Reach<'_>, kept: &mut Kept) -> Result<(), EngineError> {
        let mut values: HashMap<Key, Value> = HashMap::new();
        for statement in watch.rule.crossings(reach) {
            let mut rows = self.source.rows(watch.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                values.extend(watch.rule.read_value(&row));
                if values.len() >= self.limit.max(1) {
                    let batch: Vec<(Key, Value)> = values.drain().collect();
                    if !kept.take_all(watch.changed(&batch).await?.crossings) {
                        return Ok(());
                    }
                }
            }
        }
        kept.take_all(watch.changed(&values.into_iter().collect::<Vec<_>>()).await?.crossings);
        Ok(())
    }

    /// The edges of named records. Before a rule has looked they are what its first sweep will find: an episode that was
    /// under way where it begins is none to it. Of who came inside by then, it is told when.
    async fn opened(&self, watch: &Watch<'_>, named: &[Key]) -> Result<Vec<Crossing>, EngineError> {
        let keys: Vec<Key> = named.iter().cloned().collect::<HashSet<Key>>().into_iter().collect();
        let ever = watch.candidates(&keys).await?.crossings;
        let Some(begins) = self.first_look(watch.rule, (watch.tenant, watch.lease.lane)).await? else {
            return Ok(ever);
        };
        let lease = Lease { baseline: begins, ..watch.lease.clone() };
        let first = Watch { lease: &lease, since: begins, looked: begins, ..*watch };
        let found = first.candidates(&keys).await?.crossings.into_iter();
        let (mut opened, silent): (Vec<Crossing>, Vec<Crossing>) = found.partition(|found| found.crossed_at > begins);
        for earlier in ever.into_iter().filter(|earlier| earlier.crossed_at <= begins).chain(silent) {
            if !opened.iter().any(|known| known.key == earlier.key) {
                opened.push(earlier);
            }
        }
        Ok(opened)
    }

    async fn openings(
        &self,
        watch: &Watch<'_>,
        (reach, named): (Reach<'_>, Option<&[Key]>),
        kept: &mut Kept,
    ) -> Result<(), EngineError> {
        if let Some(named) = named.filter(|_| watch.rule.rule.trigger.tide().is_some()) {
            // Their rows are asked for by key anyway.
            kept.take_all(self.opened(watch, named).await?);
            return Ok(());
        }
        let mut keys: HashSet<Key> = HashSet::new();
        for statement in watch.rule.crossings(reach) {
            let mut rows = self.source.rows(watch.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                keys.extend(watch.rule.read_key(&row));
                if keys.len() >= self.limit.max(1) {
                    let batch: Vec<Key> = keys.drain().collect();
                    if !kept.take_all(watch.candidates(&batch).await?.crossings) {
                        return Ok(());
                    }
                }
            }
        }
        kept.take_all(watch.candidates(&keys.into_iter().collect::<Vec<_>>()).await?.crossings);
        Ok(())
    }
}
