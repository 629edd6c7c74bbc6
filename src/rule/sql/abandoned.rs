//! Open carts and quotes that nobody touched for long enough, and that no order came of.
//!
//! Bounded by the last change. The newest order since is read beside it and compared when the row is read,
//! for the two times may be kept in different forms.

use super::fragment::Fragment;
use super::hole::{Point, PointBase};
use super::operand::Operand;
use super::plan::{Parts, Query, Reader, instant_occasion};
use super::read::{Cells, Meaning, key};
use super::relation::{Doubles, Rows};
use super::settled::{self, Settled, WholeDay};
use super::wire::Form;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{AggregateFunction, Entity, KeyType};
use crate::model::{Occasion, Period, RelationName, Value};
use crate::rule::checked::Abandoned;
use crate::rule::compiled::{Crossing, ReadError, Window};
use std::collections::BTreeMap;

/// A row: the record's key, the cart's key, its last change, the newest order since, the cart's own fields.
#[derive(Debug, Clone)]
pub(super) struct AbandonedReader {
    cart_key: KeyType,
    idle: Settled,
    order: Option<Settled>,
    fields: Vec<(String, Meaning)>,
}

/// Where the carts are: rows of a relation, or the records themselves.
struct Carts<'a> {
    entity: &'a Entity,
    alias: String,
    related: Option<Rows<'a>>,
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    entity: &Entity,
    abandoned: &Abandoned,
) -> Result<(Query, Fragment), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let carts = Carts::of(renderer, entity, abandoned)?;
    let changed = renderer.column_operand(&carts.alias, &Renderer::column(carts.entity, &abandoned.changed_at)?);
    let mut open = carts.related.as_ref().map_or_else(Vec::new, |rows| rows.conditions.clone());
    open.extend(renderer.base(entity, RECORD));
    for term in &abandoned.open {
        open.push(renderer.condition(carts.entity, &carts.alias, &term.condition, false)?);
    }

    let (cell, meaning) = renderer.selected(&changed);
    let mut selected = vec![renderer.key_of(entity, RECORD), renderer.key_of(carts.entity, &carts.alias), cell];
    let order = match &abandoned.unless {
        None => None,
        Some(unless) => {
            let (cell, meaning) = renderer.selected(&newest(renderer, entity, unless, abandoned.idle)?);
            selected.push(cell);
            Some(Settled { after: Period::days(0), at: meaning, whole_day: WholeDay::FromItsEnd })
        }
    };
    let mut fields = Vec::new();
    for name in carts.entity.fields.keys().filter(|_| carts.related.is_some()) {
        let (cell, meaning) = renderer.selected(&renderer.operand(carts.entity, &carts.alias, name)?);
        selected.push(cell);
        fields.push((name.to_string(), meaning));
    }
    let mut tests = settled::within(renderer, &changed, abandoned.idle);
    tests.extend(open.iter().cloned());
    let rows = carts.related.as_ref().map_or_else(Fragment::default, |rows| rows.from.clone());
    let text = Fragment::of(
        "SELECT {} FROM {}{} WHERE {}",
        &[&Fragment::join(&selected, ", "), &rows, &Fragment::splice_point(), &Fragment::all(&tests)],
    );
    open.push(settled::reached(renderer, &changed, abandoned.idle));
    if let Some(unless) = &abandoned.unless {
        open.extend(without_order(renderer, entity, unless, &changed)?);
    }
    let records = renderer.rows_of(entity, RECORD);
    let from = match &carts.related {
        Some(rows) => Fragment::of("{} JOIN {} ON TRUE", &[&rows.from, &records]),
        None => records,
    };
    let count = Fragment::of("SELECT COUNT(*) FROM {} WHERE {}", &[&from, &Fragment::all(&open)]);
    let idle = Settled { after: abandoned.idle, at: meaning, whole_day: WholeDay::FromItsEnd };
    let reader = AbandonedReader { cart_key: carts.entity.key_type.clone(), idle, order, fields };
    Ok((Query { text, driven: carts.related.is_some(), reader: Reader::Abandoned(reader) }, count))
}

impl<'a> Carts<'a> {
    fn of(renderer: &Renderer<'a>, entity: &'a Entity, abandoned: &Abandoned) -> Result<Self, RenderError> {
        let Some(of) = &abandoned.of else { return Ok(Self { entity, alias: RECORD.to_owned(), related: None }) };
        let rows = renderer.related(entity, RECORD, of, Doubles::Harmless)?;
        Ok(Self { entity: rows.entity, alias: rows.alias.clone(), related: Some(rows) })
    }
}

/// The newest order in sight that can be newer than a cart of the window.
fn newest(
    renderer: &Renderer<'_>,
    entity: &Entity,
    unless: &RelationName,
    idle: Period,
) -> Result<Operand, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let mut orders = renderer.related(entity, RECORD, unless, Doubles::Harmless)?;
    let at = renderer.column_operand(&orders.alias, &Renderer::time_of(orders.entity)?);
    // Two days further back: whole days and the two readings of an overlap.
    let after = Point::new(PointBase::ReachingAfter(idle, 2));
    orders.conditions.extend(renderer.range(&at.raw, &at.ty, after, Point::new(PointBase::Now)));
    orders.conditions.extend(renderer.not_placeholder(&at));
    renderer.folded(&orders, AggregateFunction::Max, orders.entity.at.as_ref())
}

/// No order since the last change, where the database can compare the two times itself; elsewhere the count
/// is one of all open carts.
fn without_order(
    renderer: &Renderer<'_>,
    entity: &Entity,
    unless: &RelationName,
    changed: &Operand,
) -> Result<Option<Fragment>, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let mut orders = renderer.related(entity, RECORD, unless, Doubles::Harmless)?;
    let at = renderer.column_operand(&orders.alias, &Renderer::time_of(orders.entity)?);
    let form = renderer.form(&at.ty);
    if form != renderer.form(&changed.ty) || matches!(form, Form::WallText(_) | Form::DayText) {
        return Ok(None);
    }
    orders.conditions.push(Fragment::of("{} >= {}", &[&at.raw, &changed.raw]));
    orders.conditions.extend(renderer.visible(&orders)?);
    let exists =
        Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&orders.from, &Fragment::all(&orders.conditions)]);
    Ok(Some(exists.negated()))
}

impl AbandonedReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let record = cells.key(&parts.key)?;
        let cart = cells.next()?;
        let cart = key(&self.cart_key, cart)
            .ok_or_else(|| cells.error("cart key", "is null or of a type that can't be a key"))?;
        let idle = self.idle.read(cells.next()?, &parts.zone, window);
        let order = match &self.order {
            Some(order) => order.readings(cells.next()?, &parts.zone),
            None => None,
        };
        let Some(idle) = idle.filter(|idle| order.is_none_or(|order| order.1 < idle.at)) else { return Ok(None) };
        let mut row = BTreeMap::new();
        for (name, meaning) in &self.fields {
            row.insert(name.clone(), meaning.read(cells.next()?));
        }
        Ok(Some(Crossing {
            key: record,
            occasion: Occasion::new(format!("{cart}/{}", instant_occasion(idle.first))),
            crossed_at: idle.crossed_at,
            occasion_at: Some(idle.at),
            value: Value::Instant(idle.at),
            row,
            entry: 0,
        }))
    }
}
