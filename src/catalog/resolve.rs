//! Gives columns the types that the live database has, and makes every column of a table reachable by name.

use super::{
    Aggregate, AggregateFunction, Catalog, Column, ColumnType, ConsentTest, DateStorage, Entity, Expression, Field,
    Filter, FilterTest, InsertValue, InstantStorage, Join, KeyType, Literal, Origin, Schema, Table, TableSchema,
    UuidStorage,
};
use crate::model::{EntityName, FieldName};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

impl Catalog {
    /// Every table the catalog names, for asking the database about them.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = BTreeSet::new();
        for entity in self.entities.values() {
            if let Origin::Table(table) = &entity.origin {
                tables.insert(table.clone());
            }
            for relation in entity.relations.values() {
                if let Join::Through { table, .. } = &relation.join {
                    tables.insert(table.clone());
                }
            }
        }
        tables.extend(self.suppressions.iter().map(|suppression| suppression.table.clone()));
        tables.extend(self.tasks.iter().flat_map(|tasks| &tasks.inserts).map(|insert| insert.table.clone()));
        tables.into_iter().collect()
    }

    /// The same catalog with the types of a live database. Undeclared columns become fields.
    #[must_use]
    pub fn with_schema(&self, schema: &Schema) -> Self {
        let live: BTreeMap<EntityName, Option<&TableSchema>> = self
            .entities
            .iter()
            .map(|(name, entity)| (name.clone(), entity.table().and_then(|table| schema.table(table))))
            .collect();
        let resolver = Resolver { zone: &self.time_zone, schema, live: &live };
        let mut catalog = self.clone();
        for entity in catalog.entities.values_mut() {
            resolver.entity(entity);
        }
        for suppression in &mut catalog.suppressions {
            let table = schema.table(&suppression.table);
            for column in [&mut suppression.email, &mut suppression.phone].into_iter().flatten() {
                resolver.column(table, column);
            }
        }
        if let Some(tasks) = &mut catalog.tasks {
            let first = tasks.inserts.first().and_then(|insert| schema.table(&insert.table));
            resolver.filters(first, &mut tasks.open);
            for insert in &mut tasks.inserts {
                let table = schema.table(&insert.table);
                for (column, value) in &mut insert.set {
                    resolver.column(table, column);
                    if let InsertValue::Constant(literal) = value {
                        resolver.literal(literal, &column.ty);
                    }
                }
            }
        }
        catalog
    }

    /// The type of a field's values, `Unknown` where it can't be known.
    #[must_use]
    pub fn field_type(&self, entity: &Entity, field: &Field) -> ColumnType {
        match &field.expression {
            Expression::Column(column) => column.ty.clone(),
            Expression::Means { .. } => ColumnType::Text,
            Expression::Aggregate(aggregate) => self.aggregate_type(entity, aggregate),
        }
    }

    fn aggregate_type(&self, entity: &Entity, aggregate: &Aggregate) -> ColumnType {
        match aggregate.function {
            AggregateFunction::Count => ColumnType::Int,
            AggregateFunction::Sum | AggregateFunction::Average => ColumnType::Decimal,
            AggregateFunction::Min | AggregateFunction::Max => {
                self.related_field(entity, aggregate).map_or(ColumnType::Unknown, |(related, field)| {
                    match &field.expression {
                        // One level is enough: a minimum of a computed field of a computed field has no known type.
                        Expression::Aggregate(_) => ColumnType::Unknown,
                        _ => self.field_type(related, field),
                    }
                })
            }
        }
    }

    /// The entity and field that an aggregate reads.
    #[must_use]
    pub fn related_field(&self, entity: &Entity, aggregate: &Aggregate) -> Option<(&Entity, &Field)> {
        let related = self.entity(&entity.relations.get(&aggregate.relation)?.entity)?;
        Some((related, related.fields.get(aggregate.field.as_ref()?)?))
    }
}

impl Entity {
    /// The table its rows come from, unless they come from a query.
    #[must_use]
    pub const fn table(&self) -> Option<&Table> {
        match &self.origin {
            Origin::Table(table) => Some(table),
            Origin::Sql(_) => None,
        }
    }
}

struct Resolver<'a> {
    zone: &'a TimeZone,
    schema: &'a Schema,
    live: &'a BTreeMap<EntityName, Option<&'a TableSchema>>,
}

impl Resolver<'_> {
    fn entity(&self, entity: &mut Entity) {
        let table = self.live.get(&entity.name).copied().flatten();
        self.column(table, &mut entity.key);
        if entity.key_type == KeyType::Unknown {
            entity.key_type = entity.key.ty.as_key().unwrap_or(KeyType::Unknown);
        }
        self.filters(table, &mut entity.only);
        for field in entity.fields.values_mut() {
            self.expression(table, &entity.relations, &mut field.expression);
        }
        for relation in entity.relations.values_mut() {
            self.filters(self.live.get(&relation.entity).copied().flatten(), &mut relation.only);
            if let Join::Through { table, from, to, only } = &mut relation.join {
                let joined = self.schema.table(table);
                self.column(joined, from);
                self.column(joined, to);
                self.filters(joined, only);
            }
        }
        for pick in entity.recipients.values_mut().filter_map(|recipient| recipient.pick.as_mut()) {
            let person = pick.relation.as_ref().and_then(|name| entity.relations.get(name));
            let table = person.map_or(table, |relation| self.live.get(&relation.entity).copied().flatten());
            self.filters(table, &mut pick.only);
            for (column, _) in &mut pick.order {
                self.column(table, column);
            }
        }
        if let Some(person) = &mut entity.person {
            let columns = [
                &mut person.email,
                &mut person.phone,
                &mut person.first_name,
                &mut person.last_name,
                &mut person.zone,
                &mut person.locale,
            ];
            columns.into_iter().flatten().for_each(|column| self.column(table, column));
        }
        for consent in &mut entity.consent {
            let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &mut consent.test;
            self.column(table, column);
            if let Some(given_at) = &mut consent.given_at {
                self.column(table, given_at);
            }
        }
        self.undeclared(table, entity);
    }

    fn undeclared(&self, table: Option<&TableSchema>, entity: &mut Entity) {
        for live in table.into_iter().flat_map(|table| &table.columns) {
            let name = FieldName::new(live.name.as_str());
            if entity.fields.contains_key(&name) || entity.relations.contains_key(name.as_str()) {
                continue;
            }
            let mut column = Column { name: live.name.clone(), ty: ColumnType::Unknown, missing: Vec::new() };
            self.column(table, &mut column);
            let field = Field { name: name.clone(), expression: Expression::Column(column), currency: None };
            entity.fields.insert(name, field);
        }
    }

    fn expression(
        &self,
        table: Option<&TableSchema>,
        relations: &BTreeMap<crate::model::RelationName, super::Relation>,
        expression: &mut Expression,
    ) {
        match expression {
            Expression::Column(column) => self.column(table, column),
            Expression::Means { column, words } => {
                self.column(table, column);
                words.iter_mut().flat_map(|(_, literals)| literals).for_each(|lit| self.literal(lit, &column.ty));
            }
            Expression::Aggregate(aggregate) => {
                let related = relations.get(&aggregate.relation);
                let table = related.and_then(|relation| self.live.get(&relation.entity).copied().flatten());
                self.filters(table, &mut aggregate.only);
            }
        }
    }

    fn filters(&self, table: Option<&TableSchema>, filters: &mut [Filter]) {
        for filter in filters {
            self.column(table, &mut filter.column);
            if let FilterTest::In(literals) | FilterTest::NotIn(literals) = &mut filter.test {
                for literal in literals {
                    self.literal(literal, &filter.column.ty);
                }
            }
        }
    }

    fn column(&self, table: Option<&TableSchema>, column: &mut Column) {
        let Some(live) = table.and_then(|table| table.column(&column.name)) else { return };
        column.ty = merged(&column.ty, &live.ty, self.zone);
        column.missing.iter_mut().for_each(|literal| self.literal(literal, &column.ty));
    }

    /// A constant that doesn't fit stays as it was: `check --db` reports it.
    fn literal(&self, literal: &mut Literal, ty: &ColumnType) {
        if let Ok(retyped) = literal.retyped(ty, self.zone) {
            *literal = retyped;
        }
    }
}

/// What the catalog declares wins in meaning, the database in storage.
pub(super) fn merged(declared: &ColumnType, live: &ColumnType, zone: &TimeZone) -> ColumnType {
    use ColumnType as T;
    use InstantStorage as S;
    match (declared, live) {
        (T::Unknown, T::Instant(S::Naive(_))) => T::Instant(S::Naive(zone.clone())),
        (T::Unknown, T::Instant(S::Text(_))) => T::Instant(S::Text(zone.clone())),
        (T::Unknown, live) => live.clone(),
        (T::Instant(declared), live) => instant(declared, live, zone),
        (T::Bool, T::Text) => T::BoolText,
        (T::Int | T::Decimal | T::Float, T::Text) => T::NumberText,
        (T::Date(_), T::Text) => T::Date(DateStorage::Text),
        (T::Date(_), T::Date(live)) => T::Date(live.clone()),
        (T::Uuid(UuidStorage::Native), T::Text) => T::Uuid(UuidStorage::Text),
        (T::Uuid(UuidStorage::Native), T::Bytes) => T::Uuid(UuidStorage::Binary),
        (declared, _) => declared.clone(),
    }
}

fn instant(declared: &InstantStorage, live: &ColumnType, zone: &TimeZone) -> ColumnType {
    use ColumnType as T;
    use InstantStorage as S;
    let own = match declared {
        S::Naive(own) | S::Text(own) => own,
        _ => zone,
    };
    T::Instant(match (declared, live) {
        (S::EpochSeconds | S::EpochMillis | S::Text(_), _) => declared.clone(),
        (_, T::Date(storage)) => return T::Date(storage.clone()),
        (_, T::Instant(S::Naive(_))) => S::Naive(own.clone()),
        (_, T::Instant(S::Text(_)) | T::Text) => S::Text(own.clone()),
        (_, T::Instant(live)) => live.clone(),
        _ => declared.clone(),
    })
}
