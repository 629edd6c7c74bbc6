//! Rows reached from a record over a relation, and computed fields over them.

use super::fragment::Fragment;
use super::hole::{Point, PointBase};
use super::operand::{Bound, Operand};
use super::{RenderError, Renderer, filter, join_of};
use crate::catalog::{Aggregate, Column, Entity, Filter, Join, Table};
use crate::model::{FieldName, RelationName};

/// Whether a join table that names a pair twice may double rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubles {
    /// For EXISTS, MIN and MAX: join plainly, so that the database can start from the related rows.
    Harmless,
    /// For counts and sums: each related row once.
    Counted,
}

/// The related rows: what to select from, and what links them to the record and makes them count.
pub(crate) struct Rows<'a> {
    pub entity: &'a Entity,
    pub alias: String,
    pub from: Fragment,
    pub conditions: Vec<Fragment>,
}

impl<'a> Renderer<'a> {
    pub fn table(&self, table: &Table) -> Fragment {
        let name = Fragment::name(self.dialect, &table.name);
        match &table.schema {
            Some(schema) => Fragment::of("{}.{}", &[&Fragment::name(self.dialect, schema), &name]),
            None => name,
        }
    }

    pub fn key_of(&self, entity: &Entity, alias: &str) -> Fragment {
        self.cell(alias, &entity.key)
    }

    /// The entity's base filter.
    pub fn base(&self, entity: &Entity, alias: &str) -> Vec<Fragment> {
        filter::all_of(self, alias, &entity.only)
    }

    /// The rows that `relation` leads to from the row `outer`.
    pub fn related(
        &self,
        entity: &'a Entity,
        outer: &str,
        relation: &RelationName,
        doubles: Doubles,
    ) -> Result<Rows<'a>, RenderError> {
        let mut rows = self.linked(entity, outer, relation, doubles)?;
        rows.conditions.extend(filter::all_of(self, &rows.alias, &Renderer::relation(entity, relation)?.only));
        rows.conditions.extend(self.base(rows.entity, &rows.alias));
        Ok(rows)
    }

    /// The same before any filter.
    pub fn linked(
        &self,
        entity: &'a Entity,
        outer: &str,
        relation: &RelationName,
        doubles: Doubles,
    ) -> Result<Rows<'a>, RenderError> {
        let relation = Renderer::relation(entity, relation)?;
        let related = self.entity(&relation.entity)?;
        let alias = self.alias("t");
        let mut rows = Rows { entity: related, from: self.rows_of(related, &alias), conditions: Vec::new(), alias };
        rows.conditions.extend(filter::all_of(self, outer, &relation.when));
        self.link(entity, outer, &relation.join, &mut rows, doubles)?;
        Ok(rows)
    }

    fn link(
        &self,
        entity: &Entity,
        outer: &str,
        join: &Join,
        rows: &mut Rows<'_>,
        doubles: Doubles,
    ) -> Result<(), RenderError> {
        match join {
            Join::By(field) => {
                let theirs = self.end(rows, Some(field))?;
                rows.conditions.push(self.meet(theirs, self.start(entity, outer, None)?));
            }
            Join::To(field) => {
                let ours = self.start(entity, outer, Some(field))?;
                rows.conditions.push(self.meet(self.end(rows, None)?, ours));
            }
            Join::Through(path) => {
                let theirs = self.end(rows, path.end.as_ref())?;
                let mut from = self.start(entity, outer, path.start.as_ref())?;
                let mut tables = Vec::new();
                let mut tests = Vec::new();
                for hop in &path.hops {
                    let alias = self.alias("j");
                    tables.push(Fragment::of("{} AS {}", &[&self.table(&hop.table), &Fragment::text(alias.as_str())]));
                    let at = |column: &Column| (self.cell(&alias, column), column.clone());
                    tests.push(self.meet(at(&hop.from), from));
                    tests.extend(filter::all_of(self, &alias, &hop.only));
                    from = at(&hop.to);
                }
                tests.push(self.meet(from, theirs));
                if doubles == Doubles::Harmless {
                    for table in &tables {
                        rows.from = Fragment::of("{} JOIN {} ON TRUE", &[&rows.from, table]);
                    }
                    rows.conditions.extend(tests);
                } else {
                    let tables = Fragment::join(&tables, " CROSS JOIN ");
                    let tests = Fragment::all(&tests);
                    rows.conditions.push(Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&tables, &tests]));
                }
            }
            Join::AnyOf(ways) => {
                let before = rows.conditions.len();
                let mut any = Vec::new();
                for way in ways {
                    self.link(entity, outer, way, rows, Doubles::Counted)?;
                    any.push(Fragment::all(&rows.conditions.split_off(before)));
                }
                rows.conditions.push(Fragment::any(&any));
            }
        }
        Ok(())
    }

    fn meet(&self, one: (Fragment, Column), other: (Fragment, Column)) -> Fragment {
        join_of(self.dialect, (one.0, &one.1), (other.0, &other.1))
    }

    /// Our field that a way begins with, or our key.
    fn start(
        &self,
        entity: &Entity,
        outer: &str,
        field: Option<&FieldName>,
    ) -> Result<(Fragment, Column), RenderError> {
        let column = field.map_or_else(|| Ok(entity.key.clone()), |field| Self::column(entity, field))?;
        Ok((self.cell(outer, &column), column))
    }

    /// Their field that it ends with, or their key.
    fn end(&self, rows: &Rows<'_>, field: Option<&FieldName>) -> Result<(Fragment, Column), RenderError> {
        self.start(rows.entity, &rows.alias, field)
    }

    /// Facts dated after now are invisible; rows without a date are not dated after now.
    pub fn visible(&self, rows: &Rows<'_>) -> Result<Option<Fragment>, RenderError> {
        if rows.entity.at.is_none() {
            return Ok(None);
        }
        let at = self.column_operand(&rows.alias, &Self::time_of(rows.entity)?);
        let past = self.at_most(&self.shown(&at), &at.ty, Bound::Point(Point::new(PointBase::Now)));
        Ok(Some(Fragment::of("({} IS NULL OR {})", &[&self.dated(&at), &past])))
    }

    /// A computed field: one scalar sub-query.
    pub fn aggregate(&self, entity: &Entity, outer: &str, aggregate: &Aggregate) -> Result<Operand, RenderError> {
        let entity = self.entity(&entity.name)?;
        let mut rows = self.related(entity, outer, &aggregate.relation, Doubles::Counted)?;
        rows.conditions.extend(self.visible(&rows)?);
        rows.conditions.extend(self.filters(&rows.alias, &aggregate.only));
        self.folded(&rows, aggregate.function, aggregate.field.as_ref())
    }

    fn filters(&self, alias: &str, filters: &[Filter]) -> Vec<Fragment> {
        filter::all_of(self, alias, filters)
    }

    /// `(SELECT function(field) FROM rows)`.
    pub fn folded(
        &self,
        rows: &Rows<'_>,
        function: crate::catalog::AggregateFunction,
        field: Option<&FieldName>,
    ) -> Result<Operand, RenderError> {
        let value = field.map(|field| self.operand(rows.entity, &rows.alias, field)).transpose()?;
        let (result, ty) = self.aggregated(function, value.as_ref());
        let raw =
            Fragment::of("(SELECT {} FROM {} WHERE {})", &[&result, &rows.from, &Fragment::all(&rows.conditions)]);
        Ok(Operand { raw, ty, missing: Vec::new(), whole: false })
    }
}
