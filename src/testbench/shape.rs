//! The tables of an example's database: every column that the catalog, the rule or a row names, with its type.
//!
//! A live schema knows the types. Without one they are what the catalog declares, else what the rule needs, else
//! what the tests put in; the first that knows decides.

use super::plain::each_column;
use crate::catalog::{
    Catalog, Column, ColumnSchema, ColumnType, ColumnUse, ConsentTest, DateStorage, Entity, Expression, Filter,
    FilterTest, Hop, InsertValue, InstantStorage, Join, Literal, Origin, Place, Schema, Table, TableKind, TableSchema,
    UuidStorage,
};
use crate::diagnostic::yaml::Node;
use crate::model::{EntityName, FieldName, Value};
use crate::rule::CheckedRule;
use crate::rule::check::moment;
use crate::rule::checked::Trigger;
use crate::rule::condition::Moment;
use crate::rule::example::{Example, GivenRow, person_column};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

/// What the types are told from.
pub(super) struct Clues<'a> {
    pub catalog: &'a Catalog,
    /// The same without what the live schema says.
    pub declared: &'a Catalog,
    pub uses: &'a [ColumnUse],
    pub live: Option<&'a Schema>,
    pub rule: Option<&'a CheckedRule>,
    pub examples: &'a [Example],
    /// The text of the rule file.
    pub source: &'a str,
    /// Names after `record.` in templates and scripts.
    pub named: &'a [String],
}

#[derive(Default)]
struct Shape {
    tables: BTreeMap<Table, BTreeMap<String, ColumnType>>,
    /// How keys are kept that the catalog declares as UUIDs. A live database may call them bytes or text.
    uuids: BTreeMap<EntityName, ColumnType>,
}

/// The table of an entity; one of its own where the catalog has a query instead.
pub(super) fn table_of(entity: &Entity) -> Table {
    entity.table().cloned().unwrap_or_else(|| Table { schema: None, name: entity.name.to_string() })
}

pub(super) fn shape(clues: &Clues<'_>) -> Schema {
    let mut shape = Shape { uuids: uuids(clues.declared), ..Shape::default() };
    shape.live(clues);
    for used in clues.uses {
        shape.learn(&used.table, &used.column, &used.expected);
    }
    for entity in clues.catalog.entities.values() {
        shape.entity(entity);
    }
    shape.rule(clues);
    for entity in clues.catalog.entities.values() {
        shape.filters(&table_of(entity), &entity.only);
        shape.keys(clues, entity);
    }
    shape.relations(clues.catalog);
    shape.given(clues);
    shape.tasks(clues.catalog);
    shape.written(clues.catalog);
    shape.queried(clues.catalog);
    shape.unions(clues.catalog);
    shape.schema(clues.catalog)
}

impl Shape {
    /// The first that knows the type decides.
    fn learn(&mut self, table: &Table, column: &str, ty: &ColumnType) {
        let known =
            self.tables.entry(table.clone()).or_default().entry(column.to_owned()).or_insert(ColumnType::Unknown);
        if *known == ColumnType::Unknown {
            *known = kept(ty);
        }
    }

    fn live(&mut self, clues: &Clues<'_>) {
        let Some(live) = clues.live else { return };
        let tables = live.tables.iter().map(|table| (table.table.clone(), table));
        let queries = clues.catalog.entities.values().filter(|entity| is_query(entity));
        let queries = queries.filter_map(|entity| Some((table_of(entity), live.of(entity)?)));
        for (table, found) in tables.chain(queries).filter(|(_, found)| found.exists) {
            for column in &found.columns {
                self.learn(&table, &column.name, &column.ty);
            }
        }
    }

    /// The catalog's reader can't look into a query, so what it needs of one stands in no list of uses.
    fn queried(&mut self, catalog: &Catalog) {
        for entity in catalog.entities.values() {
            each_column(&mut entity.clone(), &mut |owner, column| {
                let owner = catalog.entity(owner).filter(|owner| is_query(owner));
                if let (Some(owner), Some(column)) = (owner, in_own_row(column)) {
                    self.learn(&table_of(owner), &column.name, &column.ty);
                }
            });
        }
    }

    fn entity(&mut self, entity: &Entity) {
        let table = &table_of(entity);
        self.learn(table, &entity.key.name, &entity.key.ty);
        for field in entity.fields.values() {
            match &field.expression {
                Expression::Column(column) => self.learn(table, &column.name, &column.ty),
                Expression::Means { column, words } => {
                    self.learn(table, &column.name, &column.ty);
                    let literals: Vec<&Literal> = words.iter().flat_map(|(_, literals)| literals).collect();
                    self.learn(table, &column.name, &of_literals(&literals));
                }
                Expression::Aggregate(_) => {}
            }
        }
        if let Some(person) = &entity.person {
            let columns =
                [&person.email, &person.phone, &person.first_name, &person.last_name, &person.zone, &person.locale];
            for column in columns.into_iter().flatten() {
                self.learn(table, &column.name, &ColumnType::Text);
            }
        }
        for consent in &entity.consent {
            let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &consent.test;
            self.learn(table, &column.name, &ColumnType::Bool);
        }
    }

    fn rule(&mut self, clues: &Clues<'_>) {
        let Some(rule) = clues.rule else { return };
        let Some(entity) = clues.catalog.entity(&rule.for_each) else { return };
        let table = table_of(entity);
        for name in clues.named {
            let known = entity.fields.contains_key(name.as_str()) || entity.relations.contains_key(name.as_str());
            if !known {
                self.learn(&table, name, &ColumnType::Unknown);
            }
        }
        let instant = ColumnType::Instant(InstantStorage::Text(TimeZone::UTC));
        let (holder, field, ty) = match &rule.trigger {
            Trigger::Date(date) => (Some(entity), &date.field, ColumnType::Date(DateStorage::Text)),
            Trigger::Created(created) => (Some(entity), &created.at, instant),
            Trigger::Abandoned(abandoned) => {
                let cart = abandoned.of.as_ref().map(|of| entity.relations.get(of));
                let cart = cart.map(|cart| cart.and_then(|cart| clues.catalog.entity(&cart.entity)));
                (cart.unwrap_or(Some(entity)), &abandoned.changed_at, instant)
            }
            _ => return,
        };
        let Some(holder) = holder else { return };
        if let Some(Expression::Column(column)) = holder.fields.get(field).map(|field| &field.expression) {
            self.learn(&table_of(holder), &column.name, &ty);
        }
    }

    fn filters(&mut self, table: &Table, filters: &[Filter]) {
        for filter in filters {
            let ty = match &filter.test {
                FilterTest::In(literals) | FilterTest::NotIn(literals) => {
                    of_literals(&literals.iter().collect::<Vec<_>>())
                }
                FilterTest::Missing | FilterTest::Present => ColumnType::Unknown,
            };
            self.learn(table, &filter.column.name, &ty);
        }
    }

    /// Keys are whole numbers unless the tests name others.
    fn keys(&mut self, clues: &Clues<'_>, entity: &Entity) {
        let keys = rows(clues.examples).filter(|row| row.entity == entity.name).flat_map(|row| &row.cells);
        let keys = keys.filter(|(name, _)| name.as_str() == "key").map(|(_, node)| node);
        let text =
            keys.into_iter().any(|key| key.text(clues.source).is_none_or(|text| text.trim().parse::<i64>().is_err()));
        let ty = if text { ColumnType::Text } else { ColumnType::Int };
        self.learn(&table_of(entity), &entity.key.name, &ty);
    }

    /// A column that holds a key has the key's type.
    fn relations(&mut self, catalog: &Catalog) {
        for entity in catalog.entities.values() {
            for relation in entity.relations.values() {
                let Some(related) = catalog.entity(&relation.entity) else { continue };
                self.way(catalog, entity, related, &relation.join);
            }
        }
    }

    fn way(&mut self, catalog: &Catalog, entity: &Entity, related: &Entity, join: &Join) {
        match join {
            Join::By(field) => self.same(catalog, related, field.as_str(), entity),
            Join::To(field) => self.same(catalog, entity, field.as_str(), related),
            Join::Through(path) => {
                let (ours, theirs) = (self.key_type(entity), self.key_type(related));
                let last = path.hops.len().saturating_sub(1);
                for (number, Hop { table, from, to, only }) in path.hops.iter().enumerate() {
                    let inner = |end: bool, ty: &ColumnType| if end { ty.clone() } else { ColumnType::Unknown };
                    self.meets(table, &from.name, &inner(number == 0, &ours));
                    self.meets(table, &to.name, &inner(number == last, &theirs));
                    self.filters(table, only);
                }
            }
            Join::AnyOf(ways) => ways.iter().for_each(|way| self.way(catalog, entity, related, way)),
        }
    }

    fn same(&mut self, catalog: &Catalog, holder: &Entity, field: &str, of: &Entity) {
        for (member, theirs) in fillers(catalog, holder, field) {
            self.same(catalog, member, theirs.as_str(), of);
        }
        let ty = self.key_type(of);
        if let Some(Expression::Column(column)) = holder.fields.get(field).map(|field| &field.expression) {
            self.meets(&table_of(holder), &column.name, &ty);
        }
    }

    /// Of a column that is held against a key, only the key says that it is a UUID.
    fn meets(&mut self, table: &Table, column: &str, key: &ColumnType) {
        if let ColumnType::Uuid(_) = key {
            self.tables.entry(table.clone()).or_default().insert(column.to_owned(), key.clone());
        } else {
            self.learn(table, column, key);
        }
    }

    fn key_type(&self, entity: &Entity) -> ColumnType {
        if let Some(uuid) = self.uuids.get(&entity.name) {
            return uuid.clone();
        }
        let columns = self.tables.get(&table_of(entity));
        columns.and_then(|columns| columns.get(&entity.key.name)).cloned().unwrap_or(ColumnType::Unknown)
    }

    /// What the rows of the tests look like, all of a column together.
    fn given(&mut self, clues: &Clues<'_>) {
        let mut looks: BTreeMap<(Table, String), Vec<&Node>> = BTreeMap::new();
        for row in rows(clues.examples) {
            let Some(entity) = clues.catalog.entity(&row.entity) else { continue };
            for (name, node) in row.cells.iter().filter(|(name, _)| name.as_str() != "key") {
                let by_role = match name.as_str() {
                    "at" => entity.at.as_ref(),
                    "score" => entity.score.as_ref(),
                    _ => None,
                };
                let field = entity.fields.get(name.as_str());
                let field = field.or_else(|| entity.fields.get(by_role?));
                let place = match field.map(|field| &field.expression) {
                    Some(Expression::Column(column)) => home(entity, column),
                    None if !entity.relations.contains_key(name.as_str()) => {
                        let column = person_column(entity, name);
                        column
                            .map_or_else(|| Some((table_of(entity), name.value.clone())), |column| home(entity, column))
                    }
                    _ => continue,
                };
                if let Some(place) = place {
                    looks.entry(place).or_default().push(node);
                }
            }
        }
        for ((table, column), nodes) in looks {
            self.learn(&table, &column, &of_nodes(&nodes, clues.source));
        }
    }

    /// Columns of tasks and answers are what the catalog's recipe puts into them.
    fn tasks(&mut self, catalog: &Catalog) {
        let answers = catalog.surveys.values().map(|question| &question.insert);
        for insert in catalog.tasks.iter().flat_map(|tasks| &tasks.inserts).chain(answers) {
            for (column, value) in &insert.set {
                if column.ty != ColumnType::Unknown {
                    self.learn(&insert.table, &column.name, &column.ty);
                }
                let ty = match value.parts().next().unwrap_or(value) {
                    InsertValue::Constant(literal) => of_literals(&[literal]),
                    InsertValue::Uuid => ColumnType::Uuid(UuidStorage::Text),
                    InsertValue::Title
                    | InsertValue::Body
                    | InsertValue::Ref
                    | InsertValue::AssigneeEmail
                    | InsertValue::Comment => ColumnType::Text,
                    InsertValue::Score => ColumnType::Int,
                    InsertValue::Due => ColumnType::Date(DateStorage::Text),
                    InsertValue::Now => ColumnType::Instant(InstantStorage::Text(TimeZone::UTC)),
                    InsertValue::RecordField(field) => {
                        let entities = || catalog.entities.values();
                        let types = entities().filter_map(|entity| self.field_type(entity, field.as_str()));
                        types.clone().find(|ty| *ty != ColumnType::Unknown).unwrap_or(ColumnType::Unknown)
                    }
                    InsertValue::RecordKey
                    | InsertValue::AssigneeKey
                    | InsertValue::Earlier { .. }
                    | InsertValue::LookUp(_)
                    | InsertValue::Else(_) => ColumnType::Unknown,
                };
                self.learn(&insert.table, &column.name, &ty);
            }
        }
    }

    /// What steps write beside an entity's own columns.
    fn written(&mut self, catalog: &Catalog) {
        for entity in catalog.entities.values() {
            if let (Some(list), Some(table)) = (&entity.tag_list, entity.table()) {
                self.learn(table, &list.column.name, &ColumnType::Text);
            }
            let Some(tags) = &entity.tags else { continue };
            let key = self.key_type(entity);
            self.learn(&tags.table, &tags.record.name, &key);
            self.learn(&tags.table, &tags.tag.name, &ColumnType::Text);
        }
        for pool in catalog.pools.values() {
            self.learn(&pool.table, &pool.code.name, &ColumnType::Text);
            self.learn(&pool.table, &pool.reference.name, &ColumnType::Text);
            self.filters(&pool.table, &pool.only);
            for (column, value) in &pool.marks {
                let ty = match value {
                    InsertValue::Now => ColumnType::Instant(InstantStorage::Text(TimeZone::UTC)),
                    InsertValue::Constant(literal) => of_literals(&[literal]),
                    _ => ColumnType::Unknown,
                };
                self.learn(&pool.table, &column.name, &ty);
            }
        }
    }

    /// A member that no test gives a row of keeps what it adds as the others do: a type of its own would make text of
    /// the whole union.
    fn unions(&mut self, catalog: &Catalog) {
        for union in catalog.entities.values() {
            for field in union.fields.keys() {
                let cells: Vec<(Table, String)> = fillers(catalog, union, field.as_str())
                    .filter_map(|(member, theirs)| match member.fields.get(theirs).map(|field| &field.expression) {
                        Some(Expression::Column(column)) => home(member, column),
                        Some(Expression::Means { .. } | Expression::Aggregate(_)) => None,
                        None => Some((table_of(member), theirs.to_string())),
                    })
                    .collect();
                let mut types = cells.iter().filter_map(|(table, column)| self.tables.get(table)?.get(column));
                let known = types.find(|ty| **ty != ColumnType::Unknown).cloned();
                for ((table, column), ty) in cells.iter().zip(known.iter().cycle()) {
                    self.learn(table, column, ty);
                }
            }
        }
    }

    fn field_type(&self, entity: &Entity, field: &str) -> Option<ColumnType> {
        let Expression::Column(column) = &entity.fields.get(field)?.expression else { return None };
        self.tables.get(&table_of(entity))?.get(&column.name).cloned()
    }

    fn schema(self, catalog: &Catalog) -> Schema {
        let tables = self.tables.into_iter().map(|(table, columns)| {
            made_up_table(table, columns.into_iter().map(|(name, ty)| made_up_column(name, ty)).collect())
        });
        let mut schema = Schema { tables: tables.collect(), made_up: true, ..Schema::default() };
        for entity in catalog.entities.values() {
            if let (Origin::Sql(sql), Some(table)) = (&entity.origin, schema.table(&table_of(entity)).cloned()) {
                schema.queries.insert(sql.clone(), table);
            }
        }
        schema
    }
}

pub(super) const fn made_up_table(table: Table, columns: Vec<ColumnSchema>) -> TableSchema {
    TableSchema { table, exists: true, kind: TableKind::Table, columns, indexes: Vec::new() }
}

/// A row of a test need not fill it.
pub(super) fn made_up_column(name: String, ty: ColumnType) -> ColumnSchema {
    let declared = ty.in_words().to_owned();
    ColumnSchema { name, declared, ty, nullable: true, has_default: true, generated: false, padded: false }
}

fn uuids(declared: &Catalog) -> BTreeMap<EntityName, ColumnType> {
    let kept = |entity: &Entity| match &entity.key.ty {
        ColumnType::Uuid(UuidStorage::Native) => Some(ColumnType::Uuid(UuidStorage::Text)),
        ty @ ColumnType::Uuid(_) => Some(ty.clone()),
        _ => None,
    };
    declared.entities.values().filter_map(|entity| Some((entity.name.clone(), kept(entity)?))).collect()
}

/// What fills a field of a union: the members, each with its own field. None for any other entity.
fn fillers<'c>(
    catalog: &'c Catalog,
    entity: &'c Entity,
    field: &str,
) -> impl Iterator<Item = (&'c Entity, &'c FieldName)> {
    let members = if let Origin::Union(members) = &entity.origin { members.as_slice() } else { &[] };
    members.iter().filter_map(move |member| {
        let (_, theirs) = member.fields.iter().find(|(name, _)| name.as_str() == field)?;
        Some((catalog.entity(&member.entity)?, theirs))
    })
}

const fn is_query(entity: &Entity) -> bool {
    matches!(entity.origin, Origin::Sql(_))
}

/// The column of the row itself that a value is read from, or found by.
fn in_own_row(column: &Column) -> Option<&Column> {
    match &column.place {
        Place::Row => Some(column),
        Place::Json(holder, _) => in_own_row(holder),
        Place::Attribute(attribute) => in_own_row(&attribute.key),
        Place::Parent(_) | Place::LookUp(_) | Place::Where(..) | Place::Number(_) | Place::Sql(_) => None,
    }
}

/// The table and column that a value is read from, where that is one.
fn home(entity: &Entity, column: &Column) -> Option<(Table, String)> {
    let table = match &column.place {
        Place::Row => table_of(entity),
        Place::Parent(number) => entity.parents.get(*number)?.table.clone(),
        Place::Attribute(attribute) => return Some((attribute.table.clone(), attribute.value.name.clone())),
        Place::Where(inner, _) | Place::Number(inner) => return home(entity, inner),
        Place::Json(..) | Place::LookUp(_) | Place::Sql(_) => return None,
    };
    Some((table, column.name.clone()))
}

fn rows(examples: &[Example]) -> impl Iterator<Item = &GivenRow> {
    examples.iter().flat_map(|example| {
        let later = example.lines.iter().flat_map(|line| line.changes.iter().map(|(_, row)| row));
        example.given.iter().chain(later)
    })
}

/// The type that a SQLite table keeps for it.
fn kept(ty: &ColumnType) -> ColumnType {
    match ty {
        ColumnType::Instant(InstantStorage::Native) => ColumnType::Instant(InstantStorage::Text(TimeZone::UTC)),
        ColumnType::Instant(InstantStorage::Naive(zone)) => ColumnType::Instant(InstantStorage::Text(zone.clone())),
        ColumnType::Date(_) => ColumnType::Date(DateStorage::Text),
        // What a catalog declares of such a column is its meaning.
        ColumnType::Instant(InstantStorage::EpochSeconds | InstantStorage::EpochMillis) => ColumnType::Int,
        // Examples name their records by short keys, no UUIDs, in events and templates as well.
        ColumnType::BoolText | ColumnType::NumberText | ColumnType::Uuid(UuidStorage::Native) => ColumnType::Text,
        other => other.clone(),
    }
}

fn of_literals(literals: &[&Literal]) -> ColumnType {
    let all = |test: fn(&Value) -> bool| {
        let mut values =
            literals.iter().map(|literal| &literal.value).filter(|value| **value != Value::Null).peekable();
        values.peek().is_some() && values.all(test)
    };
    if all(|value| matches!(value, Value::Bool(_))) {
        ColumnType::Bool
    } else if all(|value| matches!(value, Value::Int(_))) {
        ColumnType::Int
    } else if all(|value| matches!(value, Value::Text(_))) {
        ColumnType::Text
    } else {
        ColumnType::Unknown
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Missing,
    Bool,
    Int,
    Number,
    Date,
    Instant,
    Text,
}

fn of_nodes(nodes: &[&Node], source: &str) -> ColumnType {
    let looks: Vec<Look> = nodes.iter().map(|node| look(node, source)).filter(|look| *look != Look::Missing).collect();
    let (Some(least), Some(most)) = (looks.iter().min(), looks.iter().max()) else { return ColumnType::Unknown };
    match (least, most) {
        (Look::Bool, Look::Bool) => ColumnType::Bool,
        (Look::Int, Look::Int) => ColumnType::Int,
        (Look::Int | Look::Number, Look::Number) => ColumnType::Decimal,
        (Look::Date, Look::Date) => ColumnType::Date(DateStorage::Text),
        (Look::Date | Look::Instant, Look::Instant) => ColumnType::Instant(InstantStorage::Text(TimeZone::UTC)),
        _ => ColumnType::Text,
    }
}

fn look(node: &Node, source: &str) -> Look {
    let Some(text) = node.text(source) else { return Look::Text };
    let text = text.trim();
    if node.is_null(source) || (node.is_plain(source) && text == "missing") {
        return Look::Missing;
    }
    if !node.is_plain(source) {
        return Look::Text;
    }
    match moment(text, &TimeZone::UTC) {
        Some(Moment::On(_)) => return Look::Date,
        Some(_) => return Look::Instant,
        None => {}
    }
    let leading_zero = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    if matches!(text, "true" | "false") {
        Look::Bool
    } else if leading_zero {
        Look::Text
    } else if text.parse::<i64>().is_ok() {
        Look::Int
    } else if text.parse::<rust_decimal::Decimal>().is_ok() {
        Look::Number
    } else {
        Look::Text
    }
}
