//! A synthetic record, typed by the catalog, for the dry call of a script at load.

use crate::catalog::{Catalog, ColumnType, Entity};
use crate::model::{Key, Value};
use crate::rule::Score;
use crate::rule::checked::CheckedRule;
use crate::rule::compiled::{Facts, PersonFacts};
use jiff::{Timestamp, civil};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) fn facts(catalog: &Catalog, entity: &Entity, rule: &CheckedRule) -> Facts {
    let record = entity
        .fields
        .values()
        .map(|field| (field.name.as_str().to_owned(), value(&catalog.field_type(entity, field))))
        .collect();
    let cases = rule.nodes.iter().enumerate().flat_map(|(node, place)| {
        let count = place.step.conditions().len();
        (0..count).map(move |case| ((node, case), Some(true)))
    });
    let somebody = PersonFacts {
        key: Some(Key::new("1")),
        email: Some("somebody@example.com".to_owned()),
        first_name: Some("Some".to_owned()),
        last_name: Some("Body".to_owned()),
        ..PersonFacts::default()
    };
    Facts {
        key: Key::new("1"),
        conditions: vec![Some(true); rule.conditions.len()],
        only_at_entry: vec![Some(true); rule.only_at_entry.len()],
        goal: rule.goal.as_ref().map(|_| false),
        goal_ever: None,
        exit_when: vec![Some(false); rule.exit_when.len()],
        cases: cases.collect(),
        score: Score::NotAsked,
        record,
        days: BTreeMap::new(),
        recipients: entity.recipients.keys().map(|role| (role.clone(), somebody.clone())).collect(),
        zone: catalog.time_zone.clone(),
        unsaid: crate::rule::compiled::Unsaid::default(),
    }
}

fn value(ty: &ColumnType) -> Value {
    match ty {
        ColumnType::Unknown => Value::Null,
        ColumnType::Bool | ColumnType::BoolText => Value::Bool(true),
        ColumnType::Int => Value::Int(1),
        ColumnType::Decimal | ColumnType::NumberText => Value::Decimal(Decimal::ONE),
        ColumnType::Float => Value::Float(1.0),
        ColumnType::Text | ColumnType::Json => Value::Text("text".to_owned()),
        ColumnType::Uuid(_) => Value::Uuid(Uuid::nil()),
        ColumnType::Bytes => Value::Bytes(vec![0]),
        ColumnType::Date(_) => Value::Date(civil::date(2026, 1, 1)),
        ColumnType::Instant(_) => Value::Instant(Timestamp::UNIX_EPOCH),
    }
}
