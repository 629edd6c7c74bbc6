//! Gives columns the types that the live database has, and makes every column of a table reachable by name.

use super::drift::words;
use super::{
    Aggregate, AggregateFunction, Catalog, Column, ColumnType, ConsentTest, DateStorage, Entity, Expression, Field,
    Filter, FilterTest, Insert, InsertValue, InstantStorage, Join, KeyType, Literal, Origin, Place, Pool, Schema,
    Table, TableSchema, UuidStorage,
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
            tables.extend(entity.table().cloned());
            tables.extend(entity.parents.iter().map(|parent| parent.table.clone()));
            for relation in entity.relations.values() {
                joined(&relation.join, &mut tables);
            }
            for field in entity.fields.values() {
                if let Expression::Column(column) | Expression::Means { column, .. } = &field.expression {
                    read_from(column, &mut tables);
                }
            }
        }
        tables.extend(self.entities.values().filter_map(|entity| Some(entity.tags.as_ref()?.table.clone())));
        tables.extend(self.pools.values().map(|pool| pool.table.clone()));
        tables.extend(self.suppressions.iter().map(|suppression| suppression.table.clone()));
        let answers = self.surveys.values().map(|question| &question.insert);
        for insert in self.tasks.iter().flat_map(|tasks| &tasks.inserts).chain(answers) {
            tables.insert(insert.table.clone());
            tables.extend(insert.set.iter().flat_map(|(_, value)| value.parts()).filter_map(|value| match value {
                InsertValue::LookUp(look_up) => Some(look_up.table.clone()),
                _ => None,
            }));
        }
        tables.into_iter().collect()
    }

    /// The same catalog with the types of a live database. Undeclared columns become fields.
    #[must_use]
    pub fn with_schema(&self, schema: &Schema) -> Self {
        let live = self.entities.iter().map(|(name, entity)| (name.clone(), Live::of(entity, schema))).collect();
        let resolver = Resolver { zone: &self.time_zone, schema, live: &live, entities: &self.entities };
        let mut catalog = self.clone();
        for entity in catalog.entities.values_mut() {
            resolver.entity(entity);
        }
        for suppression in &mut catalog.suppressions {
            let table = &Live::table(schema.table(&suppression.table));
            for column in [&mut suppression.email, &mut suppression.phone].into_iter().flatten() {
                resolver.column(table, column);
            }
        }
        if let Some(tasks) = &mut catalog.tasks {
            let first = tasks.inserts.first().and_then(|insert| schema.table(&insert.table));
            resolver.filters(&Live::table(first), &mut tasks.open);
            tasks.inserts.iter_mut().for_each(|insert| resolver.insert(insert));
        }
        for pool in catalog.pools.values_mut() {
            resolver.pool(pool);
        }
        catalog.surveys.values_mut().for_each(|question| resolver.insert(&mut question.insert));
        catalog.unions();
        catalog
    }

    /// The fields of unions have the types of their members.
    fn unions(&mut self) {
        let mut found = Vec::new();
        for entity in self.entities.values() {
            let Origin::Union(members) = &entity.origin else { continue };
            let fields = members.first().map(|member| member.fields.as_slice()).unwrap_or_default();
            for (number, (name, _)) in fields.iter().enumerate() {
                let kept = members.iter().filter_map(|member| {
                    let theirs = self.entity(&member.entity)?;
                    let field = theirs.fields.get(&member.fields.get(number)?.1)?;
                    let is_whole = matches!(&field.expression, Expression::Column(column) if column.whole);
                    Some((self.field_type(theirs, field), is_whole))
                });
                let (types, whole): (Vec<ColumnType>, Vec<bool>) = kept.unzip();
                // Of a column of whole numbers nothing is missing for that; what else differs, each member sees to.
                let all_are_whole = !whole.contains(&false) || types.iter().all(|ty| *ty == ColumnType::Int);
                let whole = whole.contains(&true) && all_are_whole;
                found.push((entity.name.clone(), name.clone(), common_type(&types.iter()), whole));
            }
        }
        for (entity, name, ty, whole) in found {
            let field = self.entities.get_mut(&entity).and_then(|entity| entity.fields.get_mut(&name));
            if let Some(Field { expression: Expression::Column(column), .. }) = field {
                (column.ty, column.whole) = (ty, whole);
            }
        }
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

    /// The currency of a field's amounts. A sum of amounts in euros is an amount in euros; how many there are is none.
    #[must_use]
    pub fn currency<'c>(&'c self, entity: &Entity, field: &'c Field) -> Option<&'c str> {
        let inherited = match &field.expression {
            Expression::Aggregate(aggregate) => {
                self.related_field(entity, aggregate).and_then(|(_, related)| related.currency.as_deref())
            }
            Expression::Column(_) | Expression::Means { .. } => None,
        };
        field.currency.as_deref().or(inherited)
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
            Origin::Sql(_) | Origin::Union(_) => None,
        }
    }
}

/// The live tables that a row's columns stand in.
struct Live<'a> {
    own: Option<&'a TableSchema>,
    parents: Vec<Option<&'a TableSchema>>,
}

impl<'a> Live<'a> {
    fn of(entity: &Entity, schema: &'a Schema) -> Self {
        let parents = entity.parents.iter().map(|parent| schema.table(&parent.table)).collect();
        Self { own: schema.of(entity), parents }
    }

    const fn table(own: Option<&'a TableSchema>) -> Self {
        Self { own, parents: Vec::new() }
    }
}

struct Resolver<'a> {
    zone: &'a TimeZone,
    schema: &'a Schema,
    live: &'a BTreeMap<EntityName, Live<'a>>,
    /// As they were before any of this.
    entities: &'a BTreeMap<EntityName, Entity>,
}

impl Resolver<'_> {
    fn entity(&self, entity: &mut Entity) {
        let Some(table) = self.live.get(&entity.name) else { return };
        self.column(table, &mut entity.key);
        if entity.key_type == KeyType::Unknown {
            entity.key_type = entity.key.ty.as_key().unwrap_or(KeyType::Unknown);
        }
        if entity.key.padded {
            entity.key_type = KeyType::Padded;
        }
        for (number, parent) in entity.parents.iter_mut().enumerate() {
            self.column(&Live::table(table.parents.get(number).copied().flatten()), &mut parent.key);
        }
        self.filters(table, &mut entity.only);
        for field in entity.fields.values_mut() {
            self.expression(table, &entity.relations, &mut field.expression);
        }
        for relation in entity.relations.values_mut() {
            self.filters(table, &mut relation.when);
            if let Some(related) = self.live.get(&relation.entity) {
                self.filters(related, &mut relation.only);
            }
            self.join(&mut relation.join);
        }
        for pick in entity.recipients.values_mut().filter_map(|recipient| recipient.pick.as_mut()) {
            let person = pick.relation.as_ref().and_then(|name| entity.relations.get(name));
            let Some(table) = person.map_or(Some(table), |relation| self.live.get(&relation.entity)) else { continue };
            self.filters(table, &mut pick.only);
            for rank in &mut pick.order {
                self.column(table, &mut rank.column);
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
            let ty = column.ty.clone();
            if let Some((yes, no)) = &mut consent.write_back {
                self.literal(yes, &ty);
                self.literal(no, &ty);
            }
            if let Some(given_at) = &mut consent.given_at {
                self.column(table, given_at);
            }
        }
        if let Some(tags) = &mut entity.tags {
            let theirs = Live::table(self.schema.table(&tags.table));
            self.column(&theirs, &mut tags.record);
            self.column(&theirs, &mut tags.tag);
        }
        if let Some(list) = &mut entity.tag_list {
            self.column(table, &mut list.column);
        }
        if let Origin::Union(members) = &mut entity.origin {
            for member in members {
                if let Some(theirs) = self.live.get(&member.entity) {
                    self.filters(theirs, &mut member.only);
                }
            }
        }
        let relations = &entity.relations;
        let lost = entity.fields.values().filter(|field| !self.has_field(table, relations, &field.expression));
        entity.gone = lost.map(|field| field.name.clone()).collect();
        self.undeclared(table, entity);
    }

    /// Whether the live tables have what a field reads. Tables that nobody asked about have everything.
    fn has_field(
        &self,
        table: &Live<'_>,
        relations: &BTreeMap<crate::model::RelationName, super::Relation>,
        expression: &Expression,
    ) -> bool {
        match expression {
            Expression::Column(column) | Expression::Means { column, .. } => self.has(table, column),
            Expression::Aggregate(aggregate) => {
                let Some(relation) = relations.get(&aggregate.relation) else { return true };
                let Some(related) = self.entities.get(&relation.entity) else { return true };
                let field = aggregate.field.as_ref();
                self.has_rows(related, relation.only.iter().chain(&aggregate.only))
                    && [field, related.at.as_ref()].into_iter().flatten().all(|name| self.has_own(related, name))
            }
        }
    }

    /// Whether an entity's table is there, with all that its own filter and these ask of it.
    fn has_rows<'f>(&self, entity: &'f Entity, filters: impl Iterator<Item = &'f Filter>) -> bool {
        let Some(live) = self.live.get(&entity.name) else { return true };
        live.own.is_none_or(|table| table.exists)
            && entity.only.iter().chain(filters).all(|filter| self.has(live, &filter.column))
    }

    /// The same for a field of an entity that is no aggregate itself.
    fn has_own(&self, entity: &Entity, name: &FieldName) -> bool {
        match (self.live.get(&entity.name), entity.fields.get(name).map(|field| &field.expression)) {
            (Some(live), Some(Expression::Column(column) | Expression::Means { column, .. })) => self.has(live, column),
            _ => true,
        }
    }

    fn has(&self, table: &Live<'_>, column: &Column) -> bool {
        let holds = |live: Option<&TableSchema>, name: &str| {
            live.is_none_or(|table| table.exists && table.column(name).is_some())
        };
        match &column.place {
            // Without its own table nothing of an entity can be read, whatever the field.
            Place::Row => table.own.is_none_or(|own| !own.exists || own.column(&column.name).is_some()),
            Place::Parent(number) => holds(table.parents.get(*number).copied().flatten(), &column.name),
            Place::Json(holder, _) => self.has(table, holder),
            Place::Attribute(attribute) => {
                let theirs = self.schema.table(&attribute.table);
                holds(theirs, &attribute.value.name) && holds(theirs, &attribute.record.name)
            }
            Place::LookUp(look_up) => {
                let theirs = self.live.get(&look_up.entity);
                let rows = self.entities.get(&look_up.entity);
                rows.is_none_or(|rows| self.has_rows(rows, look_up.only.iter()))
                    && theirs.is_none_or(|theirs| self.has(theirs, &look_up.cell))
                    && self.has(table, &look_up.by)
            }
            Place::Where(inner, only) => {
                self.has(table, inner) && only.iter().all(|filter| self.has(table, &filter.column))
            }
            Place::Number(inner) => self.has(table, inner),
            Place::Sql(_) => true,
        }
    }

    fn join(&self, join: &mut Join) {
        match join {
            Join::By(_) | Join::To(_) => {}
            Join::Through(path) => {
                for hop in &mut path.hops {
                    let table = Live::table(self.schema.table(&hop.table));
                    self.column(&table, &mut hop.from);
                    self.column(&table, &mut hop.to);
                    self.filters(&table, &mut hop.only);
                }
            }
            Join::AnyOf(ways) => ways.iter_mut().for_each(|way| self.join(way)),
        }
    }

    fn undeclared(&self, table: &Live<'_>, entity: &mut Entity) {
        for live in table.own.into_iter().flat_map(|table| &table.columns) {
            let name = FieldName::new(live.name.as_str());
            if entity.fields.contains_key(&name) || entity.relations.contains_key(name.as_str()) {
                continue;
            }
            let mut column = Column::named(live.name.as_str());
            self.column(table, &mut column);
            let field = Field { name: name.clone(), expression: Expression::Column(column), currency: None };
            entity.undeclared.insert(name.clone());
            entity.fields.insert(name, field);
        }
        // Rules may still name them; only those are the worse for it.
        let lost = entity.table().and_then(|table| self.schema.gone.get(table)).into_iter().flatten();
        for column in lost.cloned().collect::<Vec<_>>() {
            let name = FieldName::new(column.name.as_str());
            if !entity.fields.contains_key(&name) && !entity.relations.contains_key(name.as_str()) {
                let ty = merged(&ColumnType::Unknown, &column.ty, self.zone);
                let expression = Expression::Column(Column { ty, ..Column::named(column.name.as_str()) });
                entity.fields.insert(name.clone(), Field { name: name.clone(), expression, currency: None });
                entity.undeclared.insert(name.clone());
                entity.gone.insert(name);
            }
        }
    }

    fn expression(
        &self,
        table: &Live<'_>,
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
                if let Some(table) = related.and_then(|relation| self.live.get(&relation.entity)) {
                    self.filters(table, &mut aggregate.only);
                }
            }
        }
    }

    fn filters(&self, table: &Live<'_>, filters: &mut [Filter]) {
        for filter in filters {
            self.column(table, &mut filter.column);
            if let FilterTest::In(literals) | FilterTest::NotIn(literals) = &mut filter.test {
                for literal in literals {
                    self.literal(literal, &filter.column.ty);
                }
            }
        }
    }

    fn column(&self, table: &Live<'_>, column: &mut Column) {
        let typed = |ty: &ColumnType, live: &ColumnType| merged(ty, live, self.zone);
        let (mut padded, mut declared) = (false, None);
        let mut own = |table: Option<&TableSchema>| {
            let live = table?.column(&column.name)?;
            (padded, declared) = (live.padded, Some(live.declared.clone()));
            Some(live.ty.clone())
        };
        column.labels.clear();
        let ty = match &mut column.place {
            Place::Row => own(table.own),
            Place::Parent(number) => own(table.parents.get(*number).copied().flatten()),
            Place::Json(holder, _) => {
                self.column(table, holder);
                None
            }
            Place::Attribute(attribute) => {
                let theirs = Live::table(self.schema.table(&attribute.table));
                self.column(&theirs, &mut attribute.record);
                self.column(&theirs, &mut attribute.value);
                self.filters(&theirs, &mut attribute.only);
                self.column(table, &mut attribute.key);
                Some(attribute.value.ty.clone())
            }
            Place::LookUp(look_up) => {
                if let Some(theirs) = self.live.get(&look_up.entity) {
                    self.column(theirs, &mut look_up.cell);
                    self.filters(theirs, &mut look_up.only);
                }
                self.column(table, &mut look_up.by);
                column.ty = look_up.cell.ty.clone();
                column.whole = look_up.cell.whole;
                column.labels.clone_from(&look_up.cell.labels);
                None
            }
            Place::Where(inner, only) => {
                self.column(table, inner);
                self.filters(table, only);
                column.whole |= inner.whole;
                Some(inner.ty.clone())
            }
            Place::Number(inner) => {
                self.column(table, inner);
                None
            }
            Place::Sql(_) => None,
        };
        column.labels.extend(declared.as_deref().and_then(words).into_iter().flat_map(|words| words.all));
        (column.padded, column.declared) = (padded, declared);
        if let Some(live) = ty.filter(|live| *live != ColumnType::Unknown) {
            column.whole |= column.ty == ColumnType::Int && may_be_broken(&live);
            column.ty = typed(&column.ty, &live);
            if live == ColumnType::Text
                && column.ty.is_counted()
                && matches!(column.place, Place::Row | Place::Parent(_))
            {
                let text = Column { ty: live, missing: Vec::new(), ..column.clone() };
                column.place = Place::Number(Box::new(text));
            }
        }
        column.missing.iter_mut().for_each(|literal| self.literal(literal, &column.ty));
    }

    fn insert(&self, insert: &mut Insert) {
        let table = &Live::table(self.schema.table(&insert.table));
        for (column, value) in &mut insert.set {
            self.column(table, column);
            self.supplied(value, &column.ty);
        }
    }

    fn pool(&self, pool: &mut Pool) {
        let table = Live::table(self.schema.table(&pool.table));
        self.column(&table, &mut pool.code);
        self.column(&table, &mut pool.reference);
        self.filters(&table, &mut pool.only);
        for (column, value) in &mut pool.marks {
            self.column(&table, column);
            self.supplied(value, &column.ty);
        }
    }

    fn supplied(&self, value: &mut InsertValue, ty: &ColumnType) {
        match value {
            InsertValue::Constant(literal) => self.literal(literal, ty),
            InsertValue::Else(both) => {
                self.supplied(&mut both.0, ty);
                self.supplied(&mut both.1, ty);
            }
            InsertValue::LookUp(look_up) => {
                let table = Live::table(self.schema.table(&look_up.table));
                self.column(&table, &mut look_up.take);
                for (column, value) in &mut look_up.only {
                    self.column(&table, column);
                    self.supplied(value, &column.ty);
                }
            }
            _ => {}
        }
    }

    /// A constant that doesn't fit stays as it was: `check --db` reports it.
    fn literal(&self, literal: &mut Literal, ty: &ColumnType) {
        if let Ok(retyped) = literal.retyped(ty, self.zone) {
            *literal = retyped;
        }
    }
}

fn joined(join: &Join, tables: &mut BTreeSet<Table>) {
    match join {
        Join::By(_) | Join::To(_) => {}
        Join::Through(path) => tables.extend(path.hops.iter().map(|hop| hop.table.clone())),
        Join::AnyOf(ways) => ways.iter().for_each(|way| joined(way, tables)),
    }
}

fn read_from(column: &Column, tables: &mut BTreeSet<Table>) {
    match &column.place {
        Place::Attribute(attribute) => {
            tables.insert(attribute.table.clone());
            for filter in &attribute.only {
                read_from(&filter.column, tables);
            }
        }
        Place::Where(inner, only) => {
            read_from(inner, tables);
            for filter in only {
                read_from(&filter.column, tables);
            }
        }
        Place::Number(inner) => read_from(inner, tables),
        Place::Row | Place::Parent(_) | Place::Json(..) | Place::LookUp(_) | Place::Sql(_) => {}
    }
}

/// Whether what is kept so may be a number that isn't whole, or none.
const fn may_be_broken(live: &ColumnType) -> bool {
    matches!(live, ColumnType::Text | ColumnType::NumberText | ColumnType::Decimal | ColumnType::Float)
}

/// The type that all of these can be read as.
#[must_use]
pub fn common_type<'t>(types: &(impl Iterator<Item = &'t ColumnType> + Clone)) -> ColumnType {
    let Some(first) = types.clone().next() else { return ColumnType::Unknown };
    if types.clone().all(|ty| ty == first) {
        return first.clone();
    }
    if types.clone().all(ColumnType::is_number) {
        return ColumnType::Decimal;
    }
    if !types.clone().all(ColumnType::is_time) {
        return ColumnType::Text;
    }
    let naive = types.clone().find(|ty| matches!(ty, ColumnType::Instant(InstantStorage::Naive(_))));
    let fits = |naive: &ColumnType| types.clone().all(|ty| ty == naive || matches!(ty, ColumnType::Date(_)));
    match naive.filter(|naive| fits(naive)) {
        Some(naive) => naive.clone(),
        None => types
            .clone()
            .find(|ty| matches!(ty, ColumnType::Instant(InstantStorage::Text(_))))
            .cloned()
            .unwrap_or(ColumnType::Instant(InstantStorage::Native)),
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
        (T::Int | T::Decimal | T::Float, T::Text | T::NumberText) => T::NumberText,
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
