//! Who matches now, and what they would get: the same crossings, the same evaluator, the same decisions and
//! templates as live, and nothing is written.

mod crossed;

use super::context::tenants_of;
use super::dispatch::{
    Addressed, Decision, Draft, Line, Moment, Situation, Way, decide, joined, kind, open_tasks, rehearsed, said, since,
};
use super::error::EngineError;
use super::evaluate::{self, Answer, Eligibility};
use super::links::Links;
use super::port::{
    Claimed, ContactStanding, Lease, Message, OutboxToken, Progress, RuleState, RuleStatus, Source, Standing, Store,
    Then,
};
use super::settings::Sending;
use super::sweep::{Namer, had_its_chance, occasion_data};
use crate::model::{
    AddressHash, Channel, ContactId, DeliveryId, Key, Lane, Occasion, Outcome, RecordId, RuleId, StepId, Tenant,
};
use crate::rule::checked::{Action, Purpose, Step, UnlessOpen};
use crate::rule::compiled::{Crossing, Facts, PersonFacts, Subject};
use crate::rule::generation::Generation;
use crate::rule::{CheckedRule, CompiledRule};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often a message is looked at again that the window or a cap puts off.
const PUT_OFF: usize = 4;

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
}

#[derive(Debug, Clone)]
pub struct PreviewMatch {
    pub record: RecordId,
    pub occasion: Occasion,
    pub crossed_at: Timestamp,
    /// In the ledger already: it would not match again.
    pub known: bool,
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

/// Previews one rule for all tenants.
pub async fn preview(previewer: &Previewer<'_>, rule: &RuleId, scope: &PreviewScope) -> Result<Preview, EngineError> {
    let compiled = previewer.generation.rules.get(rule).ok_or_else(|| EngineError::NoSuchRule(rule.clone()))?;
    let mut preview = Preview::default();
    for tenant in tenants_of(&previewer.generation.catalog) {
        previewer.tenant(compiled, &tenant, scope, &mut preview).await?;
    }
    Ok(preview)
}

impl Previewer<'_> {
    async fn tenant(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        scope: &PreviewScope,
        preview: &mut Preview,
    ) -> Result<(), EngineError> {
        let crossings = self.crossings(rule, (tenant, Lane::Live), scope, preview).await?;
        let subjects: Vec<Subject> =
            crossings.iter().map(|crossing| evaluate::subject(rule, crossing, self.now)).collect();
        let answers = evaluate::ask(self.source, rule, tenant, &subjects, self.now).await?;
        let standings = self.standings(rule, tenant, Lane::Live, &crossings).await?;
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
                    let known = standing == Standing::Known;
                    let messages = self.messages(rule, &record, crossing, &facts).await?;
                    let (occasion, crossed_at) = (crossing.occasion.clone(), crossing.crossed_at);
                    preview.matches.push(PreviewMatch { record, occasion, crossed_at, known, messages });
                }
                (Some(reason), _) => preview.misses.push((record, crossing.occasion.clone(), reason)),
                (None, Answer::Gone | Answer::Unreadable(_)) => {}
            }
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

    /// How the rule stands, where the state knows it by this definition.
    async fn adopted(
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

    pub(super) async fn messages(
        &self,
        rule: &CompiledRule,
        record: &RecordId,
        crossing: &Crossing,
        facts: &Facts,
    ) -> Result<Vec<PreviewMessage>, EngineError> {
        let mut claimed = self.claimed(rule, record, crossing, 0);
        let facts = &*joined(Arc::new(facts.clone()), &claimed.saved);
        let mut messages = Vec::new();
        let first = rule.rule.entries.get(crossing.entry).and_then(|entry| entry.first);
        let (entered_at, of) = (claimed.entered_at, record);
        let way = Way { rule: &rule.rule, zone: &facts.zone, entered_at, record: of };
        let mut then = way.walk(first, self.now).then;
        let neutral = Sending::default();
        let sending = self.sending.unwrap_or(&neutral);
        let unhurried = |_: Channel, _: &str| None;
        // What it would have sent by then counts under the caps as well.
        let mut sends: Vec<(ContactId, DeliveryId, Timestamp)> = Vec::new();
        // Rules have no way back, so this many steps are all there can be; a wait is looked at up to three times, and
        // a message may be put off by the window, and again by the caps.
        for _ in 0..=PUT_OFF * rule.rule.nodes.len() {
            let (node, due_at, planned_at, since) = match then {
                Then::Advance { node, due_at, planned_at } => (node, due_at, planned_at, None),
                // What is true now stays so, as far as anybody can tell: on to its end.
                Then::Wait { node, planned_at, since, .. } => (node, planned_at, planned_at, Some(since)),
                _ => break,
            };
            claimed = Claimed { node, due_at, planned_at, since, ..claimed };
            let addressed = self.addressed(rule, (node, facts), sending, record);
            let hashes: Vec<AddressHash> = addressed.hashes().collect();
            let said = said(self.store, &rule.rule, &hashes).await?.of_topic;
            let mut contact = self.contact(addressed.mail_contact, sending, due_at).await?;
            let mut text_contact = self.contact(addressed.text_contact, sending, due_at).await?;
            for standing in contact.iter_mut().chain(&mut text_contact) {
                let ours = sends.iter().filter(|(contact, ..)| *contact == standing.contact);
                standing.sends.extend(ours.map(|(_, delivery, at)| (*delivery, *at)));
            }
            let hash = addressed.email;
            let situation = Situation {
                rule: &rule.rule,
                claimed: &claimed,
                node,
                facts: Some(facts),
                now: due_at,
                suppressed: self.suppressed(hash).await?,
                said: hash.and_then(|hash| said.get(&hash)),
                task_open: self.task_open(rule, node, record, facts).await?,
                number: Line {
                    suppressed: self.suppressed(addressed.sms).await?,
                    said: addressed.sms.and_then(|hash| said.get(&hash)),
                    contact: text_contact.as_ref(),
                },
                moment: Moment {
                    sending,
                    delivery: self.delivery(rule, &claimed),
                    contact: contact.as_ref(),
                    pace: &unhurried,
                },
            };
            let Some(place) = rule.rule.nodes.get(node) else { break };
            let after = |at| way.walk(place.next, at).then;
            let (kind, content) = match decide(&situation) {
                Decision::Move { then: next, .. } => {
                    then = next;
                    continue;
                }
                Decision::Refuse { outcome: outcome @ Outcome::Postponed { until, .. }, .. } => {
                    then = Then::Advance { node, due_at: until.max(due_at), planned_at };
                    (kind_of(&place.step), Err(refusal(&outcome)))
                }
                Decision::Refuse { outcome, then: next, .. } => {
                    then = next;
                    (kind_of(&place.step), Err(refusal(&outcome)))
                }
                Decision::Enroll { walked, .. } => {
                    then = walked.then;
                    continue;
                }
                Decision::Broken(reason) => {
                    then = after(due_at);
                    (kind_of(&place.step), Err(reason))
                }
                Decision::Act { action, to, .. } => {
                    then = after(due_at);
                    let standing = if matches!(action, Action::Sms(_)) { &text_contact } else { &contact };
                    if let Some(standing) = standing.as_ref().filter(|_| counts(&rule.rule, to)) {
                        sends.push((standing.contact, self.delivery(rule, &claimed), due_at));
                    }
                    (kind(action), self.render(rule, &claimed, facts, action, to))
                }
            };
            messages.push(PreviewMessage { step: place.id.clone(), kind, due_at, content });
        }
        Ok(messages)
    }

    pub(super) fn render(
        &self,
        rule: &CompiledRule,
        claimed: &Claimed,
        facts: &Facts,
        action: &Action,
        to: Option<&PersonFacts>,
    ) -> Result<Message, String> {
        let enriched = rule.script.as_ref().map(|script| script.enrich(facts, claimed.due_at)).transpose();
        let enriched = enriched.map_err(|error| error.to_string())?.flatten();
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
            rows: &[],
            more: 0,
        };
        draft.render(action).map_err(|error| error.to_string())
    }

    fn delivery(&self, rule: &CompiledRule, claimed: &Claimed) -> DeliveryId {
        let step = rule.rule.nodes.get(claimed.node).map_or_else(|| StepId::from("?"), |node| node.id.clone());
        self.store.secret().delivery_id(claimed.match_id, &step, claimed.iteration)
    }

    /// What the caps count for a person on a channel.
    async fn contact(
        &self,
        contact: Option<ContactId>,
        sending: &Sending,
        now: Timestamp,
    ) -> Result<Option<ContactStanding>, EngineError> {
        let Some(contact) = contact else { return Ok(None) };
        let mut found = self.store.standings_of(&[contact], since(sending, now), now).await?.pop();
        // Nobody goes first in what is only looked at.
        if let Some(standing) = &mut found {
            standing.waiting.clear();
        }
        Ok(found)
    }

    /// Of who gets the message of this step, if it is one.
    fn addressed(
        &self,
        rule: &CompiledRule,
        (node, facts): (usize, &Facts),
        sending: &Sending,
        record: &RecordId,
    ) -> Addressed {
        let action = rule.rule.nodes.get(node).and_then(|node| node.step.action());
        let of = |action| Addressed::of(&rule.rule, action, (facts, &record.tenant), sending, self.store.secret());
        action.map_or_else(Addressed::default, of)
    }

    async fn suppressed(
        &self,
        hash: Option<AddressHash>,
    ) -> Result<Option<crate::model::SuppressionReason>, EngineError> {
        let Some(hash) = hash else { return Ok(None) };
        Ok(self.store.suppressed(&[hash]).await?.first().map(|entry| entry.reason))
    }

    async fn task_open(
        &self,
        rule: &CompiledRule,
        node: usize,
        record: &RecordId,
        facts: &Facts,
    ) -> Result<bool, EngineError> {
        let action = rule.rule.nodes.get(node).and_then(|node| node.step.action());
        let which: Option<UnlessOpen> = action.and_then(Action::task).and_then(|task| task.unless_open);
        let Some(which) = which else { return Ok(false) };
        let open = open_tasks(self.source, self.store, self.generation, rule, &record.tenant, &[facts], which).await?;
        Ok(open.contains(&record.key))
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

/// Whether a mail of the rule to that person counts under the caps.
fn counts(rule: &CheckedRule, to: Option<&PersonFacts>) -> bool {
    matches!(rule.purpose, Purpose::Topic(_)) && to.is_some_and(|person| !person.staff)
}

fn kind_of(step: &Step) -> &'static str {
    match step {
        Step::Act(action) => kind(action),
        Step::Wait(_) | Step::Branch { .. } | Step::Split(_) | Step::Enroll(_) | Step::Stop => "step",
    }
}

fn refusal(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Skipped { reason, detail } => format!("skipped ({}): {detail}", reason.as_str()),
        Outcome::Ended { reason, detail } => format!("ended ({}): {detail}", reason.as_str()),
        Outcome::Postponed { until, reason } => format!("postponed until {}: {reason}", until.strftime("%F %H:%MZ")),
        other => other.as_str().to_owned(),
    }
}
