//! Fields that stand elsewhere than in a column of their row: in JSON, in attribute tables, in parent tables, in the
//! row that another field names, or in an expression of the admin's own.

use super::Checker;
use super::field::aggregate_of;
use crate::catalog::resolve::merged;
use crate::catalog::written::{AttributesEntry, CatalogFile, EntityEntry, FieldEntry};
use crate::catalog::{
    Attribute, Column, ColumnType, Expression, Field, Filter, FilterTest, Literal, LookUp, OwnSql, Parent, Place, Table,
};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Content, Node, ShortOr};
use crate::model::{EntityName, FieldName, Value};
use std::collections::BTreeSet;

/// An attribute table as one entity uses it.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    table: Table,
    record: Column,
    /// What names the attribute: a column, or the name behind it.
    name: Column,
    value: Column,
    only: Vec<Filter>,
}

impl Checker {
    /// Keys, parent and attribute tables: what fields are read from.
    pub(super) fn surroundings(&mut self, name: &At<String>, entry: &EntityEntry) {
        let entity = EntityName::new(name.as_str());
        let table = self.tables.get(&entity).cloned().flatten();
        let key = self.key(name, entry, table.as_ref());
        self.keys.insert(entity.clone(), key);
        let mut parents = Vec::new();
        for parent in &entry.parents {
            let Some(table) = self.table(&parent.table) else { continue };
            let key = Column::named(parent.key.as_str());
            self.used(Some(&table), &key, &parent.key.range);
            let columns: BTreeSet<String> = parent.columns.iter().map(|column| column.value.clone()).collect();
            for column in &parent.columns {
                self.used(Some(&table), &Column::named(column.as_str()), &column.range);
            }
            parents.push((Parent { table, key }, columns));
        }
        self.parents.insert(entity.clone(), parents);
        for (name, written) in entry.attributes.iter() {
            self.name(name);
            if let Some(attributes) = self.attribute_table(written) {
                self.attributes.insert((entity.clone(), name.value.clone()), attributes);
            }
        }
    }

    fn attribute_table(&mut self, written: &AttributesEntry) -> Option<Attributes> {
        let table = self.table(&written.table)?;
        let record = self.column(None, Some(&table), &written.record)?;
        let value = self.column(None, Some(&table), &written.value)?;
        let mut name = self.column(None, Some(&table), &written.name)?;
        if let Some(names) = &written.names {
            let table = self.table(&names.table)?;
            let key = self.column(None, Some(&table), &names.key)?;
            let word = self.column(None, Some(&table), &names.name)?;
            let found = Attribute { table, record: key, value: word, only: Vec::new(), key: name };
            name = Column { place: Place::Attribute(Box::new(found)), ..Column::named(names.name.as_str()) };
        }
        let only = written.only.as_ref().map_or_else(Vec::new, |node| self.filters(None, Some(&table), node));
        Some(Attributes { table, record, name, value, only })
    }

    /// `custom.seats`
    pub(super) fn attribute(&mut self, entity: &EntityName, path: &At<String>, ty: ColumnType) -> Option<Column> {
        let Some((table, name)) = path.split_once('.').filter(|(_, name)| !name.is_empty()) else {
            let finding = Finding::error("catalog.attribute", format!("`{}` names no attribute", path.value));
            self.report.add(&path.range, finding.help("write the attribute table and the attribute: `custom.seats`"));
            return None;
        };
        let Some(found) = self.attributes.get(&(entity.clone(), table.to_owned())).cloned() else {
            let known = self.attributes.keys().filter(|(owner, _)| owner == entity).map(|(_, name)| name.clone());
            let known: Vec<_> = known.collect();
            let name = At { value: table.to_owned(), range: path.range.clone(), source: path.source.clone() };
            self.unknown("catalog.attribute", "attribute table", &name, &known);
            return None;
        };
        let named = Literal { text: name.to_owned(), value: Value::Text(name.to_owned()) };
        let mut only = vec![Filter { column: found.name, test: FilterTest::In(vec![named]) }];
        only.extend(found.only);
        let key = self.keys.get(entity).map_or_else(|| Column::named("id"), |(key, _)| key.clone());
        let attribute = Attribute { table: found.table, record: found.record, value: found.value, only, key };
        Some(Column { ty, place: Place::Attribute(Box::new(attribute)), ..Column::named(path.as_str()) })
    }

    /// `plan.seats`, `tags.0`: what stands there is read as text, and as the declared type from that.
    pub(super) fn in_json(
        &mut self,
        name: &At<String>,
        holder: Column,
        path: &At<String>,
        ty: &ColumnType,
    ) -> Option<Column> {
        let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
        if steps.iter().any(|step| step.is_empty() || step.contains(['"', '\\'])) {
            let finding = Finding::error("catalog.path", format!("`{}` is not a path into JSON", path.value));
            self.report
                .add(&path.range, finding.help("write keys and positions with dots between: `plan.seats`, `tags.0`"));
            return None;
        }
        let whole = *ty == ColumnType::Int;
        let ty = merged(ty, &ColumnType::Text, &self.zone);
        Some(Column { ty, place: Place::Json(Box::new(holder), steps), whole, ..Column::named(name.as_str()) })
    }

    /// An expression for all dialects, or one for each.
    pub(super) fn own_sql(&mut self, name: &At<String>, node: &Node, ty: ColumnType) -> Option<Column> {
        let source = self.report.source().to_owned();
        if ty == ColumnType::Unknown {
            let finding = Finding::error("catalog.sql", format!("the type of `{}` is not known", name.value));
            self.report.add(&name.range, finding.help("an expression needs its `type` beside it"));
        }
        let mut sql = OwnSql::default();
        if let Content::Map(entries) = &node.content {
            for (dialect, node) in entries {
                let text = node.text(&source).map(std::borrow::Cow::into_owned);
                match dialect.as_str() {
                    "postgres" => sql.postgres = text,
                    "mysql" => sql.mysql = text,
                    "sqlite" => sql.sqlite = text,
                    _ => {
                        let known = ["postgres", "mysql", "sqlite"].map(str::to_owned);
                        self.unknown("catalog.sql", "dialect", dialect, &known);
                    }
                }
            }
        } else {
            let text = node.text(&source).map(std::borrow::Cow::into_owned);
            sql = OwnSql { postgres: text.clone(), mysql: text.clone(), sqlite: text };
        }
        if sql == OwnSql::default() {
            let finding = Finding::error("catalog.sql", format!("expected SQL, found {}", node.kind()));
            self.report.add(&node.range, finding.help("write an expression, or `{postgres: …, mysql: …, sqlite: …}`"));
            return None;
        }
        self.expressions.push((sql.clone(), name.range.clone(), node.range.clone()));
        let whole = ty == ColumnType::Int;
        Some(Column { ty, place: Place::Sql(sql), whole, ..Column::named(name.as_str()) })
    }

    /// Columns of parent tables are fields, as if they stood in the entity's own table.
    pub(super) fn inherited(&mut self, entity: &EntityName) {
        let parents = self.parents.get(entity).cloned().unwrap_or_default();
        let fields = self.fields.entry(entity.clone()).or_default();
        for (number, (_, columns)) in parents.into_iter().enumerate() {
            for name in columns {
                let column = Column { place: Place::Parent(number), ..Column::named(name.as_str()) };
                let field = FieldName::new(name);
                fields.entry(field.clone()).or_insert_with(|| Field {
                    name: field,
                    expression: Expression::Column(column),
                    currency: None,
                });
            }
        }
    }

    /// A field looked up may be looked up itself, so they are resolved until none is left.
    pub(super) fn look_ups(&mut self, written: &CatalogFile) {
        let mut open: Vec<_> = Vec::new();
        for (name, entry) in written.entities.iter() {
            for (field, at) in entry.fields.iter() {
                if let ShortOr::Long(long) = &at.value
                    && let Some(path) = &long.look_up
                    && self.one_source(field, long)
                {
                    open.push((EntityName::new(name.as_str()), entry, field, path, long.currency.as_ref()));
                }
            }
        }
        loop {
            let before = open.len();
            let waiting: BTreeSet<(EntityName, String)> =
                open.iter().map(|(entity, _, field, ..)| (entity.clone(), field.value.clone())).collect();
            open.retain(|(entity, entry, field, path, currency)| {
                let target = target_of(entry, path);
                if target.is_some_and(|target| waiting.contains(&target)) {
                    return true;
                }
                self.add_field(entity, field, |checker| {
                    let (expression, theirs) = checker.look_up(entity, entry, path, written)?;
                    Some((expression, currency.map(|code| checker.currency(code)).or(theirs)))
                });
                false
            });
            if open.len() == before {
                break;
            }
        }
        for (_, _, field, path, _) in open {
            let finding = Finding::error("catalog.circle", format!("`{}` is looked up in itself", field.value));
            self.report.add(&path.range, finding.help("let the last one name a column"));
        }
    }

    /// `status.is_closed`: a field of the row that a relation with `to` leads to.
    fn look_up(
        &mut self,
        entity: &EntityName,
        entry: &EntityEntry,
        path: &At<String>,
        written: &CatalogFile,
    ) -> Option<(Expression, Option<String>)> {
        let at = |value: &str| At { value: value.to_owned(), range: path.range.clone(), source: path.source.clone() };
        let (relation, field) = path.split_once('.').unwrap_or((path.as_str(), ""));
        let found = entry.relations.iter().find(|(name, _)| name.as_str() == relation);
        let Some((_, relation)) = found else {
            let known: Vec<_> = entry.relations.iter().map(|(name, _)| name.value.clone()).collect();
            self.unknown("catalog.unknown-relation", "relation", &at(relation), &known);
            return None;
        };
        let plain = relation.through.is_none() && relation.hops.is_empty() && relation.any_of.is_empty();
        let Some(to) = relation.to.as_ref().filter(|_| plain && !field.is_empty()) else {
            let finding = Finding::error("catalog.look-up", format!("`{}` can't be looked up", path.value));
            let help = "write `relation.field` of a relation that has `to:`, so that it leads to one row";
            self.report.add(&path.range, finding.help(help));
            return None;
        };
        let theirs = EntityName::new(relation.entity.as_str());
        let Some((_, target)) = written.entities.iter().find(|(name, _)| name.value == relation.entity.value) else {
            // The relation itself is reported.
            return None;
        };
        let computed = |(name, at): &&(At<String>, At<ShortOr<FieldEntry>>)| {
            name.as_str() == field && matches!(&at.value, ShortOr::Long(long) if aggregate_of(long).is_some())
        };
        if target.fields.iter().any(|field| computed(&field)) {
            let finding = Finding::error("catalog.computed", format!("`{field}` is computed; a column is needed here"));
            self.report.add(&path.range, finding);
            return None;
        }
        let field = self.field_of(&theirs, &at(field));
        let looked = self.fields.get(&theirs)?.get(&field)?.clone();
        let by = self.field_of(entity, to);
        let by = match &self.fields.get(entity)?.get(&by)?.expression {
            Expression::Column(column) | Expression::Means { column, .. } => column.clone(),
            Expression::Aggregate(_) => return None,
        };
        let only = relation.only.as_ref().map_or_else(Vec::new, |node| self.entity_filters(&theirs, node));
        let place = |cell: Column| {
            let ty = cell.ty.clone();
            let missing = Vec::new();
            let look_up = LookUp { entity: theirs.clone(), cell, by, only };
            let whole = look_up.cell.whole;
            let named = Column::named(path.value.clone());
            Column { ty, missing, place: Place::LookUp(Box::new(look_up)), whole, ..named }
        };
        let expression = match looked.expression {
            Expression::Column(cell) => Expression::Column(place(cell)),
            Expression::Means { column, words } => Expression::Means { column: place(column), words },
            Expression::Aggregate(_) => return None,
        };
        Some((expression, looked.currency))
    }

    /// A field stands in one place.
    pub(super) fn one_source(&mut self, name: &At<String>, long: &FieldEntry) -> bool {
        let column = long.column.as_ref().or(long.path.as_ref()).map(|_| "column");
        let named = [
            column,
            long.attribute.as_ref().map(|_| "attribute"),
            long.look_up.as_ref().map(|_| "look_up"),
            long.sql.as_ref().map(|_| "sql"),
            aggregate_of(long).map(|_| "an aggregate"),
        ];
        if let (Some(_), Some(ty)) = (&long.look_up, &long.ty) {
            let finding = Finding::error("catalog.field", format!("`{}` has the type of what it looks up", name.value));
            self.report.add(&ty.range, finding.help("remove `type`, or declare it there"));
        }
        let named: Vec<&str> = named.into_iter().flatten().collect();
        if let [first, second, ..] = named.as_slice() {
            // Aggregates say themselves what doesn't belong to them.
            let own = *first == "column" && *second == "an aggregate" && long.column.is_some();
            if !own {
                let finding =
                    Finding::error("catalog.field", format!("field `{}` has both {first} and {second}", name.value));
                self.report.add(&name.range, finding.help("a field stands in one place: keep one of them"));
                return false;
            }
        }
        true
    }
}

/// The entity and field that a look-up names.
fn target_of(entry: &EntityEntry, path: &At<String>) -> Option<(EntityName, String)> {
    let (relation, field) = path.split_once('.')?;
    let (_, relation) = entry.relations.iter().find(|(name, _)| name.as_str() == relation)?;
    Some((EntityName::new(relation.entity.as_str()), field.to_owned()))
}
