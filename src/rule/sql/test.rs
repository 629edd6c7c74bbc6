//! Tests of one value.

use super::dialect;
use super::fragment::Fragment;
use super::hole::{Day, DayBase, Hole, Point, PointBase};
use super::operand::{Bound, Operand, below, day_edges};
use super::{RenderError, Renderer};
use crate::catalog::ColumnType;
use crate::model::{Period, Value};
use crate::rule::condition::{Moment, Test};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Order {
    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl Renderer<'_> {
    pub fn test(&self, operand: &Operand, test: &Test) -> Result<Fragment, RenderError> {
        Ok(match test {
            Test::Equals(value) => self.compare(operand, Order::Equal, value),
            Test::NotEquals(value) => self.compare(operand, Order::Equal, value).negated(),
            Test::In(values) => self.one_of(operand, values),
            Test::NotIn(values) => self.one_of(operand, values).negated(),
            Test::AtLeast(value) => self.compare(operand, Order::AtLeast, value),
            Test::AtMost(value) => self.compare(operand, Order::AtMost, value),
            Test::Above(value) => self.compare(operand, Order::Above, value),
            Test::Below(value) => self.compare(operand, Order::Below, value),
            Test::Between(low, high) => {
                Fragment::all(&[self.compare(operand, Order::AtLeast, low), self.compare(operand, Order::AtMost, high)])
            }
            Test::Contains(part) => dialect::contains(self.dialect, &self.words(operand), part),
            Test::StartsWith(part) => dialect::starts_with(self.dialect, &self.words(operand), part),
            Test::EndsWith(part) => dialect::ends_with(self.dialect, &self.words(operand), part),
            Test::Missing => self.missing(operand),
            Test::Present => self.missing(operand).negated(),
            Test::Before(moment) => self.timed(operand, Order::Below, self.moment(operand, *moment)),
            Test::After(moment) => self.timed(operand, Order::Above, self.moment(operand, *moment)),
            Test::OlderThan(period) => self.timed(operand, Order::Below, ago(operand, *period)),
            Test::WithinLast(period) => Fragment::all(&[
                self.timed(operand, Order::AtLeast, ago(operand, *period)),
                self.timed(operand, Order::AtMost, now(operand)),
            ]),
            Test::WithinNext(period) => Fragment::all(&[
                self.timed(operand, Order::AtLeast, now(operand)),
                self.timed(operand, Order::AtMost, ahead(operand, *period)),
            ]),
            Test::Both(tests) => {
                let parts: Result<Vec<_>, _> = tests.iter().map(|test| self.test(operand, test)).collect();
                Fragment::all(&parts?)
            }
        })
    }

    fn one_of(&self, operand: &Operand, values: &[Value]) -> Fragment {
        if values.is_empty() {
            // Nothing is in an empty list, but null still isn't "not in" it.
            return Fragment::of("({} IS NULL AND NULL)", &[&self.shown(operand)]);
        }
        let parts: Vec<Fragment> = values.iter().map(|value| self.compare(operand, Order::Equal, value)).collect();
        Fragment::any(&parts)
    }

    /// The value as exact text, empty as null.
    pub fn words(&self, operand: &Operand) -> Fragment {
        dialect::present_text(self.dialect, &self.shown(operand))
    }

    /// Null, empty, a placeholder, or not readable as its type.
    pub fn missing(&self, operand: &Operand) -> Fragment {
        Fragment::of("({} IS NULL)", &[&self.present(operand)])
    }

    /// Something where there is a value, null where it is missing.
    pub fn present(&self, operand: &Operand) -> Fragment {
        let shown = self.shown(operand);
        match &operand.ty {
            ColumnType::NumberText => self.number(operand, &shown),
            ty if ty.is_number() && (operand.whole || dialect::may_be_none(self.dialect, ty)) => {
                self.number(operand, &shown)
            }
            ColumnType::BoolText => dialect::boolean(self.dialect, &shown, &operand.ty),
            ColumnType::Bool | ColumnType::Int | ColumnType::Decimal | ColumnType::Float | ColumnType::Bytes => shown,
            ColumnType::Date(_) | ColumnType::Instant(_) => self.dated(operand),
            _ => dialect::present_text(self.dialect, &shown),
        }
    }

    fn compare(&self, operand: &Operand, order: Order, value: &Value) -> Fragment {
        let sign = order.sign();
        let constant = || Fragment::hole(Hole::Constant(self.stored(operand, value)));
        let shown = self.shown(operand);
        match value {
            Value::Null => Fragment::text("NULL"),
            Value::Bool(flag) => {
                let boolean = dialect::boolean(self.dialect, &shown, &operand.ty);
                Fragment::of(&format!("({{}} {sign} {})", if *flag { "TRUE" } else { "FALSE" }), &[&boolean])
            }
            Value::Int(_) | Value::Decimal(_) | Value::Float(_) => {
                let number = self.number(operand, &shown);
                Fragment::of(&format!("({{}} {sign} {{}})"), &[&number, &constant()])
            }
            Value::Instant(_) | Value::Date(_) | Value::Naive(_) => self
                .edges(&operand.ty, value)
                .map_or_else(|| Fragment::text("NULL"), |edges| self.timed(operand, order, edges)),
            Value::Bytes(_) => Fragment::of(&format!("({{}} {sign} {{}})"), &[&shown, &constant()]),
            Value::Uuid(_) if matches!(operand.ty, ColumnType::Uuid(_)) => {
                Fragment::of(&format!("({{}} {sign} {{}})"), &[&shown, &constant()])
            }
            Value::Uuid(id) => self.compare_text(operand, order, &id.to_string()),
            Value::Text(text) => self.compare_text(operand, order, text),
            Value::Json(json) => self.compare_text(operand, order, &json.to_string()),
        }
    }

    fn compare_text(&self, operand: &Operand, order: Order, value: &str) -> Fragment {
        let text = self.words(operand);
        let text = if order == Order::Equal { text } else { dialect::ordered_text(self.dialect, &text) };
        Fragment::of(&format!("({{}} {} {{}})", order.sign()), &[&text, &dialect::text_value(self.dialect, value)])
    }

    /// Compares with a point, or with the first and last value of a day.
    fn timed(&self, operand: &Operand, order: Order, (low, high): (Bound, Bound)) -> Fragment {
        let shown = self.shown(operand);
        let at_most = |bound| self.at_most(&shown, &operand.ty, bound);
        match order {
            Order::Below => at_most(below(low)),
            Order::AtMost => at_most(high),
            Order::Above => at_most(high).negated(),
            Order::AtLeast => at_most(below(low)).negated(),
            Order::Equal => Fragment::all(&[at_most(high), at_most(below(low)).negated()]),
        }
    }

    fn moment(&self, operand: &Operand, moment: Moment) -> (Bound, Bound) {
        match moment {
            Moment::At(instant) => {
                let point = Bound::Point(Point::new(PointBase::Fixed(instant)));
                self.edges(&operand.ty, &Value::Instant(instant)).unwrap_or((point, point))
            }
            Moment::On(date) => day_edges(dated(operand), Day::new(DayBase::Fixed(date))),
            Moment::Today => day_edges(dated(operand), Day::new(DayBase::Today)),
            Moment::Now => now(operand),
            Moment::Ago(period) => ago(operand, period),
            Moment::Ahead(period) => ahead(operand, period),
        }
    }
}

fn now(operand: &Operand) -> (Bound, Bound) {
    relative(operand, DayBase::Today, PointBase::Now)
}

fn ago(operand: &Operand, period: Period) -> (Bound, Bound) {
    relative(operand, DayBase::Ago(period), PointBase::Ago(period))
}

fn ahead(operand: &Operand, period: Period) -> (Bound, Bound) {
    relative(operand, DayBase::Ahead(period), PointBase::Ahead(period))
}

fn dated(operand: &Operand) -> bool {
    matches!(operand.ty, ColumnType::Date(_))
}

fn relative(operand: &Operand, day: DayBase, point: PointBase) -> (Bound, Bound) {
    let bound = if dated(operand) { Bound::Day(Day::new(day)) } else { Bound::Point(Point::new(point)) };
    (bound, bound)
}
