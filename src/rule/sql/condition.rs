//! Conditions over one record.

use super::fragment::Fragment;
use super::operand::{Bound, Operand};
use super::relation::{Doubles, Rows};
use super::{Anchor, RenderError, Renderer};
use crate::catalog::{AggregateFunction, Entity};
use crate::rule::condition::{Condition, Moment, Quantity, Related, Test};

impl<'a> Renderer<'a> {
    /// True, false, or null for the row `alias` of `entity`. With `deadline`, related rows that count
    /// `since: entry` must also lie before the end of `goal.within`.
    pub fn condition(
        &self,
        entity: &'a Entity,
        alias: &str,
        condition: &Condition,
        deadline: bool,
    ) -> Result<Fragment, RenderError> {
        let parts = |conditions: &[Condition]| -> Result<Vec<Fragment>, RenderError> {
            conditions.iter().map(|condition| self.condition(entity, alias, condition, deadline)).collect()
        };
        Ok(match condition {
            Condition::All(conditions) => Fragment::all(&parts(conditions)?),
            Condition::Any(conditions) => Fragment::any(&parts(conditions)?),
            Condition::Not(inner) => self.condition(entity, alias, inner, deadline)?.negated(),
            Condition::Field { field, test } => self.test(&self.operand(entity, alias, field)?, test)?,
            Condition::Related(related) => self.quantified(entity, alias, related, deadline)?,
            Condition::Score(_) => return Err(RenderError::Score),
        })
    }

    fn quantified(
        &self,
        entity: &'a Entity,
        alias: &str,
        related: &Related,
        deadline: bool,
    ) -> Result<Fragment, RenderError> {
        if let Quantity::Count(test)
        | Quantity::Sum { test, .. }
        | Quantity::Min { test, .. }
        | Quantity::Max { test, .. } = &related.quantity
        {
            return self.test(&self.measured(entity, alias, related, deadline)?, test);
        }
        let mut rows = self.related(entity, alias, &related.relation, Doubles::Harmless)?;
        self.narrow(&mut rows, related, deadline)?;
        let exists = exists(&rows);
        Ok(if related.quantity == Quantity::None { exists.negated() } else { exists })
    }

    /// The value that a condition over related rows looks at: a count or an aggregate; for `some` and `none`
    /// how many rows there are.
    pub fn measured(
        &self,
        entity: &'a Entity,
        alias: &str,
        related: &Related,
        deadline: bool,
    ) -> Result<Operand, RenderError> {
        let (function, field, doubles) = match &related.quantity {
            Quantity::Some | Quantity::None | Quantity::Count(_) => (AggregateFunction::Count, None, Doubles::Counted),
            Quantity::Sum { field, .. } => (AggregateFunction::Sum, Some(field), Doubles::Counted),
            Quantity::Min { field, .. } => (AggregateFunction::Min, Some(field), Doubles::Harmless),
            Quantity::Max { field, .. } => (AggregateFunction::Max, Some(field), Doubles::Harmless),
        };
        let mut rows = self.related(entity, alias, &related.relation, doubles)?;
        self.narrow(&mut rows, related, deadline)?;
        self.folded(&rows, function, field)
    }

    fn narrow(&self, rows: &mut Rows<'a>, related: &Related, deadline: bool) -> Result<(), RenderError> {
        for condition in &related.filter {
            rows.conditions.push(self.condition(rows.entity, &rows.alias.clone(), condition, deadline)?);
        }
        if !related.at.as_ref().is_some_and(looks_ahead) {
            rows.conditions.extend(self.visible(rows)?);
        }
        if related.at.is_none() && !related.since_entry {
            return Ok(());
        }
        let at = self.column_operand(&rows.alias, &Self::time_of(rows.entity)?);
        if let Some(test) = &related.at {
            rows.conditions.push(self.test(&at, test)?);
        }
        if related.since_entry {
            let shown = self.shown(&at);
            rows.conditions.push(self.at_most(&shown, &at.ty, Bound::Anchor(Anchor::Since)).negated());
            if deadline {
                rows.conditions.push(self.at_most(&shown, &at.ty, Bound::Anchor(Anchor::Deadline)));
            }
        }
        Ok(())
    }
}

fn exists(rows: &Rows<'_>) -> Fragment {
    Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&rows.from, &Fragment::all(&rows.conditions)])
}

/// A test that asks for rows dated after now sees them.
fn looks_ahead(test: &Test) -> bool {
    match test {
        Test::WithinNext(_) | Test::Before(Moment::Ahead(_)) | Test::After(Moment::Ahead(_) | Moment::Now) => true,
        Test::Both(tests) => tests.iter().any(looks_ahead),
        _ => false,
    }
}
