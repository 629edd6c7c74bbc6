//! What a rule writes, as statements that the database plans and doesn't run: it says now whether it would refuse them.

use super::{Decided, Update, Updating, consent, update};
use crate::catalog::{Catalog, Column, Consent, ConsentTest, Entity};
use crate::model::{FieldName, Key, RecordId, Tenant};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Step};
use crate::rule::statement::{Dialect, Statement};
use crate::rule::write::{Claiming, NewCell, Others, claim};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Each with what it is about, for people.
#[must_use]
pub fn probes(rule: &CheckedRule, catalog: &Catalog, dialect: Dialect) -> Vec<(String, Statement)> {
    let Some(entity) = catalog.entity(&rule.for_each) else { return Vec::new() };
    let mut found = Vec::new();
    for node in &rule.nodes {
        let Step::Act(action) = &node.step else { continue };
        match action {
            Action::Update(Update { set, add_tags, remove_tags }) => {
                let fields: Vec<FieldName> = set.iter().map(|(field, _)| field.clone()).collect();
                found.extend(of_fields(catalog, dialect, entity, &fields));
                found.extend(of_tags(catalog, dialect, entity, (!add_tags.is_empty(), !remove_tags.is_empty())));
            }
            Action::Assign(assign) => {
                let fields: Vec<FieldName> = assign.set.iter().cloned().collect();
                found.extend(of_fields(catalog, dialect, entity, &fields));
            }
            Action::Claim(taken) => {
                let Some(pool) = catalog.pools.get(&taken.pool) else { continue };
                let (tenant, key) = (Tenant::from(""), Key::from("0"));
                let record = RecordId { tenant, entity: entity.name.clone(), key };
                let fields = BTreeMap::new();
                let (reference, now) = ("0", Timestamp::UNIX_EPOCH);
                let claiming = Claiming { reference, record: &record, fields: &fields, now };
                let [take, _] = claim(catalog, dialect, pool, claiming, Others::Skipped);
                found.push((format!("to take codes from `{}`", pool.table), take));
            }
            Action::Email(_)
            | Action::Webhook(_)
            | Action::Chat(_)
            | Action::Task(_)
            | Action::Sms(_)
            | Action::Preferred(_) => {}
        }
    }
    found.into_iter().map(|(what, statement)| (what, explained(statement))).collect()
}

/// Each entity whose columns keep what its people decide, with those columns, and the statement that writes a yes.
#[must_use]
pub fn consent_probes(catalog: &Catalog, dialect: Dialect) -> Vec<(&Entity, Vec<&Column>, Statement)> {
    let decided = Decided { allowed: true, since: Timestamp::UNIX_EPOCH, email: "nobody@example.com" };
    let mut found = Vec::new();
    for entity in catalog.entities.values() {
        for kept in &entity.consent {
            let statement = consent(catalog, dialect, (entity, &any_key(entity)), kept, decided);
            found.extend(statement.map(|statement| (entity, written_by(kept), explained(statement))));
        }
    }
    found
}

fn written_by(consent: &Consent) -> Vec<&Column> {
    let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &consent.test;
    [column].into_iter().chain(&consent.given_at).collect()
}

/// A key that a record could have.
#[must_use]
pub fn any_key(entity: &Entity) -> Key {
    match entity.key_type {
        crate::catalog::KeyType::Uuid(_) => Key::from("00000000-0000-0000-0000-000000000000"),
        _ => Key::from("0"),
    }
}

/// Planned, and not run.
#[must_use]
pub fn explained(statement: Statement) -> Statement {
    Statement { sql: format!("EXPLAIN {}", statement.sql), binds: statement.binds }
}

fn of_fields(
    catalog: &Catalog,
    dialect: Dialect,
    entity: &Entity,
    fields: &[FieldName],
) -> Option<(String, Statement)> {
    let set: Vec<_> = fields.iter().map(|field| (field.clone(), NewCell::Null)).collect();
    let names: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
    let statement = one(catalog, dialect, entity, &Updating { set, ..Updating::default() })?;
    Some((format!("to write {} of `{}`", names.join(", "), entity.table()?), statement))
}

fn of_tags(
    catalog: &Catalog,
    dialect: Dialect,
    entity: &Entity,
    (adds, removes): (bool, bool),
) -> Vec<(String, Statement)> {
    let table = entity.tags.as_ref().map(|tags| &tags.table);
    let Some(table) = table.or_else(|| entity.table().filter(|_| entity.tag_list.is_some())) else { return Vec::new() };
    let tag = || vec![String::new()];
    let add = adds.then(|| Updating { add_tags: tag(), ..Updating::default() });
    let remove = removes.then(|| Updating { remove_tags: tag(), ..Updating::default() });
    let wanted = add.into_iter().chain(remove);
    let found = wanted.filter_map(|update| one(catalog, dialect, entity, &update));
    found.map(|statement| (format!("to write `{table}`"), statement)).collect()
}

fn one(catalog: &Catalog, dialect: Dialect, entity: &Entity, written: &Updating) -> Option<Statement> {
    let statements = update(catalog, dialect, (entity, &any_key(entity)), written, Timestamp::UNIX_EPOCH, None).ok()?;
    statements.into_iter().next()
}
