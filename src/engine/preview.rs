//! Who matches now, and what they would get: the same crossings, the same evaluator, the same decisions and
//! templates as live, and nothing is written.

mod crossed;
mod met;
mod places;
mod way;

use super::adopt::baseline;
use super::context::{lane_of, tenants_of};
use super::cooldown::{Cooldown, too_close};
use super::dispatch::{Draft, rehearsed};
use super::error::EngineError;
use super::evaluate::{self, Answer, Eligibility};
use super::links::Links;
use super::placing::Place;
use super::port::{Claimed, Lease, Message, OutboxToken, Progress, RuleState, RuleStatus, Source, Standing, Store};
use super::rehearse::guessed::guessed;
use super::rehearse::horizon;
use super::settings::Sending;
use super::sweep::{Namer, had_its_chance, leaves_out, occasion_data};
use crate::model::{DeliveryId, Key, Lane, Occasion, RecordId, RuleId, StepId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::Action;
use crate::rule::compiled::{Crossing, Facts, PersonFacts, Subject};
use crate::rule::generation::Generation;
use crate::rule::message::MessageRow;
pub(super) use crossed::newest_first;
use jiff::{SignedDuration, Timestamp};
pub(super) use places::{Entry, tracks, under_way};
use serde_json::Value as Json;
use std::collections::BTreeSet;
pub(super) use way::Found;
pub use way::Prospect;

/// Which crossings a preview looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewScope {
    /// What the next sweep would find: the last interval.
    LastInterval,
    Last(SignedDuration),
    /// These records, however long ago they crossed.
    Records(Vec<Key>),
}

#[derive(Debug, Clone, Default)]
pub struct Preview {
    pub matches: Vec<PreviewMatch>,
    /// Record, occasion and the first term that failed.
    pub misses: Vec<(RecordId, Occasion, String)>,
    /// More crossed than were looked at.
    pub truncated: bool,
    /// How the occasions of this rule stand to those they are too close to: `within the cooldown of`.
    pub closeness: &'static str,
    /// The next instant at which whoever meets the conditions matches, whatever crossed before.
    pub planned: Option<Timestamp>,
    /// What crossed after this was looked at; `None`: of records that were named, or inside now, all of it.
    pub since: Option<Timestamp>,
    /// Where the rule's first sweep will begin, before all that was looked at.
    pub first_sweep: Option<Timestamp>,
    /// Steps that go by an answer which nobody gave.
    pub guessed: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct PreviewMatch {
    pub record: RecordId,
    pub occasion: Occasion,
    pub crossed_at: Timestamp,
    /// In the ledger already: it would not match again.
    pub known: bool,
    /// Too close to a match of that instant, which is in the ledger or would be entered before it: it would not match.
    pub too_close_to: Option<Timestamp>,
    /// It crossed, or was inside, before the rule began to look: no sweep enters it.
    pub left_out: bool,
    /// Whether it begins the steps, with what its record has under way and what enters beside it. `None`: no sweep enters
    /// it, so that it stands by itself.
    pub place: Option<Place>,
    /// Every step on the way, were nothing to change in between.
    pub messages: Vec<PreviewMessage>,
}

#[derive(Debug, Clone)]
pub struct PreviewMessage {
    pub step: StepId,
    pub kind: &'static str,
    pub due_at: Timestamp,
    pub content: Result<Message, String>,
}

/// The asker's view of the world.
#[derive(Clone, Copy)]
pub struct Previewer<'a> {
    pub generation: &'a Generation,
    pub source: &'a dyn Source,
    pub store: &'a dyn Store,
    /// `sender.*` in templates.
    pub sender: &'a Json,
    /// When messages may leave; `None`: at any time.
    pub sending: Option<&'a Sending>,
    pub now: Timestamp,
    /// Crossers looked at, at most.
    pub limit: usize,
}

impl PreviewMatch {
    /// Whether the next sweep would enter it, which need not begin the steps.
    #[must_use]
    pub const fn would_match(&self) -> bool {
        !self.known && !self.left_out && self.too_close_to.is_none()
    }

    /// It would be entered and do nothing: another of its record is under way, or a newer one takes its place.
    #[must_use]
    pub const fn begins_nothing(&self) -> bool {
        matches!(self.place, Some(Place::Nothing | Place::Replaced))
    }
}

/// Previews one rule for all tenants, the newest crossings first.
pub async fn preview(previewer: &Previewer<'_>, rule: &RuleId, scope: &PreviewScope) -> Result<Preview, EngineError> {
    let compiled = previewer.generation.rules.get(rule).ok_or_else(|| EngineError::NoSuchRule(rule.clone()))?;
    let zone = &previewer.generation.catalog.time_zone;
    let mut preview = Preview {
        closeness: too_close(&compiled.rule),
        planned: horizon::planned(&compiled.rule, zone, previewer.now),
        since: previewer.since(compiled, scope),
        guessed: guessed(&compiled.rule),
        ..Preview::default()
    };
    preview.first_sweep = previewer.before_it(compiled, preview.since).await?;
    for tenant in tenants_of(&previewer.generation.catalog) {
        previewer.tenant(compiled, &tenant, scope, &mut preview).await?;
    }
    preview.matches.sort_by_key(|matched| std::cmp::Reverse(matched.crossed_at));
    Ok(preview)
}

/// What the rule's script adds for templates.
fn enriched(rule: &CompiledRule, facts: &Facts, at: Timestamp) -> Result<Option<Json>, String> {
    let added = rule.script.as_ref().map(|script| script.enrich(facts, at)).transpose();
    Ok(added.map_err(|error| error.to_string())?.flatten())
}

/// Where the rule keeps what it has seen. A paused one will most likely wake in the live lane.
fn own_lane(rule: &CompiledRule) -> Lane {
    lane_of(rule).unwrap_or(Lane::Live)
}

impl Previewer<'_> {
    async fn tenant(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        scope: &PreviewScope,
        preview: &mut Preview,
    ) -> Result<(), EngineError> {
        let own = own_lane(rule);
        let crossings = self.crossings(rule, (tenant, own), scope, preview).await?;
        let begins = self.began(rule, self.adopted(rule, own, tenant).await?.as_ref());
        let began = match scope {
            // Whom it would have matched, had it been there.
            PreviewScope::Last(_) => Timestamp::MIN,
            PreviewScope::LastInterval | PreviewScope::Records(_) => begins,
        };
        let subjects: Vec<Subject> =
            crossings.iter().map(|crossing| evaluate::subject(rule, crossing, self.now)).collect();
        let answers = evaluate::ask(self.source, rule, tenant, &subjects, self.now).await?;
        let standings = self.standings(rule, tenant, Lane::Live, &crossings).await?;
        let (mut found, mut stands, mut cooldown) = (Vec::new(), Vec::new(), Cooldown::of(&rule.rule));
        for ((crossing, answer), standing) in crossings.iter().zip(answers).zip(standings) {
            let record =
                RecordId { tenant: tenant.clone(), entity: rule.rule.for_each.clone(), key: crossing.key.clone() };
            let reason = match &answer {
                Answer::Gone => continue,
                Answer::Unreadable(error) => Some(error.to_string()),
                Answer::Facts(facts) => match evaluate::eligibility(rule, facts, self.now) {
                    Eligibility::Match => self.missed_before(rule, crossing, &standing),
                    Eligibility::Miss(reason) | Eligibility::ScriptFailed(reason) => Some(reason),
                },
            };
            match (reason, answer) {
                (None, Answer::Facts(facts)) => {
                    let standing = cooldown.beside(crossing, standing, crossing.crossed_at > began);
                    found.push(Found { record, crossing, facts, known: standing.is_spent(), place: None });
                    stands.push(standing);
                }
                (Some(reason), _) => preview.misses.push((record, crossing.occasion.clone(), reason)),
                (None, Answer::Gone | Answer::Unreadable(_)) => {}
            }
        }
        let entry = |crossing: &Crossing, standing: &Standing| match crossing.crossed_at {
            _ if standing.is_spent() => Entry::Nobody,
            at if at > begins => Entry::NextSweep,
            at if at > began => Entry::Supposed,
            _ => Entry::Nobody,
        };
        let entries =
            found.iter().zip(&stands).map(|(found, standing)| (found.crossing, entry(found.crossing, standing)));
        let places = self.places(rule, tenant, &entries.collect::<Vec<_>>()).await?;
        for (found, place) in found.iter_mut().zip(places) {
            found.place = place;
        }
        let messages = self.messages(rule, &found).await?;
        for ((Found { record, crossing, place, .. }, messages), standing) in found.into_iter().zip(messages).zip(stands)
        {
            let (occasion, crossed_at) = (crossing.occasion.clone(), crossing.crossed_at);
            let left_out = !standing.is_spent() && crossed_at <= began;
            let known = standing == Standing::Known;
            let too_close_to = if let Standing::TooClose { to } = standing { Some(to) } else { None };
            let matched = PreviewMatch { record, occasion, crossed_at, known, too_close_to, left_out, place, messages };
            preview.matches.push(matched);
        }
        Ok(())
    }

    /// Only names the rule: a preview holds no lease, and asking needs none.
    fn lease(&self, rule: &CompiledRule, tenant: &Tenant, lane: Lane) -> Lease {
        let (watermark, swept_at, rechecked_at, reconciled_at) = (self.now, self.now, self.now, self.now);
        let progress = Progress { watermark, swept_at, rechecked_at, reconciled_at, seeded: true };
        let (rule, tenant, baseline) = (rule.rule.id.clone(), tenant.clone(), self.now);
        Lease { rule, lane, tenant, epoch: 0, progress, baseline, populated: false }
    }

    fn namer<'n>(&'n self, rule: &'n CompiledRule, tenant: &'n Tenant, lane: Lane) -> Namer<'n> {
        Namer { rule, lane, tenant, secret: self.store.secret() }
    }

    /// Why one that matches now won't be asked again.
    fn missed_before(&self, rule: &CompiledRule, crossing: &Crossing, standing: &Standing) -> Option<String> {
        let Standing::Missed { kind, reason } = standing else { return None };
        had_its_chance(&rule.rule, *kind, crossing.crossed_at, self.now)
            .then(|| format!("when it crossed, `{reason}` was false; it holds now, but `keep_trying` is over"))
    }

    /// What the ledger of a lane knows of each crosser.
    pub(super) async fn standings(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        lane: Lane,
        crossings: &[Crossing],
    ) -> Result<Vec<Standing>, EngineError> {
        let namer = self.namer(rule, tenant, lane);
        let candidates: Vec<_> = crossings.iter().map(|crossing| namer.candidate(crossing)).collect();
        let lease = self.lease(rule, tenant, lane);
        let mut standings = self.store.standings(&lease, &candidates).await?;
        if self.adopted(rule, lane, &lease.tenant).await?.is_none() {
            // Adopting this definition will forget what an older one said no to.
            for standing in standings.iter_mut().filter(|standing| matches!(standing, Standing::Missed { .. })) {
                *standing = Standing::New;
            }
        }
        Ok(standings)
    }

    /// What crossed up to then is left out. A rule that the state doesn't know yet would begin now.
    fn began(&self, rule: &CompiledRule, known: Option<&RuleState>) -> Timestamp {
        if leaves_out(&rule.rule, known.map(|known| (&known.progress, known.baseline))) {
            return self.now;
        }
        let first = || baseline(&rule.rule, &self.generation.catalog.time_zone, self.now);
        known.map_or_else(first, |known| known.baseline)
    }

    /// Which of these records have an open episode, where the state knows the rule by this definition.
    pub(super) async fn inside(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        lane: Lane,
        crossings: &[Crossing],
    ) -> Result<Vec<bool>, EngineError> {
        if self.adopted(rule, lane, tenant).await?.is_none() {
            return Ok(vec![false; crossings.len()]);
        }
        let namer = self.namer(rule, tenant, lane);
        let of = |crossing| self.store.secret().record_hash(&namer.record(crossing));
        let records: Vec<[u8; 16]> = crossings.iter().map(of).collect();
        let episodes = self.store.episodes(&self.lease(rule, tenant, lane), &records).await?;
        Ok(episodes.iter().map(|found| found.as_ref().is_some_and(|found| found.closed_at.is_none())).collect())
    }

    /// How the rule stands, where the state knows it by this definition.
    pub(super) async fn adopted(
        &self,
        rule: &CompiledRule,
        lane: Lane,
        tenant: &Tenant,
    ) -> Result<Option<RuleState>, EngineError> {
        let same = |state: &RuleState| {
            let here = state.rule == rule.rule.id && state.lane == lane && state.tenant == *tenant;
            here && state.definition == rule.definition && state.status != RuleStatus::Removed
        };
        Ok(self.store.rule_states().await?.into_iter().find(same))
    }

    pub(super) fn render(
        &self,
        rule: &CompiledRule,
        claimed: &Claimed,
        facts: &Facts,
        action: &Action,
        to: Option<&PersonFacts>,
        (rows, more): (&[MessageRow<'_>], usize),
    ) -> Result<Message, String> {
        let enriched = enriched(rule, facts, claimed.due_at)?;
        let draft = Draft {
            rule,
            node: claimed.node,
            claimed,
            delivery: self.delivery(rule, claimed),
            facts,
            to,
            templates: &self.generation.templates,
            catalog: &self.generation.catalog,
            sender: self.sender,
            written_by: rule.rule.sender.as_deref(),
            links: &Links::Rehearsed,
            tracks: BTreeSet::new(),
            secret: self.store.secret(),
            enriched: enriched.as_ref(),
            now: claimed.due_at,
            country: self.sending.and_then(|sending| sending.texts.country),
            rows,
            more,
        };
        draft.render(action).map_err(|error| error.to_string())
    }

    fn delivery(&self, rule: &CompiledRule, claimed: &Claimed) -> DeliveryId {
        let step = rule.rule.nodes.get(claimed.node).map_or_else(|| StepId::from("?"), |node| node.id.clone());
        self.store.secret().delivery_id(claimed.match_id, &step, claimed.iteration)
    }

    /// The row the dispatcher would claim.
    pub(super) fn claimed(&self, rule: &CompiledRule, record: &RecordId, crossing: &Crossing, node: usize) -> Claimed {
        let namer = self.namer(rule, &record.tenant, Lane::Live);
        Claimed {
            token: OutboxToken { id: 0, epoch: 0 },
            match_id: namer.candidate(crossing).id,
            rule: rule.rule.id.clone(),
            lane: Lane::Live,
            version: rule.version.clone(),
            record: record.clone(),
            occasion: crossing.occasion.clone(),
            occasion_at: crossing.occasion_at,
            occasion_data: occasion_data(&rule.rule, crossing),
            entered_at: self.now,
            entry: crossing.entry,
            node,
            iteration: 0,
            attempts: 0,
            due_at: self.now,
            planned_at: self.now,
            since: None,
            saved: rehearsed(rule, &self.generation.templates),
            discarded: false,
        }
    }
}
