//! Conditions over one record.

use super::fragment::Fragment;
use super::operand::{Bound, Operand};
use super::relation::{Doubles, Rows};
use super::{Anchor, RenderError, Renderer};
use crate::catalog::{AggregateFunction, ColumnType, Entity};
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
            Condition::Score(_) | Condition::Saved(_) => return Err(RenderError::Score),
        })
    }

    fn quantified(
        &self,
        entity: &'a Entity,
        alias: &str,
        related: &Related,
        deadline: bool,
    ) -> Result<Fragment, RenderError> {
        match &related.quantity {
            Quantity::Sum { test, .. } | Quantity::Min { test, .. } | Quantity::Max { test, .. } => {
                self.test(&self.measured(entity, alias, related, deadline)?, test)
            }
            Quantity::Count(test) if !may_be_open(&related.filter) => {
                self.test(&self.measured(entity, alias, related, deadline)?, test)
            }
            Quantity::Count(test) => {
                let mut rows = self.related(entity, alias, &related.relation, Doubles::Counted)?;
                let filter = self.all_of(&rows, related, deadline)?;
                self.within(&mut rows, related, deadline)?;
                self.counted_openly(&rows, &filter, test)
            }
            Quantity::Some => self.any_row(entity, alias, related, deadline),
            Quantity::None => Ok(self.any_row(entity, alias, related, deadline)?.negated()),
        }
    }

    /// Whether there is a row that counts. A row of which nobody can say leaves it open, unless another decides.
    fn any_row(
        &self,
        entity: &'a Entity,
        alias: &str,
        related: &Related,
        deadline: bool,
    ) -> Result<Fragment, RenderError> {
        let mut rows = self.related(entity, alias, &related.relation, Doubles::Harmless)?;
        let filter = self.all_of(&rows, related, deadline)?;
        self.within(&mut rows, related, deadline)?;
        let certain = exists(&rows, &filter);
        if !may_be_open(&related.filter) {
            return Ok(certain);
        }
        let open = exists(&rows, &Fragment::of("(({}) IS NULL)", &[&filter]));
        Ok(Fragment::of("(CASE WHEN {} THEN TRUE WHEN {} THEN NULL ELSE FALSE END)", &[&certain, &open]))
    }

    /// A test of how many rows there are, where some may be open: it holds if it does for as few and for as many as
    /// there can be.
    fn counted_openly(&self, rows: &Rows<'_>, filter: &Fragment, test: &Test) -> Result<Fragment, RenderError> {
        let counted = |pattern: &str| Operand {
            raw: Fragment::of(&format!("COUNT(CASE WHEN {pattern} THEN 1 END)"), &[filter]),
            ty: ColumnType::Int,
            missing: Vec::new(),
            whole: false,
        };
        let (few, many) = (counted("{}"), counted("({}) IS NOT FALSE"));
        let (of_few, of_many) = (self.test(&few, test)?, self.test(&many, test)?);
        let same = Fragment::of("{} = {}", &[&few.raw, &many.raw]);
        let answer = match shape(test) {
            Shape::Side => Fragment::of("(CASE WHEN {} = {} THEN {} END)", &[&of_few, &of_many, &of_few]),
            Shape::Span => {
                Fragment::of("(CASE WHEN {} AND {} THEN TRUE WHEN {} THEN FALSE END)", &[&of_few, &of_many, &same])
            }
            Shape::Other => Fragment::of("(CASE WHEN {} THEN {} END)", &[&same, &of_few]),
        };
        Ok(Fragment::of("(SELECT {} FROM {} WHERE {})", &[&answer, &rows.from, &Fragment::all(&rows.conditions)]))
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
        if !related.filter.is_empty() {
            rows.conditions.push(self.all_of(&rows, related, deadline)?);
        }
        self.within(&mut rows, related, deadline)?;
        self.folded(&rows, function, field)
    }

    /// How many rows there are of which nobody can say whether they count. `None`: of each it can be said.
    pub fn open_rows(
        &self,
        entity: &'a Entity,
        alias: &str,
        related: &Related,
        deadline: bool,
    ) -> Result<Option<Operand>, RenderError> {
        let counts_rows = matches!(related.quantity, Quantity::Some | Quantity::None | Quantity::Count(_));
        if !counts_rows || !may_be_open(&related.filter) {
            return Ok(None);
        }
        let mut rows = self.related(entity, alias, &related.relation, Doubles::Counted)?;
        let filter = self.all_of(&rows, related, deadline)?;
        self.within(&mut rows, related, deadline)?;
        rows.conditions.push(Fragment::of("(({}) IS NULL)", &[&filter]));
        self.folded(&rows, AggregateFunction::Count, None).map(Some)
    }

    /// Whether a row counts: true, false, or null.
    fn all_of(&self, rows: &Rows<'a>, related: &Related, deadline: bool) -> Result<Fragment, RenderError> {
        let one = |condition| self.condition(rows.entity, &rows.alias, condition, deadline);
        let parts: Result<Vec<_>, _> = related.filter.iter().map(one).collect();
        Ok(Fragment::all(&parts?))
    }

    /// Only rows of the time asked for. A row without a time is of none.
    fn within(&self, rows: &mut Rows<'a>, related: &Related, deadline: bool) -> Result<(), RenderError> {
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

fn exists(rows: &Rows<'_>, filter: &Fragment) -> Fragment {
    let mut tests = rows.conditions.clone();
    tests.push(filter.clone());
    Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&rows.from, &Fragment::all(&tests)])
}

/// Whether a row can leave open if it passes these.
fn may_be_open(filter: &[Condition]) -> bool {
    filter.iter().any(|condition| match condition {
        Condition::All(parts) | Condition::Any(parts) => may_be_open(parts),
        Condition::Not(inner) => may_be_open(std::slice::from_ref(inner)),
        Condition::Field { test: Test::Missing | Test::Present, .. } => false,
        Condition::Field { .. } | Condition::Score(_) | Condition::Saved(_) => true,
        Condition::Related(related) => match related.quantity {
            Quantity::Some | Quantity::None | Quantity::Count(_) => may_be_open(&related.filter),
            Quantity::Sum { .. } | Quantity::Min { .. } | Quantity::Max { .. } => true,
        },
    })
}

/// Which numbers pass a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// All from one on, or all up to one.
    Side,
    /// Those between two.
    Span,
    Other,
}

fn shape(test: &Test) -> Shape {
    match test {
        Test::AtLeast(_) | Test::AtMost(_) | Test::Above(_) | Test::Below(_) => Shape::Side,
        Test::Equals(_) | Test::Between(..) => Shape::Span,
        Test::Both(tests) if tests.iter().all(|test| shape(test) != Shape::Other) => Shape::Span,
        _ => Shape::Other,
    }
}

/// A test that asks for rows dated after now sees them.
fn looks_ahead(test: &Test) -> bool {
    match test {
        Test::WithinNext(_) | Test::Before(Moment::Ahead(_)) | Test::After(Moment::Ahead(_) | Moment::Now) => true,
        Test::Both(tests) => tests.iter().any(looks_ahead),
        _ => false,
    }
}
