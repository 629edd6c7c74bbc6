//! What a cell of an example's row means, and how a throw-away SQLite table keeps it.

use crate::catalog::{
    self, Column, ColumnType, ConsentTest, Entity, Expression, Filter, FilterTest, InstantStorage, Join, Place,
    UuidStorage,
};
use crate::diagnostic::suggest;
use crate::diagnostic::yaml::{Content, Node};
use crate::model::{Period, RelationName, Value};
use crate::rule::check::moment;
use crate::rule::condition::Moment;
use jiff::{Timestamp, tz::TimeZone};
use uuid::Uuid;

/// When a row is read, and what its relative times mean.
#[derive(Debug, Clone, Copy)]
pub struct RowClock<'a> {
    /// Relative times count from here.
    pub now: Timestamp,
    /// Of local times.
    pub zone: &'a TimeZone,
    /// How long ago `long enough ago` is, where the rule's trigger has a length.
    pub long_enough: Option<Period>,
}

/// As long ago as the rule's trigger says: a test that is written so holds when somebody edits the trigger.
const LONG_ENOUGH: &str = "long enough ago";

/// Where a cell's value goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// Into a column of the row's own table.
    Own { column: String, value: Value },
    /// Into a join table: the keys of the related rows.
    Joined { relation: RelationName, keys: Vec<Value> },
}

/// Why a cell can't be what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    pub message: String,
    pub help: Option<String>,
}

impl Misplaced {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

/// Reads one cell.
pub fn read_cell(
    entity: &Entity,
    (name, node): (&str, &Node),
    source: &str,
    clock: RowClock<'_>,
) -> Result<Put, Misplaced> {
    let read = |column: &Column| own(column, node, source, clock);
    if name == "key" {
        return read(&entity.key);
    }
    if let Some(relation) = entity.relations.get(name) {
        return match &relation.join {
            Join::Through(_) | Join::AnyOf(_) => {
                let ty = last_column(&relation.join).map_or(&ColumnType::Unknown, |column| &column.ty);
                let items = match &node.content {
                    Content::List(items) => items.as_slice(),
                    _ => std::slice::from_ref(node),
                };
                let keys = items.iter().map(|item| constant(ty, item, source, clock)).collect::<Result<_, _>>()?;
                Ok(Put::Joined { relation: relation.name.clone(), keys })
            }
            Join::By(field) => Err(Misplaced::new(
                format!("`{name}` is a relation"),
                format!("give the related rows: `{}: [{{{field}: 1}}]`", relation.entity),
            )),
            Join::To(field) => {
                Err(Misplaced::new(format!("`{name}` is a relation"), format!("give its field `{field}`")))
            }
        };
    }
    let by_role = match name {
        "at" => entity.at.as_ref(),
        "score" => entity.score.as_ref(),
        _ => None,
    };
    let field = entity.fields.get(name).or_else(|| entity.fields.get(by_role?));
    let expression = field.map(|field| &field.expression);
    if let Some(Expression::Column(column) | Expression::Means { column, .. }) = expression
        && let Place::LookUp(look_up) = &column.place
    {
        let message = format!("`{name}` is looked up in `{}`", look_up.entity);
        return Err(Misplaced::new(message, format!("give that row, and its key as `{}` here", look_up.by.name)));
    }
    match expression {
        Some(Expression::Column(column)) => read(column),
        Some(Expression::Means { column, words }) => {
            let text = node.text(source).unwrap_or_default();
            let word = words.iter().find(|(word, _)| *word == text);
            let literal = word.and_then(|(_, literals)| literals.first());
            if let Some(literal) = literal {
                return Ok(Put::Own { column: column.name.clone(), value: stored(literal.value.clone(), &column.ty) });
            }
            let is_stored = words.iter().flat_map(|(_, literals)| literals).any(|literal| literal.text == text);
            if is_stored || is_missing(node, source) {
                return read(column);
            }
            let help = suggest::help(&text, words.iter().map(|(word, _)| word.as_str()));
            Err(Misplaced { message: format!("`{name}` is never `{text}`"), help })
        }
        Some(Expression::Aggregate(aggregate)) => Err(Misplaced::new(
            format!("`{name}` is computed"),
            format!("give the rows of `{}` that it is computed from", aggregate.relation),
        )),
        None => match person_column(entity, name) {
            Some(column) => read(column),
            // Columns that the catalog doesn't list are reachable by their own name.
            None => read(&Column::named(name)),
        },
    }
}

/// What holds the keys of related rows. The last way counts: a test's own stands there.
fn last_column(join: &Join) -> Option<&Column> {
    match join {
        Join::Through(path) => path.hops.last().map(|hop| &hop.to),
        Join::AnyOf(ways) => ways.iter().rev().find_map(last_column),
        Join::By(_) | Join::To(_) => None,
    }
}

/// What a person's row is asked for, by the catalog's word: `first_name`.
#[must_use]
pub fn person_column<'a>(entity: &'a Entity, word: &str) -> Option<&'a Column> {
    let person = entity.person.as_ref()?;
    match word {
        "email" => person.email.as_ref(),
        "phone" => person.phone.as_ref(),
        "first_name" => person.first_name.as_ref(),
        "last_name" => person.last_name.as_ref(),
        "zone" => person.zone.as_ref(),
        "locale" => person.locale.as_ref(),
        _ => None,
    }
}

/// Whether the catalog names a column of this entity beside its fields: a person's, of a consent, of the base
/// filter.
#[must_use]
pub fn names_column(entity: &Entity, name: &str) -> bool {
    let person = entity.person.iter().flat_map(|person| {
        [&person.email, &person.phone, &person.first_name, &person.last_name, &person.zone, &person.locale]
    });
    let consents = entity.consent.iter().flat_map(|consent| {
        let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &consent.test;
        [Some(column), consent.given_at.as_ref()]
    });
    let filters = entity.only.iter().map(|filter| &filter.column);
    let columns = person.filter_map(Option::as_ref).chain(consents.flatten()).chain(filters);
    columns.into_iter().any(|column| column.name == name)
}

fn is_missing(node: &Node, source: &str) -> bool {
    node.is_null(source) || (node.is_plain(source) && node.text(source).as_deref() == Some("missing"))
}

fn own(column: &Column, node: &Node, source: &str, clock: RowClock<'_>) -> Result<Put, Misplaced> {
    let value = constant(&column.ty, node, source, clock)?;
    Ok(Put::Own { column: column.name.clone(), value })
}

fn constant(ty: &ColumnType, node: &Node, source: &str, clock: RowClock<'_>) -> Result<Value, Misplaced> {
    if is_missing(node, source) {
        return Ok(Value::Null);
    }
    if let (ColumnType::Json, Content::List(_) | Content::Map(_)) = (ty, &node.content) {
        return Ok(Value::Text(node.to_json(source).to_string()));
    }
    let Some(text) = node.text(source) else {
        return Err(Misplaced::new(format!("expected a value, found {}", node.kind()), "write a single value here"));
    };
    let value = if ty.is_time() {
        if text.trim() == LONG_ENOUGH && clock.long_enough.is_none() {
            let help = "write how long: `90 days ago`";
            return Err(Misplaced::new("the trigger of this rule has no length of time", help));
        }
        time(ty, text.trim(), clock)
    } else if let ColumnType::Uuid(_) = ty {
        key_uuid(&text).map(Value::Uuid)
    } else {
        let bytes = || key_uuid(&text).filter(|_| *ty == ColumnType::Bytes);
        let value = catalog::value(&text, node.is_plain(source), ty, clock.zone).ok();
        value.or_else(|| bytes().map(|id| Value::Bytes(id.as_bytes().to_vec())))
    };
    let value = value.ok_or_else(|| Misplaced {
        message: format!("`{text}` is not {}", ty.in_words()),
        help: ty
            .is_time()
            .then(|| "or relative to `at`: `now`, `90 days ago`, `long enough ago`, `in 30 days`".to_owned()),
    })?;
    Ok(stored(value, ty))
}

/// Keys of an example are only names, so a small number does for one.
fn key_uuid(text: &str) -> Option<Uuid> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse().ok().map(Uuid::from_u128))
}

fn time(ty: &ColumnType, text: &str, RowClock { now, zone, long_enough }: RowClock<'_>) -> Option<Value> {
    let today = now.to_zoned(zone.clone()).date();
    let moment = match long_enough.filter(|_| text == LONG_ENOUGH) {
        Some(period) => Moment::Ago(period),
        None => moment(text, zone)?,
    };
    if let ColumnType::Date(_) = ty {
        return Some(Value::Date(match moment {
            Moment::On(date) => date,
            Moment::At(instant) => instant.to_zoned(zone.clone()).date(),
            Moment::Now | Moment::Today => today,
            Moment::Ago(period) => period.before_date(today),
            Moment::Ahead(period) => period.after_date(today),
        }));
    }
    Some(Value::Instant(match moment {
        Moment::At(instant) => instant,
        Moment::On(date) => crate::model::at_local(date.at(0, 0, 0, 0), zone),
        Moment::Now => now,
        Moment::Today => crate::model::at_local(today.at(0, 0, 0, 0), zone),
        Moment::Ago(period) => period.before(now, zone),
        Moment::Ahead(period) => period.after(now, zone),
    }))
}

/// A value as a column of that type keeps it.
#[must_use]
pub fn stored(value: Value, ty: &ColumnType) -> Value {
    match (ty, value) {
        (ColumnType::BoolText, Value::Bool(flag)) => Value::Text(if flag { "Y" } else { "N" }.to_owned()),
        (ColumnType::NumberText, Value::Decimal(number)) => Value::Text(number.to_string()),
        (ColumnType::Uuid(UuidStorage::Binary), Value::Uuid(id)) => Value::Bytes(id.as_bytes().to_vec()),
        (ColumnType::Instant(InstantStorage::EpochSeconds), Value::Instant(instant)) => Value::Int(instant.as_second()),
        (ColumnType::Instant(InstantStorage::EpochMillis), Value::Instant(instant)) => {
            Value::Int(instant.as_millisecond())
        }
        (_, value) => value,
    }
}

/// What a row that says nothing else holds in a filtered column, so that it is a record.
#[must_use]
pub fn default_for(filter: &Filter, now: Timestamp) -> Value {
    let ty = &filter.column.ty;
    match &filter.test {
        FilterTest::In(literals) => literals.first().map_or(Value::Null, |literal| stored(literal.value.clone(), ty)),
        FilterTest::Missing => Value::Null,
        FilterTest::Present => something(ty, 0, now),
        FilterTest::NotIn(literals) => {
            let taken: Vec<Value> = literals.iter().map(|literal| stored(literal.value.clone(), ty)).collect();
            let free = (0..=taken.len()).map(|number| something(ty, number, now)).find(|value| !taken.contains(value));
            free.unwrap_or(Value::Null)
        }
    }
}

/// Some value of a type; another one for every number.
fn something(ty: &ColumnType, number: usize, now: Timestamp) -> Value {
    let number = number as i64;
    let value = match ty {
        ColumnType::Bool | ColumnType::BoolText => Value::Bool(number % 2 == 0),
        ColumnType::Int | ColumnType::Decimal | ColumnType::Float => Value::Int(number),
        ColumnType::Date(_) => Value::Date(now.to_zoned(TimeZone::UTC).date()),
        ColumnType::Instant(_) => Value::Instant(now),
        ColumnType::Bytes => Value::Bytes(vec![number as u8]),
        ColumnType::Uuid(_) => Value::Uuid(Uuid::from_u128(number as u128)),
        ColumnType::Unknown | ColumnType::Text | ColumnType::Json | ColumnType::NumberText => {
            Value::Text(number.to_string())
        }
    };
    stored(value, ty)
}
