//! An entity that is the rows of others: one derived table, whose parts keep their columns bare where the types
//! agree, so that a range over the union is a range over each part's index.

use super::Renderer;
use super::dialect;
use super::filter;
use super::fragment::Fragment;
use super::hole::Hole;
use crate::catalog::{Column, ColumnType, Expression, InstantStorage, Member};
use crate::model::Value;
use crate::rule::statement::Dialect;
use jiff::tz::TimeZone;

impl Renderer<'_> {
    pub fn union(&self, members: &[Member]) -> Fragment {
        let columns: Vec<Vec<Column>> = members.iter().map(|member| self.columns(member)).collect();
        let mut selects = Vec::new();
        for (member, own) in members.iter().zip(&columns) {
            let Some(entity) = self.catalog.entity(&member.entity) else { continue };
            let alias = self.alias("n");
            // Keys of different tables may be the same number.
            let key = dialect::plain_text(self.dialect, &self.key_of(entity, &alias));
            let name = Fragment::hole(Hole::Constant(Value::Text(format!("{}:", member.entity))));
            let key = match self.dialect {
                Dialect::MySql => Fragment::of("CONCAT({}, {})", &[&name, &key]),
                Dialect::Postgres => Fragment::of("(CAST({} AS text) || {})", &[&name, &key]),
                Dialect::Sqlite => Fragment::of("({} || {})", &[&name, &key]),
            };
            let mut cells = vec![Fragment::of("{} AS {}", &[&key, &Fragment::name(self.dialect, "key")])];
            for (number, ((field, _), column)) in member.fields.iter().zip(own).enumerate() {
                let all: Vec<&Column> = columns.iter().filter_map(|columns| columns.get(number)).collect();
                let cell = self.common(&alias, column, &all);
                cells.push(Fragment::of("{} AS {}", &[&cell, &Fragment::name(self.dialect, field.as_str())]));
            }
            let mut tests = self.base(entity, &alias);
            tests.extend(filter::all_of(self, &alias, &member.only));
            selects.push(Fragment::of(
                "SELECT {} FROM {} WHERE {}",
                &[&Fragment::join(&cells, ", "), &self.rows_of(entity, &alias), &Fragment::all(&tests)],
            ));
        }
        Fragment::of("({})", &[&Fragment::join(&selects, " UNION ALL ")])
    }

    fn columns(&self, member: &Member) -> Vec<Column> {
        let entity = self.catalog.entity(&member.entity);
        let column = |theirs: &crate::model::FieldName| match entity?.fields.get(theirs).map(|field| &field.expression)
        {
            Some(Expression::Column(column) | Expression::Means { column, .. }) => Some(column.clone()),
            Some(Expression::Aggregate(_)) => None,
            None => Some(Column::named(theirs.as_str())),
        };
        member.fields.iter().filter_map(|(_, theirs)| column(theirs)).collect()
    }

    /// The cell in a type that all members share; see [`crate::catalog::common_type`].
    fn common(&self, alias: &str, column: &Column, all: &[&Column]) -> Fragment {
        let operand = self.column_operand(alias, column);
        let types: Vec<&ColumnType> = all.iter().map(|column| &column.ty).collect();
        if types.iter().all(|ty| **ty == column.ty) {
            let shown = self.shown(&operand);
            if column.whole && column.ty == ColumnType::NumberText && all.iter().any(|column| !column.whole) {
                // Those of other members may have fractions, so that the union can't leave them out.
                return Fragment::of(
                    "(CASE WHEN {} IS NOT NULL THEN {} END)",
                    &[&self.number(&operand, &shown), &shown],
                );
            }
            // Bare where it can be: the range over the union reaches the part's index.
            return if operand.missing.is_empty() { operand.raw } else { shown };
        }
        let shown = self.shown(&operand);
        if types.iter().all(|ty| ty.is_number()) {
            return self.number(&operand, &shown);
        }
        if !types.iter().all(|ty| ty.is_time()) {
            return dialect::plain_text(self.dialect, &shown);
        }
        match (self.dialect, crate::catalog::common_type(&types.iter().copied())) {
            (Dialect::Postgres, ColumnType::Instant(InstantStorage::Native)) => {
                let zone = |zone: &TimeZone| {
                    let name = zone.iana_name().unwrap_or("UTC").to_owned();
                    Fragment::hole(Hole::Constant(Value::Text(name)))
                };
                match &column.ty {
                    ColumnType::Instant(InstantStorage::Naive(own)) => {
                        Fragment::of("({} AT TIME ZONE CAST({} AS text))", &[&shown, &zone(own)])
                    }
                    ColumnType::Date(_) => Fragment::of(
                        "(CAST({} AS timestamp) AT TIME ZONE CAST({} AS text))",
                        &[&shown, &zone(&self.catalog.time_zone)],
                    ),
                    _ => shown,
                }
            }
            (Dialect::Postgres, ColumnType::Instant(InstantStorage::Naive(_))) => {
                Fragment::of("CAST({} AS timestamp)", &[&shown])
            }
            (Dialect::MySql, ColumnType::Instant(_)) => Fragment::of("CAST({} AS DATETIME(6))", &[&shown]),
            _ => shown,
        }
    }
}
