//! Rows reached from a record over a relation, and computed fields over them.

use super::fragment::Fragment;
use super::hole::{Point, PointBase};
use super::operand::{Bound, Operand};
use super::{RenderError, Renderer, filter};
use crate::catalog::{Aggregate, Entity, Filter, Join, Origin, Relation, Table};
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
    /// `table AS alias`.
    pub fn rows_of(&self, entity: &Entity, alias: &str) -> Fragment {
        let rows = match &entity.origin {
            Origin::Table(table) => self.table(table),
            Origin::Sql(sql) => Fragment::text(format!("({})", sql.trim().trim_end_matches(';'))),
        };
        Fragment::of("{} AS {}", &[&rows, &Fragment::text(alias)])
    }

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
        self.link(entity, outer, relation, &mut rows, doubles)?;
        Ok(rows)
    }

    fn link(
        &self,
        entity: &Entity,
        outer: &str,
        relation: &Relation,
        rows: &mut Rows<'_>,
        doubles: Doubles,
    ) -> Result<(), RenderError> {
        let theirs = self.key_of(rows.entity, &rows.alias);
        match &relation.join {
            Join::By(field) => {
                let column = Self::column(rows.entity, field)?;
                let holds = self.cell(&rows.alias, &column);
                rows.conditions.push(Fragment::of("{} = {}", &[&holds, &self.key_of(entity, outer)]));
            }
            Join::To(field) => {
                let column = Self::column(entity, field)?;
                rows.conditions.push(Fragment::of("{} = {}", &[&theirs, &self.cell(outer, &column)]));
            }
            Join::Through { table, from, to, only } => {
                let joint = self.alias("j");
                let pairs = Fragment::of("{} AS {}", &[&self.table(table), &Fragment::text(&joint)]);
                let to = Fragment::of("{} = {}", &[&self.cell(&joint, to), &theirs]);
                let from = Fragment::of("{} = {}", &[&self.cell(&joint, from), &self.key_of(entity, outer)]);
                let mut tests = vec![from, to];
                tests.extend(filter::all_of(self, &joint, only));
                if doubles == Doubles::Harmless {
                    rows.from = Fragment::of("{} JOIN {} ON TRUE", &[&rows.from, &pairs]);
                    rows.conditions.extend(tests);
                } else {
                    let exists = Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&pairs, &Fragment::all(&tests)]);
                    rows.conditions.push(exists);
                }
            }
        }
        Ok(())
    }

    /// Facts dated after now are invisible; rows without a date are not dated after now.
    pub fn visible(&self, rows: &Rows<'_>) -> Result<Option<Fragment>, RenderError> {
        if rows.entity.at.is_none() {
            return Ok(None);
        }
        let at = self.column_operand(&rows.alias, &Self::time_of(rows.entity)?);
        let shown = self.shown(&at);
        let past = self.at_most(&shown, &at.ty, Bound::Point(Point::new(PointBase::Now)));
        Ok(Some(Fragment::of("({} IS NULL OR {})", &[&shown, &past])))
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
        Ok(Operand { raw, ty, missing: Vec::new() })
    }
}
