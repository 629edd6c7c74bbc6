//! The catalog as a test's database has it: every value stands in its record's own row.
//!
//! Where a value really stands (a parent table, JSON, an attribute table, SQL of another dialect) is the catalog's
//! business and not the rule's. A test names the field and gives its value; the rest of the catalog holds as written.

use super::shape::{made_up_column, made_up_table, table_of};
use crate::catalog::{
    Catalog, Column, ConsentTest, Entity, Expression, Filter, Hop, Join, Origin, Path, Place, Relation, Schema, Table,
};
use crate::model::EntityName;
use std::collections::BTreeMap;

/// Entities that come from a query get a table, relations that lead far get one between their keys beside their own
/// way, and there is one tenant.
pub(super) fn plain(catalog: &Catalog) -> Catalog {
    let mut own = catalog.clone();
    own.tenants = None;
    let mut parents = BTreeMap::new();
    for entity in own.entities.values_mut() {
        let tables: Vec<Table> = entity.parents.drain(..).map(|parent| parent.table).collect();
        parents.insert(entity.name.clone(), tables);
        if !matches!(entity.origin, Origin::Union(_)) {
            entity.origin = Origin::Table(table_of(entity));
        }
    }
    for entity in own.entities.values_mut() {
        each_column(entity, &mut |owner, column| stand_in_row(column, parents.get(owner).map_or(&[], Vec::as_slice)));
        for relation in entity.relations.values_mut() {
            shorten(&entity.name, &entity.key, relation, catalog);
        }
    }
    own
}

/// Adds what the real database has elsewhere, or not at all, to the tables of a test's.
pub(super) fn complete(schema: &mut Schema, plain: &Catalog) {
    for entity in plain.entities.values() {
        each_column(&mut entity.clone(), &mut |owner, column| {
            if let (Place::Row, Some(owner)) = (&column.place, plain.entity(owner)) {
                ensure(schema, &table_of(owner), &column.name);
            }
        });
        for hop in entity.relations.values().filter_map(|relation| link(&relation.join)) {
            ensure(schema, &hop.table, &hop.from.name);
            ensure(schema, &hop.table, &hop.to.name);
        }
    }
}

/// The table between two keys that a test's row fills by a relation's name.
pub(super) fn link(join: &Join) -> Option<&Hop> {
    match join {
        Join::Through(path) => path.only_hop(),
        Join::AnyOf(ways) => ways.iter().rev().find_map(link),
        Join::By(_) | Join::To(_) => None,
    }
}

fn ensure(schema: &mut Schema, table: &Table, column: &str) {
    let known = schema.tables.iter_mut().position(|known| known.table == *table);
    let place = known.unwrap_or_else(|| {
        schema.tables.push(made_up_table(table.clone(), Vec::new()));
        schema.tables.len() - 1
    });
    let columns = &mut schema.tables[place].columns;
    if columns.iter().all(|known| known.name != column) {
        let Column { name, ty, .. } = Column::named(column);
        columns.push(made_up_column(name, ty));
    }
}

/// A way that leads over several tables, or from and to other columns than the keys, gets a short one beside it.
fn shorten(entity: &EntityName, key: &Column, relation: &mut Relation, catalog: &Catalog) {
    let Some(related) = catalog.entity(&relation.entity) else { return };
    let is_far = match &relation.join {
        Join::Through(path) => path.only_hop().is_none(),
        Join::AnyOf(_) => link(&relation.join).is_none(),
        Join::By(_) | Join::To(_) => false,
    };
    if !is_far {
        return;
    }
    let end = |name: &str, key: &Column| Column { ty: key.ty.clone(), ..Column::named(name) };
    let table = Table { schema: None, name: format!("{entity}.{}", relation.name) };
    let (from, to) = (end("from", key), end("to", &related.key));
    let short = Join::Through(Path { start: None, hops: vec![Hop { table, from, to, only: Vec::new() }], end: None });
    match &mut relation.join {
        Join::AnyOf(ways) => ways.push(short),
        join => *join = Join::AnyOf(vec![join.clone(), short]),
    }
}

/// Names that can't be those of real columns tell apart what stands apart.
fn stand_in_row(column: &mut Column, parents: &[Table]) {
    column.name = match &column.place {
        Place::Row | Place::LookUp(_) => return,
        // Still only where its filter holds.
        Place::Where(inner, _) => {
            column.name.clone_from(&inner.name);
            return;
        }
        Place::Number(inner) => inner.name.clone(),
        Place::Parent(number) => match parents.get(*number) {
            Some(table) => format!("{table}.{}", column.name),
            None => return,
        },
        Place::Json(holder, path) => format!("{}: {}", holder.name, path.join(".")),
        Place::Attribute(_) => format!("attribute {}", column.name),
        Place::Sql(_) => format!("sql {}", column.name),
    };
    column.place = Place::Row;
}

/// Every column that an entity names, with the entity whose rows it is seen from. Inner ones come first.
pub(super) fn each_column(entity: &mut Entity, visit: &mut dyn FnMut(&EntityName, &mut Column)) {
    let own = &entity.name.clone();
    within(&mut entity.key, own, visit);
    filters(&mut entity.only, own, visit);
    let related: BTreeMap<_, _> =
        entity.relations.values().map(|relation| (relation.name.clone(), relation.entity.clone())).collect();
    for field in entity.fields.values_mut() {
        match &mut field.expression {
            Expression::Column(column) | Expression::Means { column, .. } => within(column, own, visit),
            Expression::Aggregate(aggregate) => {
                if let Some(theirs) = related.get(&aggregate.relation) {
                    filters(&mut aggregate.only, theirs, visit);
                }
            }
        }
    }
    for relation in entity.relations.values_mut() {
        filters(&mut relation.when, own, visit);
        filters(&mut relation.only, &relation.entity.clone(), visit);
    }
    for pick in entity.recipients.values_mut().filter_map(|recipient| recipient.pick.as_mut()) {
        let theirs = pick.relation.as_ref().map_or(Some(own), |relation| related.get(relation));
        let Some(theirs) = theirs else { continue };
        filters(&mut pick.only, theirs, visit);
        pick.order.iter_mut().for_each(|rank| within(&mut rank.column, theirs, visit));
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
        columns.into_iter().flatten().for_each(|column| within(column, own, visit));
    }
    for consent in &mut entity.consent {
        let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &mut consent.test;
        within(column, own, visit);
        consent.given_at.iter_mut().for_each(|column| within(column, own, visit));
    }
}

fn filters(filters: &mut [Filter], owner: &EntityName, visit: &mut dyn FnMut(&EntityName, &mut Column)) {
    for filter in filters {
        within(&mut filter.column, owner, visit);
    }
}

fn within(column: &mut Column, owner: &EntityName, visit: &mut dyn FnMut(&EntityName, &mut Column)) {
    match &mut column.place {
        Place::LookUp(look_up) => {
            let theirs = look_up.entity.clone();
            within(&mut look_up.cell, &theirs, visit);
            filters(&mut look_up.only, &theirs, visit);
            within(&mut look_up.by, owner, visit);
        }
        Place::Where(inner, only) => {
            within(inner, owner, visit);
            filters(only, owner, visit);
        }
        Place::Number(inner) => within(inner, owner, visit),
        Place::Row | Place::Parent(_) | Place::Json(..) | Place::Attribute(_) | Place::Sql(_) => {}
    }
    visit(owner, column);
}
