//! Which of several rows is told of, where a trigger looks at one of them (a cart, an answer): the one that an occasion
//! is about. Where there is no occasion, the one that is nearest to be one.

use super::fragment::Fragment;
use super::hole::Hole;
use super::operand::Operand;
use super::plan::CrossingPlan;
use super::relation::Rows;
use super::{Renderer, dialect};
use crate::catalog::{Catalog, KeyType};
use crate::model::{Key, Occasion, Period};
use crate::rule::CheckedRule;
use crate::rule::checked::{Survey, Trigger};
use crate::rule::compiled::{Crossing, Reach, ReadError, Window};
use crate::rule::statement::{Dialect, Row, Statement};

/// One row of several.
pub(super) struct Nearest<'a> {
    pub rows: Rows<'a>,
    order: Fragment,
}

impl<'a> Nearest<'a> {
    /// This row; else the newest for which all that is wanted holds; else the newest.
    pub fn of(renderer: &Renderer<'_>, rows: Rows<'a>, row: Option<&Key>, wanted: &[Fragment], at: &Operand) -> Self {
        let dated = renderer.dated(at);
        let own = renderer.key_of(rows.entity, &rows.alias);
        let mut order = Fragment::of(
            "CASE WHEN {} THEN 0 ELSE 1 END, CASE WHEN {} IS NULL THEN 1 ELSE 0 END, {} DESC, {}",
            &[&Fragment::all(wanted), &dated, &dated, &own],
        );
        if let Some(row) = row {
            let is_row = is_row(renderer.dialect, &rows.entity.key_type, &own, row);
            order = Fragment::of("CASE WHEN {} THEN 0 ELSE 1 END, {}", &[&is_row, &order]);
        }
        Self { rows, order }
    }

    pub fn pick(&self, what: &Fragment) -> Fragment {
        let tests = Fragment::all(&self.rows.conditions);
        Fragment::of("(SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1)", &[what, &self.rows.from, &tests, &self.order])
    }
}

fn is_row(dialect: Dialect, ty: &KeyType, own: &Fragment, key: &Key) -> Fragment {
    let key = Fragment::hole(Hole::Constant(dialect::key_value(ty, key)));
    let pattern = match (dialect, ty) {
        // Of an unknown type nothing but its text can be compared.
        (Dialect::Postgres, KeyType::Unknown) => "CAST({} AS text) = {}",
        _ => "{} = {}",
    };
    Fragment::of(pattern, &[own, &key])
}

/// The key of the row that an occasion is about, where the trigger looks at rows of a relation one by one.
#[must_use]
pub fn row_of(rule: &CheckedRule, occasion: &Occasion) -> Option<Key> {
    let key = match &rule.trigger {
        Trigger::Survey(_) => occasion.as_str(),
        Trigger::Abandoned(abandoned) if abandoned.of.is_some() => occasion.as_str().rsplit_once('/')?.0,
        _ => return None,
    };
    Some(Key::new(key))
}

/// All answers that a survey's rule looks through, whatever their score and however fresh: in what order they came,
/// no database can tell of times kept as text.
#[derive(Debug, Clone)]
pub struct AnswersPlan(CrossingPlan);

impl AnswersPlan {
    /// `None` for other triggers, and for rules that the catalog doesn't fit.
    #[must_use]
    pub fn render(rule: &CheckedRule, catalog: &Catalog, dialect: Dialect) -> Option<Self> {
        let Trigger::Survey(survey) = &rule.trigger else { return None };
        let any = Survey { score: None, settle: Period::days(0), cooldown: None, ..survey.clone() };
        let rule = CheckedRule { trigger: Trigger::Survey(any), ..rule.clone() };
        let entity = catalog.entity(&rule.for_each)?;
        CrossingPlan::render(&Renderer::new(dialect, catalog), &rule, entity).ok().map(Self)
    }

    #[must_use]
    pub fn statements(&self, keys: &[Key], window: Window) -> Vec<Statement> {
        self.0.statements(Reach::Of(window, keys))
    }

    pub fn read(&self, statement: usize, row: &Row, window: Window) -> Result<Option<Crossing>, ReadError> {
        self.0.read(statement, row, window)
    }
}
