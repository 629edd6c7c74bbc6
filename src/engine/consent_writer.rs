//! Tells the CRM what people decided by the links of mails, where the catalog says in which column.
//!
//! The page keeps the decision in the state and asks nobody else; here it is carried on, again and again until the source
//! has it. A link names its mail, the mail its records, and a record leads to the person whose address it is: by the roles of
//! the catalog, for the rule that sent the mail may be gone by now. Where that leads to nobody (the mail is forgotten, the
//! person belongs to another record), whoever has the address is looked for among all people.

use super::context::{Context, tenants_of};
use super::error::EngineError;
use super::event::Event;
use super::own_writes::{Hand, WriteError, Written};
use super::port::{Owed, SourceError};
use crate::catalog::{Catalog, Consent, Entity};
use crate::model::{Channel, DeliveryId, EntityName, Key, Preference, RecordId, RoleName, TRACKING, Tenant, Topic};
use crate::rule::generation::Generation;
use crate::rule::write::{Addressees, Decided, consent, members, read_member};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Decisions carried at a time.
const BATCH: usize = 200;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// How long one rests that the source didn't take, at first and at most.
const REST: SignedDuration = SignedDuration::from_mins(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// Records of one table, each with the decisions whose mails tell of it, by their places.
type Group = BTreeMap<Key, Vec<usize>>;

/// A row of the CRM with its address.
type Person = (EntityName, Key, String);

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
        if owed.is_empty() {
            return Ok(carried);
        }
        let mut round = Round::of(context, &generation, owed).await?;
        round.by_mails().await?;
        round.by_addresses().await?;
        carried += round.conclude().await?;
        if !full {
            return Ok(carried);
        }
    }
}

/// What has become of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Nobody with its address was found yet.
    Sought,
    Written,
    /// The source didn't take it, or not all of it.
    Later,
}

/// Decisions that are carried together.
struct Round<'a> {
    context: &'a Context,
    generation: &'a Generation,
    owed: Vec<Owed>,
    fates: Vec<Fate>,
    /// All that these people have said.
    said: Vec<Preference>,
    refusal: Option<String>,
}

impl<'a> Round<'a> {
    async fn of(context: &'a Context, generation: &'a Generation, owed: Vec<Owed>) -> Result<Self, EngineError> {
        let hashes: Vec<_> = owed.iter().map(|owed| owed.hash).collect();
        let said = context.store.preferences(&hashes).await?;
        let mut round = Self { context, generation, fates: Vec::new(), owed, said, refusal: None };
        let entities: Vec<&Entity> = generation.catalog.entities.values().collect();
        let is_kept = |owed: &Owed| entities.iter().any(|entity| !round.columns(entity, owed).is_empty());
        // What no column of the catalog is about holds in the state, and there is nothing to tell.
        round.fates = round.owed.iter().map(|owed| if is_kept(owed) { Fate::Sought } else { Fate::Written }).collect();
        Ok(round)
    }

    /// The columns of this entity that a decision is written to.
    fn columns<'e>(&self, entity: &'e Entity, owed: &Owed) -> Vec<&'e Consent> {
        let kept = |consent: &&Consent| consent.write_back.is_some() && is_about(consent, owed, &self.said);
        entity.consent.iter().filter(kept).collect()
    }

    fn sought(&self) -> Vec<usize> {
        (0..self.owed.len()).filter(|place| self.fates[*place] == Fate::Sought).collect()
    }

    fn comes_to(&mut self, place: usize, fate: Fate) {
        self.fates[place] = self.fates[place].max(fate);
    }

    /// To the people that the records of their mails lead to.
    async fn by_mails(&mut self) -> Result<(), EngineError> {
        let sought = self.sought();
        let deliveries: Vec<DeliveryId> = sought.iter().map(|place| self.owed[*place].delivery).collect();
        let mut groups: BTreeMap<(Tenant, EntityName), Group> = BTreeMap::new();
        for (place, records) in sought.into_iter().zip(self.context.store.mails(&deliveries).await?) {
            for RecordId { tenant, entity, key } in records {
                groups.entry((tenant, entity)).or_default().entry(key).or_default().push(place);
            }
        }
        for ((tenant, entity), group) in groups {
            // A table that the catalog has no more leads nowhere.
            let Some(entity) = self.generation.catalog.entity(&entity) else { continue };
            let outcome = self.carry_group(&tenant, entity, &group).await;
            self.judge(outcome, group.values().flatten().copied())?;
        }
        Ok(())
    }

    async fn carry_group(&mut self, tenant: &Tenant, entity: &'a Entity, group: &Group) -> Result<(), WriteError> {
        let (catalog, dialect) = (&self.generation.catalog, self.context.source.dialect());
        let keys: Vec<Key> = group.keys().cloned().collect();
        let (mut found, mut refusal) = (HashSet::new(), None);
        for role in entity.recipients.keys() {
            let Some(asked) = Addressees::of(catalog, dialect, entity, role, &keys) else { continue };
            match self.led_to(tenant, entity, &asked).await {
                Ok(people) => found.extend(people),
                // One role whose tables have changed keeps nobody from those that the others lead to.
                Err(SourceError::Refused(reason)) => refusal = Some(reason),
                Err(error) => return Err(error.into()),
            }
        }
        let places: HashSet<usize> = group.values().flatten().copied().collect();
        self.write_all(tenant, &found, &places).await?;
        if let Some(reason) = refusal {
            self.refusal = Some(reason);
            for place in places.into_iter().filter(|place| self.fates[*place] == Fate::Sought).collect::<Vec<_>>() {
                self.comes_to(place, Fate::Later);
            }
        }
        Ok(())
    }

    /// The people that these records lead to by one role.
    async fn led_to(&self, tenant: &Tenant, entity: &Entity, asked: &Addressees) -> Result<Vec<Person>, SourceError> {
        let (catalog, mut people) = (&self.generation.catalog, Vec::new());
        let mut rows = self.context.source.rows(tenant, asked.statement.clone());
        while let Some(row) = rows.try_next().await? {
            // Nobody can be told by a row that isn't readable.
            for person in asked.read(&row).unwrap_or_default() {
                let of = person_of(catalog, entity, &person.role).map(|of| of.name.clone());
                people.extend(of.map(|of| (of, person.key, person.email)));
            }
        }
        Ok(people)
    }

    /// To whoever has their addresses.
    async fn by_addresses(&mut self) -> Result<(), EngineError> {
        let catalog = &self.generation.catalog;
        for tenant in tenants_of(catalog) {
            for entity in catalog.entities.values() {
                let is_meant = |place: &usize| !self.columns(entity, &self.owed[*place]).is_empty();
                let places: HashSet<usize> = self.sought().into_iter().filter(is_meant).collect();
                let has_addresses = entity.person.as_ref().and_then(|person| person.email.as_ref()).is_some();
                if places.is_empty() || !has_addresses {
                    continue;
                }
                let outcome = self.seek(&tenant, entity, &places).await;
                self.judge(outcome, places)?;
            }
        }
        Ok(())
    }

    async fn seek(&mut self, tenant: &Tenant, entity: &Entity, places: &HashSet<usize>) -> Result<(), WriteError> {
        let (catalog, context) = (&self.generation.catalog, self.context);
        let asked = members(catalog, context.source.dialect(), &entity.name, &[], context.clock.now());
        let hashes: HashSet<_> = places.iter().map(|place| self.owed[*place].hash).collect();
        let mut found = HashSet::new();
        let mut rows = match asked {
            Some(asked) => context.source.rows(tenant, asked),
            None => return Ok(()),
        };
        while let Some(row) = rows.try_next().await? {
            let Ok(member) = read_member(catalog, &entity.name, &row) else { continue };
            let Some((key, email)) = member.key.zip(member.email) else { continue };
            if hashes.contains(&context.store.secret().address_hash(Channel::Email, email.trim())) {
                found.insert((entity.name.clone(), key, email));
            }
        }
        drop(rows);
        self.write_all(tenant, &found, places).await
    }

    /// Writes what was decided at these places into the rows of whoever of them has its address.
    async fn write_all(
        &mut self,
        tenant: &Tenant,
        people: &HashSet<Person>,
        places: &HashSet<usize>,
    ) -> Result<(), WriteError> {
        let mut decided: HashMap<_, Vec<usize>> = HashMap::new();
        for place in places {
            decided.entry(self.owed[*place].hash).or_default().push(*place);
        }
        for (entity, key, email) in people {
            let hash = self.context.store.secret().address_hash(Channel::Email, email.trim());
            let Some(entity) = self.generation.catalog.entity(entity) else { continue };
            for place in decided.get(&hash).into_iter().flatten() {
                if self.write(tenant, (entity, key, email), &self.owed[*place]).await? {
                    self.comes_to(*place, Fate::Written);
                }
            }
        }
        Ok(())
    }

    /// Writes one decision into the row of one person; whether the catalog keeps it there.
    async fn write(
        &self,
        tenant: &Tenant,
        (entity, key, email): (&Entity, &Key, &str),
        owed: &Owed,
    ) -> Result<bool, WriteError> {
        let Self { context, generation, .. } = *self;
        let (source, store) = (&*context.source, &*context.store);
        let decided = Decided { allowed: owed.allowed, since: owed.since, email };
        let columns = self.columns(entity, owed).into_iter();
        let statements: Vec<_> = columns
            .filter_map(|column| consent(&generation.catalog, source.dialect(), (entity, key), column, decided))
            .collect();
        if statements.is_empty() {
            return Ok(false);
        }
        let delivery = delivery_of(context, owed, entity, key);
        let hand = Hand { source, store, generation };
        hand.write(Written { tenant, entity, key, delivery }, statements).await?;
        Ok(true)
    }

    /// What the source didn't take is tried again.
    fn judge(
        &mut self,
        outcome: Result<(), WriteError>,
        places: impl IntoIterator<Item = usize>,
    ) -> Result<(), EngineError> {
        let error = match outcome {
            Ok(()) => return Ok(()),
            Err(WriteError::Store(error)) => return Err(error.into()),
            Err(WriteError::Source(error)) => error,
        };
        match &error {
            SourceError::Unavailable(_) => {
                if let Some(event) = self.context.health.failed(&error) {
                    self.context.announce(|| event);
                }
            }
            SourceError::Refused(reason) => self.refusal = Some(reason.clone()),
        }
        places.into_iter().for_each(|place| self.comes_to(place, Fate::Later));
        Ok(())
    }

    /// How many are done with. What reached nobody is told of.
    async fn conclude(self) -> Result<u64, EngineError> {
        let (context, now) = (self.context, self.context.clock.now());
        let (mut done, mut later) = (Vec::new(), Vec::new());
        for (owed, fate) in self.owed.into_iter().zip(self.fates) {
            if fate == Fate::Sought {
                let (delivery, topic) = (owed.delivery, owed.topic.clone());
                context.announce(|| Event::ConsentUnwritten { delivery, topic });
            }
            if fate == Fate::Later { later.push(owed) } else { done.push(owed) }
        }
        if let Some(reason) = self.refusal.filter(|_| !later.is_empty()) {
            context.announce(|| Event::ConsentsPostponed { count: later.len(), reason });
        }
        put_off(context, &later, now).await?;
        context.store.paid(&done, now).await?;
        Ok(done.len() as u64)
    }
}

async fn put_off(context: &Context, owed: &[Owed], now: Timestamp) -> Result<(), EngineError> {
    if owed.is_empty() {
        return Ok(());
    }
    let tries = owed.iter().map(|owed| owed.tries).max().unwrap_or(0).min(10);
    let rest = (REST * 2_i32.pow(tries)).min(LONGEST);
    let due_at = now.saturating_add(rest).unwrap_or(Timestamp::MAX);
    Ok(context.store.owe_later(owed, now, due_at).await?)
}

/// A no to one topic says nothing of others, so it isn't written where the catalog keeps one word for all. A no to all
/// is one to each of them. Whatever the same person said of a topic since goes before.
fn is_about(consent: &Consent, owed: &Owed, said: &[Preference]) -> bool {
    let is_mail = |topic: &Topic| topic.as_str() != TRACKING;
    let of_all = owed.topic.is_none() && !owed.allowed && consent.topic.as_ref().is_none_or(is_mail);
    let is_newer = |said: &Preference| {
        let goes_before = said.topic == consent.topic || said.topic.is_none() && !said.allowed;
        said.hash == owed.hash && said.since > owed.since && goes_before
    };
    consent.channel == "email" && (consent.topic == owed.topic || of_all) && !said.iter().any(is_newer)
}

/// The entity whose people this role picks.
fn person_of<'c>(catalog: &'c Catalog, record: &'c Entity, role: &RoleName) -> Option<&'c Entity> {
    let pick = record.recipients.get(role)?.pick.as_ref()?;
    match &pick.relation {
        None => Some(record),
        Some(relation) => catalog.entity(&record.relations.get(relation)?.entity),
    }
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
