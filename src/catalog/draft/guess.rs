//! From tables to entities.

use super::join::{Bridge, Names, is_join};
use super::key::{Named, key_of, why_none};
use super::{Draft, Entity, Field, Findings, Listed, Recipient, Relation, Way};
use super::{side, tasks, words};
use crate::catalog::{ColumnSchema, ColumnType, Table, TableSchema};
use std::collections::{BTreeMap, BTreeSet};

/// A first catalog of everything that can be one.
#[must_use]
pub fn draft(findings: Findings<'_>, time_zone: &str) -> Draft {
    let mut draft = Draft { time_zone: time_zone.to_owned(), ..Draft::default() };
    let mut sources: Vec<Source<'_>> = Vec::new();
    let mut joins: Vec<(&Listed, &TableSchema)> = Vec::new();
    for listed in &findings.inventory.tables {
        let Some(live) = findings.schema.table(&listed.table).filter(|live| live.exists) else { continue };
        if words::blocked(&listed.table.name)
            && let Some(email) = live.columns.iter().find(|column| is_address(&column.name))
        {
            draft.suppressions.push((listed.table.clone(), email.name.clone()));
            continue;
        }
        if is_join(listed, live) {
            joins.push((listed, live));
            continue;
        }
        if let Some(key) = key_of(listed, live) {
            sources.push(Source { listed, live, key, name: String::new() });
        } else {
            draft.left_out.push((listed.table.clone(), why_none(live)));
        }
    }
    named(&mut sources);
    let mut names: Names<'_> = sources.iter().map(|source| (&source.listed.table, source.name.clone())).collect();
    let mut bridges: Vec<Bridge> =
        joins.iter().filter_map(|(listed, live)| Bridge::declared(listed, live, &names)).collect();
    sources.retain(|source| {
        let bridge = Bridge::named(source.listed, source.live, &names);
        let stays = bridge.is_none();
        bridges.extend(bridge);
        stays
    });
    names.retain(|table, _| sources.iter().any(|source| source.listed.table == **table));
    draft.entities = sources.iter().map(Source::entity).collect();
    draft.tasks = sources.iter().find(|source| words::tasks(&source.listed.table.name)).map(tasks::read);
    for source in &sources {
        source.relate(&names, &mut draft.entities);
    }
    for bridge in &bridges {
        bridge.relate(&mut draft.entities);
    }
    side::relate(&sources, &mut draft.entities);
    let people: BTreeSet<String> = draft
        .entities
        .iter()
        .filter(|entity| entity.person.iter().any(|(part, _)| *part == "email"))
        .map(|entity| entity.name.clone())
        .collect();
    let firsts: BTreeMap<String, String> = sources
        .iter()
        .filter_map(|source| {
            let first = source.live.columns.iter().find(|column| words::first(&column.name))?;
            // Of a flag that not every row has: nothing comes before something where nobody says otherwise.
            let last = if first.nullable { " nulls last" } else { "" };
            Some((source.name.clone(), format!("{} desc{last}", first.name)))
        })
        .collect();
    for entity in &mut draft.entities {
        recipients(entity, &people, &firsts);
    }
    draft
}

/// A table that becomes an entity.
pub(super) struct Source<'a> {
    pub listed: &'a Listed,
    pub live: &'a TableSchema,
    pub key: Named,
    pub name: String,
}

/// Short names first; where two tables have the same, their schemas tell them apart.
fn named(sources: &mut [Source<'_>]) {
    let prefix = common_prefix(sources);
    let mut taken = BTreeSet::new();
    for source in sources {
        let bare = words::snake(&source.listed.table.name);
        let short = words::singular(bare.strip_prefix(&prefix).filter(|rest| !rest.is_empty()).unwrap_or(&bare));
        let schema = source.listed.table.schema.as_deref().map(words::snake).unwrap_or_default();
        let candidates = [short.clone(), format!("{schema}_{short}"), bare, format!("{schema}_{short}_2")];
        let free = candidates.into_iter().find(|name| !name.is_empty() && !taken.contains(name));
        source.name = free.unwrap_or_else(|| format!("{short}_{}", taken.len()));
        taken.insert(source.name.clone());
    }
}

/// `tbl_` or `crm_`, if every table begins with it.
fn common_prefix(sources: &[Source<'_>]) -> String {
    let mut names = sources.iter().map(|source| words::snake(&source.listed.table.name));
    let Some(prefix) = names.next().and_then(|name| name.split_once('_').map(|(prefix, _)| format!("{prefix}_")))
    else {
        return String::new();
    };
    if sources.len() > 2 && names.all(|name| name.starts_with(&prefix)) { prefix } else { String::new() }
}

fn is_address(column: &str) -> bool {
    words::person(column) == Some("email") || words::snake(column) == "address"
}

impl Source<'_> {
    fn entity(&self) -> Entity {
        let mut entity = Entity {
            name: self.name.clone(),
            table: Some(self.listed.table.clone()),
            key: self.key.column.clone(),
            key_from: self.key.from,
            ..Entity::default()
        };
        let is_survey = words::survey(&self.listed.table.name);
        let mut happened = (0, None);
        for column in &self.live.columns {
            let time = column.ty.is_time();
            let test = test_of(column).filter(|_| !(words::called_off(&column.name) && words::lasting(&self.name)));
            if let Some(test) = test {
                entity.unset |= test.starts_with('[');
                entity.only.push((column.name.clone(), test));
            }
            if let Some(part) = words::person(&column.name).filter(|_| column.ty == ColumnType::Text)
                && !entity.person.iter().any(|(known, _)| *known == part)
            {
                entity.person.push((part, column.name.clone()));
            }
            if let Some((channel, yes)) = words::consent(&column.name).filter(|_| is_flag(column)) {
                entity.consent.push((channel, yes, column.name.clone()));
            }
            let sure = words::happened(&column.name);
            if sure > happened.0 && Self::can_be_time(column, &mut entity) {
                happened = (sure, Some(column.name.clone()));
            }
            if words::changed(&column.name) && entity.updated_at.is_none() && Self::can_be_time(column, &mut entity) {
                entity.updated_at = Some(column.name.clone());
            }
            if words::score(&column.name) && column.ty.is_number() && is_survey {
                entity.score = Some(column.name.clone());
            }
            if is_survey
                && matches!(words::snake(&column.name).as_str(), "kind" | "type")
                && column.ty == ColumnType::Text
            {
                entity.kind = Some(column.name.clone());
            }
            if words::amount(&column.name) && matches!(column.ty, ColumnType::Decimal | ColumnType::Float) {
                entity.amounts.push(column.name.clone());
            }
            if words::due(&column.name)
                && (time || words::names_day(&column.name))
                && Self::can_be_time(column, &mut entity)
            {
                entity.dates.push(column.name.clone());
            }
            if words::birth(&column.name) {
                Self::can_be_time(column, &mut entity);
            }
        }
        entity.at = happened.1;
        // Whoever has a name, and an address by no plain name.
        if !entity.person.is_empty() && !entity.person.iter().any(|(part, _)| *part == "email") {
            let address = |column: &&ColumnSchema| column.ty == ColumnType::Text && words::some_email(&column.name);
            if let Some(column) = self.live.columns.iter().find(address) {
                entity.person.insert(0, ("email", column.name.clone()));
            }
        }
        // Without an address nobody can be written to; names alone are no person.
        if !entity.person.iter().any(|(part, _)| matches!(*part, "email" | "phone")) {
            entity.person.clear();
            entity.consent.clear();
        }
        let channels: Vec<&str> = entity.person.iter().map(|(part, _)| *part).collect();
        entity.consent.retain(|(channel, ..)| channels.contains(channel));
        let mut seen = BTreeSet::new();
        entity.consent.retain(|(channel, ..)| seen.insert(*channel));
        entity
    }

    /// Text and numbers by such a name hold time too, and need to be told so.
    fn can_be_time(column: &ColumnSchema, entity: &mut Entity) -> bool {
        if column.ty.is_time() {
            return true;
        }
        if !can_hold_time(column) || words::clock(&column.name) {
            return false;
        }
        let ty = match &column.ty {
            ColumnType::Int => "epoch_seconds",
            _ if words::names_day(&column.name) => "date_text",
            _ => "instant_text",
        };
        if entity.fields.iter().all(|field| field.name != column.name) {
            entity.fields.push(Field { name: column.name.clone(), column: column.name.clone(), ty });
        }
        true
    }

    /// Foreign keys, and columns whose names say as much.
    fn relate(&self, names: &BTreeMap<&Table, String>, entities: &mut [Entity]) {
        let known: BTreeSet<&String> = names.values().collect();
        for column in &self.live.columns {
            let declared = self.listed.references.iter().find(|reference| reference.column == column.name);
            let theirs = match declared {
                Some(reference) => names.get(&reference.table).cloned(),
                None => words::names_row(&column.name)
                    .filter(|named| known.contains(named) && column.name != self.key.column)
                    .filter(|_| could_be_key(column)),
            };
            let Some(theirs) = theirs else { continue };
            let role = words::names_row(&column.name).unwrap_or_else(|| theirs.clone());
            let guessed = declared.is_none();
            let to =
                Relation { name: role.clone(), entity: theirs.clone(), way: Way::To(column.name.clone()), guessed };
            let many = words::plural(&self.name);
            let many = if role == theirs { many } else { format!("{many}_as_{role}") };
            let by = Relation { name: many, entity: self.name.clone(), way: Way::By(column.name.clone()), guessed };
            if let Some(ours) = entities.iter_mut().find(|entity| entity.name == self.name) {
                push(ours, to, self.live);
            }
            if let Some(entity) = entities.iter_mut().find(|entity| entity.name == theirs) {
                push(entity, by, self.live);
            }
        }
    }
}

/// Under a name that no column of its table and no other relation has.
pub(super) fn push(entity: &mut Entity, mut relation: Relation, live: &TableSchema) {
    let column = |name: &str| {
        entity.table.as_ref() == Some(&live.table) && live.column(name).is_some()
            || entity.fields.iter().any(|field| field.name == name)
    };
    let taken = |name: &str| entity.relations.iter().any(|known| known.name == name);
    let mut number = 2;
    let base = if column(&relation.name) { format!("{}_row", relation.name) } else { relation.name.clone() };
    relation.name.clone_from(&base);
    while taken(&relation.name) {
        relation.name = format!("{base}_{number}");
        number += 1;
    }
    entity.relations.push(relation);
}

fn recipients(entity: &mut Entity, people: &BTreeSet<String>, firsts: &BTreeMap<String, String>) {
    if people.contains(&entity.name) {
        entity.recipients.push(Recipient {
            name: "self".into(),
            first_of: None,
            order: None,
            staff: words::staff(&entity.name),
        });
    }
    for relation in &entity.relations {
        if !people.contains(&relation.entity) {
            continue;
        }
        let staff = words::staff(&relation.entity);
        let many = !matches!(relation.way, Way::To(_));
        // Everybody whom a colleague looks after is no recipient of what is about that colleague.
        if staff != words::staff(&entity.name) || !staff {
            let name = if many && !staff { format!("main_{}", relation.entity) } else { relation.name.clone() };
            if entity.recipients.iter().any(|known| known.name == name) {
                continue;
            }
            let order = firsts.get(&relation.entity).filter(|_| many).cloned();
            entity.recipients.push(Recipient { name, first_of: Some(relation.name.clone()), order, staff });
        }
    }
}

/// The test that keeps rows in that count, for a column that marks those that don't.
pub(super) fn test_of(column: &ColumnSchema) -> Option<String> {
    let (flag, time) = (column.ty == ColumnType::Bool, column.ty.is_time());
    let stamp = time || can_hold_time(column) && column.nullable;
    let test = words::kept(&column.name, flag, time, stamp)
        .filter(|test| flag || time || countable(column) || *test == "missing" && stamp)?;
    // A mark that nobody has set says nothing against the row.
    let unset = column.nullable && test != "missing";
    Some(if unset { format!("[{test}, missing]") } else { test.to_owned() })
}

fn countable(column: &ColumnSchema) -> bool {
    matches!(column.ty, ColumnType::Int) || column.name.contains("merged") || column.name.contains("master")
}

/// SQLite has no type for time, and other databases aren't always asked for theirs.
fn can_hold_time(column: &ColumnSchema) -> bool {
    matches!(column.ty, ColumnType::Text | ColumnType::Int)
}

/// A guess must at least compare with a key; numbers and text do.
pub(super) fn could_be_key(column: &ColumnSchema) -> bool {
    matches!(column.ty, ColumnType::Int | ColumnType::Decimal | ColumnType::Text | ColumnType::Uuid(_))
}

fn is_flag(column: &ColumnSchema) -> bool {
    matches!(column.ty, ColumnType::Bool | ColumnType::Int | ColumnType::Text | ColumnType::BoolText)
}
