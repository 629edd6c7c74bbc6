//! The occasions a rule would have had: every look it would have taken between two instants, each with the
//! crossings and facts as of then.
//!
//! History is only partly there. Rows that bear their time are seen as they were; columns that are overwritten
//! stand as they do today. So every term is labelled, and what matched is counted twice: by what history can
//! tell alone, and by all terms. Each crosser is asked once, at the first look after its crossing.

use super::horizon;
use crate::engine::EngineError;
use crate::engine::cadence::Plan;
use crate::engine::context::tenants_of;
use crate::engine::cooldown::{Cooldown, cooldown};
use crate::engine::episode::Past;
use crate::engine::evaluate::{self, Answer, Eligibility};
use crate::engine::inbound;
use crate::engine::port::{Source, SourceError, Store};
use crate::engine::time_order;
use crate::model::{Key, Occasion, RecordId, RuleId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::{Cadence, Trigger};
use crate::rule::compiled::{Crossing, Facts, Reach, Subject, Window};
use crate::rule::condition::Term;
use crate::rule::generation::Generation;
use crate::rule::operands::{Basis, Section, basis, crosses_by_current};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp, civil};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub crossed: u64,
    /// Every term that history can tell holds.
    pub as_of: u64,
    /// Every term holds, with columns as they stand today.
    pub matched: u64,
}

impl Tally {
    const fn add(&mut self, as_of: bool, matched: bool) {
        self.crossed += 1;
        self.as_of += as_of as u64;
        self.matched += matched as u64;
    }
}

/// A local day of the catalog's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacktestDay {
    pub date: civil::Date,
    pub tally: Tally,
}

/// One term, over all who crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermCount {
    pub section: Section,
    pub text: String,
    pub basis: Basis,
    pub held: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    pub rule: RuleId,
    pub from: Timestamp,
    pub until: Timestamp,
    /// How often it would have looked.
    pub looks: u64,
    /// Every day of the span.
    pub days: Vec<BacktestDay>,
    pub terms: Vec<TermCount>,
    /// Columns by which the crossings themselves were found, as they stand today.
    pub crosses_by: Vec<String>,
    /// A script decides by fields as they stand today.
    pub script: bool,
    pub total: Tally,
    /// Who would have matched, but for the cooldown of an answer that had.
    pub cooling: u64,
    /// Rows that are not what the catalog says, and scripts that failed.
    pub unjudged: u64,
}

/// One that crossed.
#[derive(Debug, Clone, PartialEq)]
pub struct BacktestHit {
    pub record: RecordId,
    pub occasion: Occasion,
    pub crossed_at: Timestamp,
    pub as_of: bool,
    pub matched: bool,
}

/// What is told while it runs.
#[derive(Debug)]
pub enum Told {
    /// Looked up to here.
    Looked(Timestamp),
    Hit(BacktestHit),
}

/// Over which span, and how finely.
pub struct Backtester<'a> {
    pub generation: &'a Generation,
    pub source: &'a dyn Source,
    /// The events of other systems are kept there; all else is told by the source.
    pub store: Option<&'a dyn Store>,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Looks at intervals of this length instead of the rule's own; a schedule keeps its instants.
    pub every: Option<SignedDuration>,
    /// Rows of one facts statement.
    pub batch: usize,
}

/// The counts as they grow, by days and terms, never by records.
struct Count<'a> {
    rule: &'a CompiledRule,
    days: BTreeMap<civil::Date, Tally>,
    terms: Vec<TermCount>,
    total: Tally,
    /// By what history can tell, and by everything; of the records that are gone through.
    cooldowns: [Cooldown; 2],
    cooling: u64,
    unjudged: u64,
    /// Occasions by their hash, where rows of a query, or events, may name one again: it is no other then.
    named: Option<HashSet<u64>>,
    hasher: RandomState,
}

impl Backtester<'_> {
    /// Backtests one rule for all tenants.
    pub async fn run(&self, rule: &RuleId, mut tell: impl FnMut(Told) + Send) -> Result<Backtest, EngineError> {
        let generation = self.generation;
        let compiled = generation.rules.get(rule).ok_or_else(|| EngineError::NoSuchRule(rule.clone()))?;
        if let Some(reason) = horizon::untold(&compiled.rule) {
            let why = format!("`{rule}` has no past to look at: {reason}; simulate it, or run it in shadow");
            return Err(EngineError::NothingToShow(why));
        }
        if matches!(compiled.rule.trigger, Trigger::Event(_)) && self.store.is_none() {
            let why = format!("`{rule}` has no past to look at: events are kept in the state, and there is none yet");
            return Err(EngineError::NothingToShow(why));
        }
        let zone = &generation.catalog.time_zone;
        let mut count = Count::new(generation, compiled);
        for day in days(self.from, self.until, zone) {
            count.days.insert(day, Tally::default());
        }
        let tenants = tenants_of(&generation.catalog);
        // What a record's earlier crossings came to has a say in the later ones.
        let by_record = compiled.rule.trigger.tide().is_some() || cooldown(&compiled.rule).is_some();
        let looks = if by_record {
            let looks = self.looks(compiled);
            for tenant in &tenants {
                self.replay(compiled, tenant, &looks, &mut count, &mut tell).await?;
            }
            looks.len() as u64
        } else {
            let (mut last, mut looks) = (self.from, 0);
            while let Some(at) = self.next(compiled, last) {
                let window = Window { after: last, until: at, now: at };
                for tenant in &tenants {
                    self.look(compiled, tenant, window, &mut count, &mut tell).await?;
                }
                looks += 1;
                tell(Told::Looked(at));
                last = at;
            }
            looks
        };
        Ok(Backtest {
            rule: rule.clone(),
            from: self.from,
            until: self.until,
            looks,
            days: count.days.into_iter().map(|(date, tally)| BacktestDay { date, tally }).collect(),
            terms: count.terms,
            crosses_by: crosses_by_current(&generation.catalog, &compiled.rule).into_iter().collect(),
            script: compiled.script.is_some(),
            total: count.total,
            cooling: count.cooling,
            unjudged: count.unjudged,
        })
    }

    /// The next look. Looks by a cron line end with its last instant in the span; others with the span.
    fn next(&self, rule: &CompiledRule, last: Timestamp) -> Option<Timestamp> {
        if last >= self.until {
            return None;
        }
        let planned = matches!(rule.rule.trigger, Trigger::Schedule(_));
        if let Some(every) = self.every.filter(|every| !planned && every.is_positive()) {
            return Some(last.saturating_add(every).unwrap_or(Timestamp::MAX).min(self.until));
        }
        let next = Plan::of(&rule.rule, &self.generation.catalog.time_zone).next(last);
        match rule.rule.cadence {
            Cadence::Every(_) if !planned => Some(next.min(self.until)),
            Cadence::Every(_) | Cadence::Cron(_) => Some(next).filter(|next| *next <= self.until),
        }
    }

    async fn look(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        window: Window,
        count: &mut Count<'_>,
        tell: &mut (impl FnMut(Told) + Send),
    ) -> Result<(), EngineError> {
        let mut batch = Vec::new();
        if let Some(store) = self.store {
            let mut beyond = Some(0);
            while let Some(from) = beyond {
                let page = inbound::page(store, rule, tenant, window, from, self.batch.max(1)).await?;
                batch.extend(page.crossings);
                count.unjudged += page.unread.len() as u64;
                self.judge(rule, tenant, window, std::mem::take(&mut batch), count, tell).await?;
                beyond = page.beyond;
            }
        }
        for (index, statement) in rule.crossings(Reach::Untested(window)).into_iter().enumerate() {
            let mut rows = self.source.rows(tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match rule.read_crossing(index, &row, window) {
                    Ok(crossing) => batch.extend(crossing),
                    Err(_) => count.unjudged += 1,
                }
                if batch.len() >= self.batch.max(1) {
                    self.judge(rule, tenant, window, std::mem::take(&mut batch), count, tell).await?;
                }
            }
        }
        self.judge(rule, tenant, window, batch, count, tell).await
    }

    fn looks(&self, rule: &CompiledRule) -> Vec<Timestamp> {
        std::iter::successors(self.next(rule, self.from), |last| self.next(rule, *last)).collect()
    }

    /// Goes through the records once, by chunks of their keys: what each one's rows come to follows from all of them, as
    /// if the rule had begun to look at the span's start. Each is asked about at the first look after it crossed.
    async fn replay(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        looks: &[Timestamp],
        count: &mut Count<'_>,
        tell: &mut (impl FnMut(Told) + Send),
    ) -> Result<(), EngineError> {
        let (from, until) = (self.from, self.until);
        let window = Window { after: from, until, now: until };
        let mut after: Option<Key> = None;
        loop {
            let end = self.source.rows(tenant, rule.chunk_end(after.as_ref(), self.batch.max(1))).try_next().await?;
            let end = end.map(|row| rule.read_key(&row)).transpose();
            let upto = end.map_err(|error| SourceError::Refused(error.to_string()))?;
            let reach = Reach::Chunk { window, after: after.as_ref(), upto: upto.as_ref() };
            let mut at_look: BTreeMap<Timestamp, Vec<Crossing>> = BTreeMap::new();
            for crossing in self.of_chunk(rule, tenant, (reach, window), count).await? {
                let first = looks.partition_point(|look| *look < crossing.crossed_at);
                if let Some(look) = looks.get(first) {
                    at_look.entry(*look).or_default().push(crossing);
                }
            }
            count.cooldowns = [Cooldown::of(&rule.rule), Cooldown::of(&rule.rule)];
            for (look, batch) in at_look {
                self.judge(rule, tenant, Window { after: from, until: look, now: look }, batch, count, tell).await?;
            }
            if upto.is_none() {
                tell(Told::Looked(until));
                return Ok(());
            }
            after = upto;
        }
    }

    /// In the order of time, as far as one record is concerned.
    async fn of_chunk(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        (reach, window): (Reach<'_>, Window),
        count: &mut Count<'_>,
    ) -> Result<Vec<Crossing>, EngineError> {
        let counts_rows = rule.rule.trigger.tide().is_some();
        let (mut keys, mut crossings) = (BTreeSet::new(), Vec::new());
        for (index, statement) in rule.crossings(reach).into_iter().enumerate() {
            let mut rows = self.source.rows(tenant, statement);
            while let Some(row) = rows.try_next().await? {
                let read = if counts_rows {
                    rule.read_key(&row).map(|key| keys.extend([key]))
                } else {
                    rule.read_crossing(index, &row, window).map(|crossing| crossings.extend(crossing))
                };
                count.unjudged += u64::from(read.is_err());
            }
        }
        let past = Past { source: self.source, rule, tenant, from: window.after, until: window.until };
        let episodes = past.episodes(&keys.into_iter().collect::<Vec<Key>>()).await?;
        crossings.extend(episodes.into_iter().filter(|episode| !episode.before).map(|episode| episode.crossing));
        time_order::arrange(&rule.rule, &mut crossings);
        Ok(crossings)
    }

    async fn judge(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        window: Window,
        batch: Vec<Crossing>,
        count: &mut Count<'_>,
        tell: &mut (impl FnMut(Told) + Send),
    ) -> Result<(), EngineError> {
        let batch: Vec<Crossing> = batch.into_iter().filter(|crossing| count.is_new(tenant, crossing)).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let now = window.now;
        let subjects: Vec<Subject> = batch.iter().map(|crossing| evaluate::subject(rule, crossing, now)).collect();
        let answers = evaluate::ask(self.source, rule, tenant, &subjects, now).await?;
        for (crossing, answer) in batch.into_iter().zip(answers) {
            let facts = match answer {
                Answer::Facts(facts) => facts,
                Answer::Gone => continue,
                Answer::Unreadable(_) => {
                    count.unjudged += 1;
                    continue;
                }
            };
            let date = crossing.crossed_at.to_zoned(self.generation.catalog.time_zone.clone()).date();
            let (as_of, matched) = count.take(date, (&crossing, &facts), now);
            let entity = rule.rule.for_each.clone();
            let record = RecordId { tenant: tenant.clone(), entity, key: crossing.key };
            let (occasion, crossed_at) = (crossing.occasion, crossing.crossed_at);
            tell(Told::Hit(BacktestHit { record, occasion, crossed_at, as_of, matched }));
        }
        Ok(())
    }
}

impl<'a> Count<'a> {
    fn new(generation: &Generation, rule: &'a CompiledRule) -> Self {
        let checked = &rule.rule;
        let entity = generation.catalog.entity(&checked.for_each);
        let counted = |section, terms: &[Term]| -> Vec<TermCount> {
            let of = |term: &Term| TermCount {
                section,
                text: term.text.clone(),
                basis: entity.map_or(Basis::Current, |entity| basis(&generation.catalog, entity, &term.condition)),
                held: 0,
                failed: 0,
            };
            terms.iter().map(of).collect()
        };
        let mut terms = counted(Section::Where, &checked.conditions);
        terms.extend(counted(Section::OnlyAtEntry, &checked.only_at_entry));
        let (total, cooldowns) = (Tally::default(), Default::default());
        let named = matches!(checked.trigger, Trigger::Query(_) | Trigger::Event(_)).then(HashSet::new);
        let hasher = RandomState::new();
        Self { rule, days: BTreeMap::new(), terms, total, cooldowns, cooling: 0, unjudged: 0, named, hasher }
    }

    fn is_new(&mut self, tenant: &Tenant, crossing: &Crossing) -> bool {
        let hash = self.hasher.hash_one((tenant, &crossing.key, &crossing.occasion));
        self.named.as_mut().is_none_or(|named| named.insert(hash))
    }

    /// Whether it holds by what history can tell, and by everything.
    fn take(&mut self, date: civil::Date, (crossing, facts): (&Crossing, &Facts), now: Timestamp) -> (bool, bool) {
        let mut as_of = true;
        for (term, holds) in self.terms.iter_mut().zip(facts.conditions.iter().chain(&facts.only_at_entry)) {
            let holds = *holds == Some(true);
            *(if holds { &mut term.held } else { &mut term.failed }) += 1;
            as_of &= holds || term.basis == Basis::Current;
        }
        let eligibility = evaluate::eligibility(self.rule, facts, now);
        self.unjudged += u64::from(matches!(eligibility, Eligibility::ScriptFailed(_)));
        let holds = eligibility == Eligibility::Match;
        let [by_history, by_all] = &mut self.cooldowns;
        as_of = as_of && by_history.take(crossing).is_none();
        let matched = holds && by_all.take(crossing).is_none();
        self.cooling += u64::from(holds && !matched);
        self.total.add(as_of, matched);
        self.days.entry(date).or_default().add(as_of, matched);
        (as_of, matched)
    }
}

fn days(from: Timestamp, until: Timestamp, zone: &jiff::tz::TimeZone) -> Vec<civil::Date> {
    let last = until.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(until);
    let (first, last) = (from.to_zoned(zone.clone()).date(), last.to_zoned(zone.clone()).date());
    first.series(jiff::ToSpan::day(1)).take_while(|day| *day <= last).collect()
}
