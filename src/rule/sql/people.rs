//! Recipients: the person each role leads to, picked by correlated sub-queries and joined by key.
//!
//! A role is a chain: its own pick, then that of `else`, and so on, then a fixed address. Every pick has
//! a slot; which slot of a chain speaks is decided when the row is read.

use super::fragment::Fragment;
use super::read::{Cells, Meaning};
use super::relation::Doubles;
use super::{RECORD, RenderError, Renderer, dialect, filter};
use crate::catalog::{Column, Consent, ConsentTest, Entity, KeyType, Person, PickOne};
use crate::model::{Key, RoleName, TRACKING, Topic, zone_or_default};
use crate::rule::checked::Purpose;
use crate::rule::compiled::{PersonFacts, ReadError};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// The slots and chains of the roles a rule uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct People {
    slots: Vec<Slot>,
    chains: BTreeMap<RoleName, Chain>,
}

#[derive(Debug, Clone)]
struct Slot {
    role: RoleName,
    key: KeyType,
    /// The record is the person.
    own: bool,
    /// Of email, phone, names, zone and locale, in the order of [`columns`].
    present: [bool; 6],
    /// Whether they say which channel they prefer.
    prefers: bool,
    /// Whether they can agree to being tracked.
    tracked: bool,
}

#[derive(Debug, Clone)]
struct Chain {
    slots: Vec<usize>,
    staff: bool,
    fixed: Option<String>,
}

/// SQL for the slots: sub-queries that yield keys, joins by these keys, and the cells to select.
#[derive(Debug, Default)]
pub(crate) struct PeopleSql {
    pub picks: Vec<Fragment>,
    pub joins: Vec<Fragment>,
    pub cells: Vec<Fragment>,
}

/// What to select of each person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail<'a> {
    /// All, with the consent that this purpose needs.
    All(&'a Purpose),
    Zone,
    /// Whose email address it is.
    Address,
}

const EMAIL: usize = 0;
const ZONE: usize = 4;

fn columns(person: &Person) -> [&Option<Column>; 6] {
    [&person.email, &person.phone, &person.first_name, &person.last_name, &person.zone, &person.locale]
}

impl People {
    /// Follows each role's chain.
    pub fn plan(renderer: &Renderer<'_>, entity: &Entity, roles: &BTreeSet<RoleName>) -> Result<Self, RenderError> {
        let mut people = Self::default();
        for role in roles {
            let chain = people.chain(renderer, entity, role)?;
            people.chains.insert(role.clone(), chain);
        }
        Ok(people)
    }

    fn chain(&mut self, renderer: &Renderer<'_>, entity: &Entity, role: &RoleName) -> Result<Chain, RenderError> {
        let mut chain = Chain { slots: Vec::new(), staff: false, fixed: None };
        let mut asked = BTreeSet::new();
        let mut next = Some(role.clone());
        while let Some(name) = next.take().filter(|name| asked.insert(name.clone())) {
            let missing = || RenderError::Role { entity: entity.name.to_string(), role: name.to_string() };
            let recipient = entity.recipients.get(&name).ok_or_else(missing)?;
            if asked.len() == 1 {
                chain.staff = recipient.staff;
            }
            if let Some(pick) = &recipient.pick {
                chain.slots.push(self.slot(renderer, entity, &name, pick)?);
            }
            chain.fixed = chain.fixed.take().or_else(|| recipient.fixed.clone());
            next.clone_from(&recipient.otherwise);
        }
        Ok(chain)
    }

    fn slot(
        &mut self,
        renderer: &Renderer<'_>,
        entity: &Entity,
        role: &RoleName,
        pick: &PickOne,
    ) -> Result<usize, RenderError> {
        if let Some(known) = self.slots.iter().position(|slot| slot.role == *role) {
            return Ok(known);
        }
        let person = person_entity(renderer, entity, pick)?;
        let mapped = person.person.clone().unwrap_or_default();
        self.slots.push(Slot {
            role: role.clone(),
            key: person.key_type.clone(),
            own: pick.relation.is_none(),
            present: columns(&mapped).map(Option::is_some),
            prefers: mapped.channel.is_some(),
            tracked: agrees_to_tracking(person),
        });
        Ok(self.slots.len() - 1)
    }

    /// The SQL of all slots for the record `r`; keys of picks are `b.pN`.
    pub fn sql(&self, renderer: &Renderer<'_>, entity: &Entity, detail: Detail<'_>) -> Result<PeopleSql, RenderError> {
        let entity = renderer.entity(&entity.name)?;
        let mut sql = PeopleSql::default();
        for (number, slot) in self.slots.iter().enumerate() {
            let Some(pick) = entity.recipients.get(&slot.role).and_then(|recipient| recipient.pick.as_ref()) else {
                continue;
            };
            let person = person_entity(renderer, entity, pick)?;
            let alias = if slot.own { RECORD.to_owned() } else { format!("c{number}_") };
            let key = renderer.key_of(person, &alias);
            if slot.own {
                sql.cells.push(own_key(renderer, &key, pick));
            } else {
                let picked = Fragment::of(&format!("{{}} AS p{number}"), &[&pick_one(renderer, entity, pick)?]);
                sql.picks.push(picked);
                let rows = renderer.rows_of(person, &alias);
                sql.joins.push(Fragment::of(&format!(" LEFT JOIN {{}} ON {{}} = b.p{number}"), &[&rows, &key]));
                sql.cells.push(key);
            }
            details(renderer, person, &alias, detail, &mut sql.cells)?;
        }
        Ok(sql)
    }

    /// Reads the cells of [`People::sql`] with all details.
    pub fn read(&self, cells: &mut Cells<'_>) -> Result<BTreeMap<RoleName, PersonFacts>, ReadError> {
        let mut people = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            people.push(slot.read(cells)?);
        }
        let mut found = BTreeMap::new();
        for (role, chain) in &self.chains {
            let person = chain.slots.iter().find_map(|slot| people[*slot].clone());
            let person = person.or_else(|| {
                let email = chain.fixed.clone()?;
                Some(PersonFacts { email: Some(email), ..PersonFacts::default() })
            });
            found.insert(role.clone(), PersonFacts { staff: chain.staff, ..person.unwrap_or_default() });
        }
        Ok(found)
    }

    /// Reads the cells of [`People::sql`] with [`Detail::Address`]: the people that stand behind the roles, each with the
    /// role that picks them.
    pub fn read_addresses(&self, cells: &mut Cells<'_>) -> Result<Vec<(RoleName, Key, String)>, ReadError> {
        let mut found = Vec::new();
        for slot in &self.slots {
            let key = cells.optional_key(&slot.key)?;
            let email = if slot.present[EMAIL] { cells.text()? } else { None };
            found.extend(key.zip(email).map(|(key, email)| (slot.role.clone(), key, email)));
        }
        Ok(found)
    }

    /// Reads the cells of [`People::sql`] with [`Detail::Zone`]: the zone of the person `role` leads to.
    pub fn read_zone(
        &self,
        cells: &mut Cells<'_>,
        role: Option<&RoleName>,
        default: &TimeZone,
    ) -> Result<TimeZone, ReadError> {
        let mut zones = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let key = cells.optional_key(&slot.key)?;
            let zone = if slot.present[ZONE] { cells.text()? } else { None };
            zones.push(key.map(|_| zone));
        }
        let chain = role.and_then(|role| self.chains.get(role));
        let zone = chain.and_then(|chain| chain.slots.iter().find_map(|slot| zones[*slot].clone()));
        Ok(zone_or_default(zone.flatten().as_deref(), default).0)
    }
}

impl Slot {
    fn read(&self, cells: &mut Cells<'_>) -> Result<Option<PersonFacts>, ReadError> {
        let key: Option<Key> = cells.optional_key(&self.key)?;
        let mut texts: [Option<String>; 6] = Default::default();
        for (text, _) in texts.iter_mut().zip(self.present).filter(|(_, present)| *present) {
            *text = cells.text()?;
        }
        let [email, phone, first_name, last_name, zone, locale] = texts;
        let (email_consent, phone_consent) = (cells.boolean()?, cells.boolean()?);
        let channel = if self.prefers { cells.text()? } else { None };
        let tracking_consent = if self.tracked { cells.boolean()? } else { None };
        Ok(key.map(|key| PersonFacts {
            key: Some(key),
            email,
            phone,
            first_name,
            last_name,
            zone,
            locale,
            email_consent,
            phone_consent,
            tracking_consent,
            staff: false,
            suppressed: None,
            listed_numbers: Vec::new(),
            channel,
        }))
    }
}

fn person_entity<'a>(renderer: &Renderer<'a>, entity: &Entity, pick: &PickOne) -> Result<&'a Entity, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    match &pick.relation {
        Some(relation) => renderer.entity(&Renderer::relation(entity, relation)?.entity),
        None => Ok(entity),
    }
}

/// The record's own key where it passes the role's filter.
fn own_key(renderer: &Renderer<'_>, key: &Fragment, pick: &PickOne) -> Fragment {
    let passes = filter::all_of(renderer, RECORD, &pick.only);
    if passes.is_empty() {
        key.clone()
    } else {
        Fragment::of("(CASE WHEN {} THEN {} END)", &[&Fragment::all(&passes), key])
    }
}

/// The key of the first related person after filter and order, then by key.
fn pick_one(renderer: &Renderer<'_>, entity: &Entity, pick: &PickOne) -> Result<Fragment, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let Some(relation) = &pick.relation else { return Ok(renderer.key_of(entity, RECORD)) };
    let mut rows = renderer.related(entity, RECORD, relation, Doubles::Harmless)?;
    rows.conditions.extend(filter::all_of(renderer, &rows.alias, &pick.only));
    let mut order = Vec::new();
    for rank in &pick.order {
        let (cell, _) = renderer.sortable(&renderer.column_operand(&rows.alias, &rank.column));
        order.push(Fragment::of(if rank.nulls_last { "({} IS NULL)" } else { "({} IS NOT NULL)" }, &[&cell]));
        order.push(Fragment::of(if rank.descending { "{} DESC" } else { "{}" }, &[&cell]));
    }
    let key = renderer.key_of(rows.entity, &rows.alias);
    order.push(key.clone());
    let order = Fragment::join(&order, ", ");
    Ok(dialect::first_of(renderer.dialect, &key, &rows.from, &rows.conditions, &order))
}

fn details(
    renderer: &Renderer<'_>,
    person: &Entity,
    alias: &str,
    detail: Detail<'_>,
    cells: &mut Vec<Fragment>,
) -> Result<(), RenderError> {
    let mapped = person.person.clone().unwrap_or_default();
    let select =
        |column: &Column| -> (Fragment, Meaning) { renderer.selected(&renderer.column_operand(alias, column)) };
    let purpose = match detail {
        Detail::All(purpose) => purpose,
        Detail::Zone => {
            cells.extend(mapped.zone.as_ref().map(|column| select(column).0));
            return Ok(());
        }
        Detail::Address => {
            cells.extend(mapped.email.as_ref().map(|column| select(column).0));
            return Ok(());
        }
    };
    cells.extend(columns(&mapped).into_iter().flatten().map(|column| select(column).0));
    for channel in ["email", "phone"] {
        cells.push(match purpose {
            Purpose::Topic(topic) => consent(renderer, person, alias, channel, topic),
            Purpose::Service | Purpose::Staff => Fragment::text("NULL"),
        });
    }
    if let Some(channel) = &mapped.channel {
        cells.push(renderer.selected(&renderer.operand(person, alias, channel)?).0);
    }
    if agrees_to_tracking(person) {
        cells.push(consent(renderer, person, alias, "email", &Topic::from(TRACKING)));
    }
    Ok(())
}

/// A consent to all topics is none to being tracked: it takes a column of its own.
fn agrees_to_tracking(person: &Entity) -> bool {
    let is_own = |consent: &Consent| consent.topic.as_ref().is_some_and(|topic| topic.as_str() == TRACKING);
    person.consent.iter().any(|consent| consent.channel == "email" && is_own(consent))
}

/// True where everything the catalog maps for this channel and topic says yes; null where it maps nothing.
fn consent(renderer: &Renderer<'_>, person: &Entity, alias: &str, channel: &str, topic: &Topic) -> Fragment {
    let concerns =
        |consent: &&Consent| consent.channel == channel && consent.topic.as_ref().is_none_or(|mapped| mapped == topic);
    let tests: Vec<Fragment> = person
        .consent
        .iter()
        .filter(concerns)
        .map(|consent| {
            let (column, wanted) = match &consent.test {
                ConsentTest::Is(column) => (column, "TRUE"),
                ConsentTest::Not(column) => (column, "FALSE"),
            };
            let operand = renderer.column_operand(alias, column);
            let boolean = dialect::boolean(renderer.dialect, &renderer.shown(&operand), &operand.ty);
            Fragment::of(&format!("({{}} = {wanted})"), &[&boolean])
        })
        .collect();
    if tests.is_empty() { Fragment::text("NULL") } else { Fragment::all(&tests) }
}
