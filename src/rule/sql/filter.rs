//! The catalog's constant filters: base filters, relation filters, which tasks are open.
//!
//! They stand in the crossing queries, so the column stays bare where an index or a planner's statistics
//! can use it.

use super::Renderer;
use super::dialect;
use super::fragment::Fragment;
use super::hole::Hole;
use super::operand::Operand;
use crate::catalog::{ColumnType, Filter, FilterTest, Literal};
use crate::model::Value;
use crate::rule::statement::Dialect;

/// All filters over the row `alias`.
pub(crate) fn all_of(renderer: &Renderer<'_>, alias: &str, filters: &[Filter]) -> Vec<Fragment> {
    filters
        .iter()
        .map(|filter| {
            let operand = renderer.column_operand(alias, &filter.column);
            match &filter.test {
                FilterTest::In(literals) => renderer.among(&operand, literals),
                FilterTest::NotIn(literals) => {
                    let (empty, named): (Vec<_>, Vec<_>) = literals.iter().partition(|literal| is_missing(literal));
                    drop(empty);
                    let mut parts = vec![renderer.missing(&operand).negated()];
                    parts.extend(named.into_iter().map(|literal| renderer.is_literal(&operand, literal).negated()));
                    Fragment::all(&parts)
                }
                FilterTest::Missing => renderer.missing(&operand),
                FilterTest::Present => renderer.missing(&operand).negated(),
            }
        })
        .collect()
}

fn is_missing(literal: &Literal) -> bool {
    literal.value.is_missing()
}

impl Renderer<'_> {
    fn among(&self, operand: &Operand, literals: &[Literal]) -> Fragment {
        let (empty, named): (Vec<&Literal>, Vec<&Literal>) = literals.iter().partition(|literal| is_missing(literal));
        let mut parts = Vec::new();
        if !empty.is_empty() {
            parts.push(self.missing(operand));
        }
        let texts = named.iter().all(|literal| matches!(literal.value, Value::Text(_)));
        if texts && !named.is_empty() && operand.ty == ColumnType::Text {
            parts.push(self.bare_in(operand, &named));
        } else {
            parts.extend(named.iter().map(|literal| self.is_literal(operand, literal)));
        }
        Fragment::any(&parts)
    }

    /// `column IN (…)` on the bare column; MySQL's collation-blind answer is tested again byte by byte.
    fn bare_in(&self, operand: &Operand, literals: &[&Literal]) -> Fragment {
        let bound: Vec<Fragment> = literals
            .iter()
            .map(|literal| {
                Fragment::hole(Hole::Constant(Value::Text(literal.value.as_text().unwrap_or_default().into())))
            })
            .collect();
        let bare = Fragment::of("{} IN ({})", &[&operand.raw, &Fragment::join(&bound, ", ")]);
        if self.dialect != Dialect::MySql {
            return bare;
        }
        let exact: Vec<Fragment> = bound.iter().map(|value| dialect::bound_text(self.dialect, value)).collect();
        let text = dialect::text(self.dialect, &operand.raw);
        Fragment::of("({} AND {} IN ({}))", &[&bare, &text, &Fragment::join(&exact, ", ")])
    }
}
