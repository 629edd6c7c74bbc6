//! Tells the CRM what people decided by the links of mails, where the catalog says in which column.
//!
//! The page keeps the decision in the state and asks nobody else; here it is carried on, again and again until the source
//! has it. A link names its mail, the mail its record, and the record leads to the person whose address it is.

use super::context::Context;
use super::error::EngineError;
use super::evaluate::{self, Answer};
use super::event::Event;
use super::own_writes::{Hand, WriteError, Written};
use super::port::{Owed, SourceError};
use crate::catalog::{Consent, Entity};
use crate::model::{Channel, DeliveryId, Key, RecordId, RoleName, RuleId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::compiled::{Facts, Subject};
use crate::rule::generation::Generation;
use crate::rule::write::{Decided, consent};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Decisions carried at a time.
const BATCH: usize = 200;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// How long one rests that the source didn't take, at first and at most.
const REST: SignedDuration = SignedDuration::from_mins(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// Decisions of one rule's mails.
type Group = BTreeMap<(RuleId, Tenant), Vec<(Owed, RecordId)>>;

/// Carries what is due; how many decisions are done with.
pub(super) async fn carry(context: &Context) -> Result<u64, EngineError> {
    let generation = context.generation()?;
    // The copy of a state has nothing to say to the CRM.
    if !context.gate.is_open(context).await? {
        return Ok(0);
    }
    let mut carried = 0;
    loop {
        let owed = context.store.take_owed(context.clock.now(), BATCH).await?;
        let full = owed.len() == BATCH;
        let deliveries: Vec<DeliveryId> = owed.iter().map(|owed| owed.delivery).collect();
        if owed.is_empty() {
            return Ok(carried);
        }
        let (mut groups, mut done) = (Group::new(), Vec::new());
        for (owed, mail) in owed.into_iter().zip(context.store.mails(&deliveries).await?) {
            // A mail or a rule that is gone leads nowhere any more; what was said holds in the state.
            match mail.filter(|(rule, _)| generation.rules.contains_key(rule)) {
                Some((rule, record)) => {
                    groups.entry((rule, record.tenant.clone())).or_default().push((owed, record));
                }
                None => done.push(owed),
            }
        }
        for ((rule, tenant), group) in groups {
            done.extend(carry_group(context, &generation, &rule, &tenant, group).await?);
        }
        carried += done.len() as u64;
        context.store.paid(&done, context.clock.now()).await?;
        if !full {
            return Ok(carried);
        }
    }
}

/// Those that are done with. The others are put off.
async fn carry_group(
    context: &Context,
    generation: &Arc<Generation>,
    rule: &RuleId,
    tenant: &Tenant,
    group: Vec<(Owed, RecordId)>,
) -> Result<Vec<Owed>, EngineError> {
    let Some(compiled) = generation.rules.get(rule) else { return Ok(Vec::new()) };
    let now = context.clock.now();
    let subject = |record: &RecordId| Subject { key: record.key.clone(), since: Some(now), entered: None };
    let subjects: Vec<Subject> = group.iter().map(|(_, record)| subject(record)).collect();
    let asked = evaluate::ask(&*context.source, compiled, tenant, &subjects, now).await;
    let answers = match asked {
        Ok(answers) => answers,
        Err(error) => {
            let all: Vec<Owed> = group.into_iter().map(|(owed, _)| owed).collect();
            put_off(context, rule, &all, &error, now).await?;
            return Ok(Vec::new());
        }
    };
    let mut done = Vec::new();
    for ((owed, _), answer) in group.into_iter().zip(answers) {
        let facts = match &answer {
            Answer::Facts(facts) => facts,
            Answer::Gone | Answer::Unreadable(_) => {
                done.push(owed);
                continue;
            }
        };
        match write(context, generation, (compiled, tenant), facts, &owed).await {
            Ok(()) => done.push(owed),
            Err(WriteError::Source(error)) => put_off(context, rule, &[owed], &error, now).await?,
            Err(WriteError::Store(error)) => return Err(error.into()),
        }
    }
    Ok(done)
}

async fn put_off(
    context: &Context,
    rule: &RuleId,
    owed: &[Owed],
    error: &SourceError,
    now: Timestamp,
) -> Result<(), EngineError> {
    match error {
        SourceError::Unavailable(_) => {
            if let Some(event) = context.health.failed(error) {
                context.announce(|| event);
            }
        }
        SourceError::Refused(reason) => {
            context.announce(|| Event::SourceRefused { rule: rule.clone(), reason: reason.clone() });
        }
    }
    let tries = owed.iter().map(|owed| owed.tries).max().unwrap_or(0).min(10);
    let rest = (REST * 2_i32.pow(tries)).min(LONGEST);
    let due_at = now.saturating_add(rest).unwrap_or(Timestamp::MAX);
    Ok(context.store.owe_later(owed, now, due_at).await?)
}

/// Writes one decision into the row of the person, wherever the record leads to that address.
async fn write(
    context: &Context,
    generation: &Generation,
    (rule, tenant): (&CompiledRule, &Tenant),
    facts: &Facts,
    owed: &Owed,
) -> Result<(), WriteError> {
    let catalog = &generation.catalog;
    let Some(record) = catalog.entity(&rule.rule.for_each) else { return Ok(()) };
    let (source, store) = (&*context.source, &*context.store);
    let hand = Hand { source, store, generation };
    for (role, person) in &facts.recipients {
        let (Some(key), Some(email)) = (&person.key, &person.email) else { continue };
        if store.secret().address_hash(Channel::Email, email.trim()) != owed.hash {
            continue;
        }
        for entity in people(generation, record, role) {
            let ours = entity.consent.iter().filter(|consent| is_about(consent, owed));
            let decided = Decided { allowed: owed.allowed, since: owed.since, email };
            let statements =
                ours.filter_map(|consented| consent(catalog, source.dialect(), (entity, key), consented, decided));
            let delivery = delivery_of(context, owed, entity, key);
            hand.write(Written { tenant, entity, key, delivery }, statements.collect()).await?;
        }
    }
    Ok(())
}

/// A no to one topic says nothing of others, so it isn't written where the catalog keeps one word for all.
fn is_about(consent: &Consent, owed: &Owed) -> bool {
    consent.channel == "email" && consent.topic == owed.topic
}

/// The entities that a role, or those that stand in for it, lead to.
fn people<'a>(generation: &'a Generation, record: &'a Entity, role: &RoleName) -> Vec<&'a Entity> {
    let mut found: Vec<&Entity> = Vec::new();
    let mut next = record.recipients.get(role);
    // Roles stand in for each other without going round in a circle; should they, this many are enough.
    for _ in 0..=record.recipients.len() {
        let Some(recipient) = next else { break };
        let entity = recipient.pick.as_ref().and_then(|pick| match &pick.relation {
            None => Some(record),
            Some(relation) => generation.catalog.entity(&record.relations.get(relation)?.entity),
        });
        if let Some(entity) = entity.filter(|entity| found.iter().all(|known| known.name != entity.name)) {
            found.push(entity);
        }
        next = recipient.otherwise.as_ref().and_then(|role| record.recipients.get(role));
    }
    found
}

/// Of its own for each decision and row, and the same for every try.
fn delivery_of(context: &Context, owed: &Owed, entity: &Entity, key: &Key) -> DeliveryId {
    let topic = owed.topic.as_ref().map_or("", |topic| topic.as_str());
    let of = format!("consent {topic} {} {}:{key}", owed.since, entity.name);
    DeliveryId(context.store.secret().value_hash(&owed.hash.0, &of))
}

/// Carries at intervals, until it is dropped.
pub(super) async fn run(context: &Context) {
    loop {
        match carry(context).await {
            Ok(_) | Err(EngineError::NoGeneration) => {}
            Err(error) => context.announce(|| Event::StateFailed { reason: error.to_string() }),
        }
        tokio::time::sleep(EVERY).await;
    }
}
