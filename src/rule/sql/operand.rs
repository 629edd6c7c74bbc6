//! A value to test: a column or a computed expression, with what its cells mean.

use super::dialect;
use super::fragment::Fragment;
use super::hole::{Day, DayBase, Hole, Point, PointBase};
use super::iso;
use super::wire::Form;
use super::{Anchor, RenderError, Renderer};
use crate::catalog::{AggregateFunction, Column, ColumnType, DateStorage, Entity, Expression, InstantStorage, Literal};
use crate::model::{FieldName, Value};
use crate::rule::statement::Dialect;
use jiff::tz::TimeZone;

/// The sum of no rows is 0. Of rows that all lack the value nobody knows it.
const OF_NOTHING: &str = "CASE WHEN COUNT(*) = 0 THEN 0 END";

#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub raw: Fragment,
    pub ty: ColumnType,
    pub missing: Vec<Literal>,
    /// Of numbers: those that aren't whole are missing.
    pub whole: bool,
}

/// What a stored time is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Point(Point),
    Day(Day),
    Anchor(Anchor),
}

impl Renderer<'_> {
    pub fn column_operand(&self, alias: &str, column: &Column) -> Operand {
        let missing = column.missing.clone();
        Operand { raw: self.cell(alias, column), ty: column.ty.clone(), missing, whole: column.whole }
    }

    /// A field of an entity's row.
    pub fn operand(&self, entity: &Entity, alias: &str, name: &FieldName) -> Result<Operand, RenderError> {
        match Self::field(entity, name).expression {
            Expression::Column(column) => Ok(self.column_operand(alias, &column)),
            Expression::Means { column, words } => Ok(self.renamed(&self.column_operand(alias, &column), &words)),
            Expression::Aggregate(aggregate) => self.aggregate(entity, alias, &aggregate),
        }
    }

    /// Stored values as the rules' words; values without a word stay what they are.
    fn renamed(&self, stored: &Operand, words: &[(String, Vec<Literal>)]) -> Operand {
        let mut cases = Fragment::text("(CASE");
        for (word, literals) in words {
            let held: Vec<Fragment> = literals.iter().map(|literal| self.is_literal(stored, literal)).collect();
            let word = Fragment::hole(Hole::Constant(Value::Text(word.clone())));
            let word =
                if self.dialect == Dialect::Postgres { Fragment::of("CAST({} AS text)", &[&word]) } else { word };
            cases.push(&Fragment::of(" WHEN {} THEN {}", &[&Fragment::any(&held), &word]));
        }
        let shown = self.shown(stored);
        let stays = match self.dialect {
            Dialect::MySql => Fragment::of("CONVERT({} USING utf8mb4)", &[&shown]),
            dialect => dialect::text(dialect, &shown),
        };
        // `NaN` is no word.
        let is_native = matches!(stored.ty, ColumnType::Decimal | ColumnType::Float);
        let stays = if self.dialect == Dialect::Postgres && is_native {
            Fragment::of("(CASE WHEN {} IS NOT NULL THEN {} END)", &[&self.number(stored, &shown), &stays])
        } else {
            stays
        };
        cases.push(&Fragment::of(" ELSE {} END)", &[&stays]));
        Operand { raw: cases, ty: ColumnType::Text, missing: Vec::new(), whole: false }
    }

    /// The value as a number, null where it is none of its type.
    pub fn number(&self, operand: &Operand, raw: &Fragment) -> Fragment {
        if operand.whole {
            return dialect::whole(self.dialect, raw);
        }
        dialect::number(self.dialect, raw, &operand.ty)
    }

    /// The value with its placeholders, MySQL's zero dates and PostgreSQL's infinite ones as null.
    pub fn shown(&self, operand: &Operand) -> Fragment {
        let mut hidden: Vec<Fragment> =
            operand.missing.iter().map(|literal| self.is_literal(operand, literal)).collect();
        if self.keeps_zero_dates(&operand.ty) {
            hidden.push(Fragment::of("YEAR({}) = 0", &[&operand.raw]));
        }
        if self.keeps_infinite_times(&operand.ty) {
            hidden.push(Fragment::of("{} IN ('infinity', '-infinity')", &[&operand.raw]));
        }
        if hidden.is_empty() {
            return operand.raw.clone();
        }
        Fragment::of("(CASE WHEN {} THEN NULL ELSE {} END)", &[&Fragment::any(&hidden), &operand.raw])
    }

    fn keeps_zero_dates(&self, ty: &ColumnType) -> bool {
        self.dialect == Dialect::MySql && is_native_time(ty)
    }

    fn keeps_infinite_times(&self, ty: &ColumnType) -> bool {
        self.dialect == Dialect::Postgres && is_native_time(ty)
    }

    /// Whether the stored value is this constant of the catalog.
    pub fn is_literal(&self, operand: &Operand, literal: &Literal) -> Fragment {
        let raw = &operand.raw;
        match &literal.value {
            Value::Bool(flag) => {
                let boolean = dialect::boolean(self.dialect, raw, &operand.ty);
                Fragment::of(if *flag { "({} = TRUE)" } else { "({} = FALSE)" }, &[&boolean])
            }
            Value::Int(_) | Value::Decimal(_) | Value::Float(_) if operand.ty != ColumnType::Text => Fragment::of(
                "({} = {})",
                &[&self.number(operand, raw), &Fragment::hole(Hole::Constant(literal.value.clone()))],
            ),
            Value::Date(_) | Value::Instant(_) | Value::Naive(_) => match self.edges(&operand.ty, &literal.value) {
                Some((low, high)) => Fragment::all(&[
                    self.at_most(raw, &operand.ty, high),
                    self.at_most(raw, &operand.ty, below(low)).negated(),
                ]),
                None => self.is_text(raw, &literal.text),
            },
            Value::Bytes(_) | Value::Uuid(_) => {
                Fragment::of("({} = {})", &[raw, &Fragment::hole(Hole::Constant(self.stored(operand, &literal.value)))])
            }
            _ => self.is_text(raw, &literal.text),
        }
    }

    fn is_text(&self, raw: &Fragment, text: &str) -> Fragment {
        Fragment::of("({} = {})", &[&dialect::text(self.dialect, raw), &dialect::text_value(self.dialect, text)])
    }

    /// UUIDs and bytes in the column's storage.
    pub fn stored(&self, operand: &Operand, value: &Value) -> Value {
        use crate::catalog::UuidStorage;
        match (&operand.ty, value) {
            (ColumnType::Uuid(UuidStorage::Binary), Value::Uuid(id)) => Value::Bytes(id.as_bytes().to_vec()),
            (ColumnType::Uuid(UuidStorage::Native), Value::Uuid(id)) if self.dialect == Dialect::Postgres => {
                Value::Uuid(*id)
            }
            (_, Value::Uuid(id)) => Value::Text(id.to_string()),
            _ => value.clone(),
        }
    }

    /// The form in which this dialect keeps a column of time.
    pub fn form(&self, ty: &ColumnType) -> Form {
        if self.dialect == Dialect::Sqlite {
            // SQLite has no type for time: what isn't declared as a number is ISO text.
            match ty {
                ColumnType::Date(_) => return Form::DayText,
                ColumnType::Instant(InstantStorage::Naive(zone)) => return Form::WallText(zone.clone()),
                ColumnType::Instant(InstantStorage::Native) | ColumnType::Unknown => {
                    return Form::WallText(self.catalog.time_zone.clone());
                }
                _ => {}
            }
        }
        Form::of(ty)
    }

    /// The first and last value that count as this point or day, for a column of this type.
    pub fn edges(&self, ty: &ColumnType, value: &Value) -> Option<(Bound, Bound)> {
        let zone = &self.catalog.time_zone;
        let dated = matches!(ty, ColumnType::Date(_));
        match value {
            Value::Instant(instant) if dated => {
                let day = Bound::Day(Day::new(DayBase::Fixed(super::wire::day_of(*instant, zone))));
                Some((day, day))
            }
            Value::Instant(instant) => {
                let point = Bound::Point(Point::new(PointBase::Fixed(*instant)));
                Some((point, point))
            }
            Value::Naive(wall) => self.edges(ty, &Value::Instant(crate::model::at_local(*wall, zone))),
            Value::Date(date) => Some(day_edges(dated, Day::new(DayBase::Fixed(*date)))),
            _ => None,
        }
    }

    /// Whether a stored time reads as at most the bound. Null where it is missing.
    pub fn at_most(&self, raw: &Fragment, ty: &ColumnType, bound: Bound) -> Fragment {
        match self.form(ty) {
            Form::WallText(zone) => {
                let utc = self.bound(&Form::UtcText, bound);
                iso::at_most(self.dialect, raw, &utc, &self.bound(&Form::WallText(zone), bound))
            }
            Form::DayText => {
                let day = iso::day(self.dialect, raw);
                let value = dialect::bound_text(self.dialect, &self.bound(&Form::DayText, bound));
                Fragment::of("({} <= {})", &[&dialect::ordered_text(self.dialect, &day), &value])
            }
            form @ (Form::Seconds | Form::Millis) => {
                Fragment::of("({} <= {})", &[&self.counted(raw), &self.bound(&form, bound)])
            }
            form => Fragment::of("({} <= {})", &[raw, &self.bound(&form, bound)]),
        }
    }

    /// Seconds or milliseconds as a number: SQLite's columns hold anything, and text is more than every number.
    fn counted(&self, raw: &Fragment) -> Fragment {
        match self.dialect {
            Dialect::Sqlite => Fragment::of("(CASE WHEN typeof({}) IN ('integer', 'real') THEN {} END)", &[raw, raw]),
            Dialect::Postgres | Dialect::MySql => raw.clone(),
        }
    }

    /// The value of a date or time as it is, but null where it can't be read as one.
    pub fn dated(&self, operand: &Operand) -> Fragment {
        let shown = self.shown(operand);
        match (&operand.ty, self.form(&operand.ty)) {
            (ColumnType::Date(_), Form::DayText) => iso::day(self.dialect, &shown),
            (ColumnType::Instant(_), Form::WallText(_)) => iso::time(self.dialect, &shown),
            (ColumnType::Instant(_), Form::Seconds | Form::Millis) => self.counted(&shown),
            _ => shown,
        }
    }

    fn bound(&self, form: &Form, bound: Bound) -> Fragment {
        match bound {
            Bound::Point(point) => Fragment::hole(Hole::Time(point, form.clone())),
            Bound::Day(day) if matches!(form, Form::Day | Form::DayText) => {
                Fragment::hole(Hole::Day(day, form.clone()))
            }
            Bound::Day(day) => Fragment::hole(Hole::Time(Point::new(PointBase::StartOf(day)), form.clone())),
            Bound::Anchor(anchor) => self.anchor(anchor, form),
        }
    }

    /// `after < stored ≤ until` with bare columns and bound constants, so that an index serves it. For
    /// text, whose forms don't sort alike, a coarse range by days stands before the exact test.
    pub fn range(&self, raw: &Fragment, ty: &ColumnType, after: Point, until: Point) -> Vec<Fragment> {
        let exact = |parts: &mut Vec<Fragment>| {
            parts.push(self.at_most(raw, ty, Bound::Point(until)));
            parts.push(self.at_most(raw, ty, Bound::Point(after)).negated());
        };
        let mut parts = Vec::new();
        match self.form(ty) {
            Form::WallText(_) => {
                parts.extend(coarse_range(raw, after, until));
                exact(&mut parts);
            }
            Form::DayText => exact(&mut parts),
            form => {
                let low = Fragment::hole(Hole::Time(after, form.clone()));
                parts.push(Fragment::of("{} > {}", &[raw, &low]));
                parts.push(Fragment::of("{} <= {}", &[raw, &Fragment::hole(Hole::Time(until, form))]));
            }
        }
        parts
    }

    /// As [`Renderer::range`], for columns of whole days.
    pub fn day_range(&self, raw: &Fragment, ty: &ColumnType, after: Day, until: Day) -> Vec<Fragment> {
        match self.form(ty) {
            form @ Form::Day => {
                let low = Fragment::hole(Hole::Day(after, form.clone()));
                vec![
                    Fragment::of("{} > {}", &[raw, &low]),
                    Fragment::of("{} <= {}", &[raw, &Fragment::hole(Hole::Day(until, form))]),
                ]
            }
            form => {
                // Text: bare columns again, with the day after the last as an open end for `2026-01-31T…`.
                let low = Fragment::hole(Hole::Day(after.plus(1), form.clone()));
                vec![
                    Fragment::of("{} >= {}", &[raw, &low]),
                    Fragment::of("{} < {}", &[raw, &Fragment::hole(Hole::Day(until.plus(1), form))]),
                ]
            }
        }
    }

    /// None of the column's placeholders.
    pub fn not_placeholder(&self, operand: &Operand) -> Vec<Fragment> {
        let placeholders: Vec<Fragment> =
            operand.missing.iter().map(|literal| self.is_literal(operand, literal)).collect();
        if placeholders.is_empty() { Vec::new() } else { vec![Fragment::any(&placeholders).negated()] }
    }

    /// The value in a form that sorts by what it is and not by its spelling, null where it is none of its type; and the
    /// type of that form.
    pub fn sortable(&self, value: &Operand) -> (Fragment, ColumnType) {
        match (&value.ty, self.form(&value.ty)) {
            (ColumnType::NumberText, _) => (self.number(value, &self.shown(value)), ColumnType::Decimal),
            (ColumnType::Instant(_), Form::WallText(zone)) => {
                (iso::sortable(self.dialect, &self.shown(value)), ColumnType::Instant(InstantStorage::Text(zone)))
            }
            (ColumnType::Int | ColumnType::Decimal | ColumnType::Float, _) => {
                (self.number(value, &self.shown(value)), value.ty.clone())
            }
            (ColumnType::Date(_), Form::DayText) => (self.dated(value), ColumnType::Date(DateStorage::Text)),
            (ty @ ColumnType::Instant(_), _) => (self.dated(value), ty.clone()),
            (ColumnType::Bool | ColumnType::BoolText, _) => {
                (dialect::boolean(self.dialect, &self.shown(value), &value.ty), ColumnType::Bool)
            }
            (ty, _) => (self.shown(value), ty.clone()),
        }
    }

    /// An aggregate function over a related value, and the type of its result.
    pub fn aggregated(&self, function: AggregateFunction, value: Option<&Operand>) -> (Fragment, ColumnType) {
        let Some(value) = value else { return (Fragment::text("COUNT(*)"), ColumnType::Int) };
        let number = || self.number(value, &self.shown(value));
        match function {
            AggregateFunction::Count => (Fragment::of("COUNT({})", &[&self.present(value)]), ColumnType::Int),
            AggregateFunction::Sum if self.dialect == Dialect::Sqlite => {
                // Sums of doubles: cents that don't add up would miss `at_least`.
                (
                    Fragment::of(&format!("COALESCE(round(SUM({{}}), 6), {OF_NOTHING})"), &[&number()]),
                    ColumnType::Decimal,
                )
            }
            AggregateFunction::Sum => {
                (Fragment::of(&format!("COALESCE(SUM({{}}), {OF_NOTHING})"), &[&number()]), ColumnType::Decimal)
            }
            AggregateFunction::Average => (Fragment::of("AVG({})", &[&number()]), ColumnType::Decimal),
            AggregateFunction::Min | AggregateFunction::Max => {
                let name = if function == AggregateFunction::Min { "MIN({})" } else { "MAX({})" };
                let (inner, ty) = self.sortable(value);
                (Fragment::of(name, &[&inner]), ty)
            }
        }
    }
}

/// Of the database's own types for time.
const fn is_native_time(ty: &ColumnType) -> bool {
    matches!(
        ty,
        ColumnType::Date(DateStorage::Native) | ColumnType::Instant(InstantStorage::Native | InstantStorage::Naive(_))
    )
}

/// By days alone, wide enough for every zone and offset: for an index over text.
pub(super) fn coarse_range(raw: &Fragment, after: Point, until: Point) -> Vec<Fragment> {
    vec![
        Fragment::of("{} >= {}", &[raw, &Fragment::hole(Hole::Prefix(after, -2))]),
        Fragment::of("{} < {}", &[raw, &Fragment::hole(Hole::Prefix(until, 3))]),
    ]
}

/// The first and last value of a day.
pub(super) fn day_edges(dated: bool, day: Day) -> (Bound, Bound) {
    if dated {
        return (Bound::Day(day), Bound::Day(day));
    }
    let end = Point::new(PointBase::StartOf(day.plus(1))).just_below();
    (Bound::Point(Point::new(PointBase::StartOf(day))), Bound::Point(end))
}

/// The greatest value below a bound.
pub(super) fn below(bound: Bound) -> Bound {
    match bound {
        Bound::Point(point) => Bound::Point(point.just_below()),
        Bound::Day(day) => Bound::Day(day.plus(-1)),
        Bound::Anchor(anchor) => Bound::Anchor(anchor),
    }
}

/// How a cell of this type is read back; see [`super::read`].
pub(super) fn zone_of(ty: &ColumnType, default: &TimeZone) -> TimeZone {
    match ty {
        ColumnType::Instant(InstantStorage::Naive(zone) | InstantStorage::Text(zone)) => zone.clone(),
        _ => default.clone(),
    }
}
