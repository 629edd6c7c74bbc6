//! Pieces of SQL that can be put together in any order: placeholders are numbered only at the end.

use super::hole::{Fill, Hole};
use crate::rule::statement::{Dialect, Statement};

/// Stands for a placeholder until the statement is finished. No name can hold it: see [`Fragment::name`].
const HOLE: char = '\u{1}';
/// Stands for the place where a scope or a batch is spliced in, or nothing.
const SPLICE: char = '\u{2}';

/// SQL text with holes, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fragment {
    text: String,
    holes: Vec<Hole>,
}

impl Fragment {
    /// Text of our own; never anything that came from a rule or a catalog.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), holes: Vec::new() }
    }

    /// SQL written by the admin, which may end in a comment.
    pub fn own_sql(sql: &str) -> Self {
        let text: String = sql.chars().filter(|c| !matches!(*c, HOLE | SPLICE)).collect();
        Self::text(text)
    }

    pub fn hole(hole: Hole) -> Self {
        Self { text: HOLE.to_string(), holes: vec![hole] }
    }

    /// The place that [`Fragment::splice`] fills.
    pub fn splice_point() -> Self {
        Self::text(SPLICE.to_string())
    }

    /// A quoted identifier.
    pub fn name(dialect: Dialect, name: &str) -> Self {
        let quote = if dialect == Dialect::MySql { '`' } else { '"' };
        let mut text = String::with_capacity(name.len() + 2);
        text.push(quote);
        // Control characters can't be part of a name that a database would accept.
        for c in name.chars().filter(|c| !c.is_control()) {
            text.push(c);
            if c == quote {
                text.push(c);
            }
        }
        text.push(quote);
        Self::text(text)
    }

    /// `pattern` with each `{}` replaced by the next part.
    pub fn of(pattern: &str, parts: &[&Self]) -> Self {
        let mut built = Self::default();
        let mut parts = parts.iter();
        for (index, piece) in pattern.split("{}").enumerate() {
            if index > 0
                && let Some(part) = parts.next()
            {
                built.push(part);
            }
            built.text.push_str(piece);
        }
        built
    }

    pub fn push(&mut self, other: &Self) {
        self.text.push_str(&other.text);
        self.holes.extend_from_slice(&other.holes);
    }

    /// The parts with `separator` between them.
    pub fn join(parts: &[Self], separator: &str) -> Self {
        let mut built = Self::default();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                built.text.push_str(separator);
            }
            built.push(part);
        }
        built
    }

    /// All must hold; true when there are none.
    pub fn all(parts: &[Self]) -> Self {
        Self::combined(parts, " AND ", "TRUE")
    }

    /// One must hold; false when there are none.
    pub fn any(parts: &[Self]) -> Self {
        Self::combined(parts, " OR ", "FALSE")
    }

    fn combined(parts: &[Self], separator: &str, empty: &str) -> Self {
        match parts {
            [] => Self::text(empty),
            [one] => one.clone(),
            _ => Self::of("({})", &[&Self::join(parts, separator)]),
        }
    }

    #[must_use]
    pub fn negated(&self) -> Self {
        Self::of("(NOT {})", &[self])
    }

    /// Puts `inner` at the splice point.
    pub fn splice(&self, inner: &Self) -> Self {
        let Some(at) = self.text.find(SPLICE) else { return self.clone() };
        let before = self.text[..at].matches(HOLE).count();
        let mut built = Self { text: self.text[..at].to_owned(), holes: self.holes[..before].to_vec() };
        built.push(inner);
        built.text.push_str(&self.text[at + SPLICE.len_utf8()..]);
        built.holes.extend_from_slice(&self.holes[before..]);
        built
    }

    /// Fills the holes and numbers the placeholders.
    pub fn fill(&self, dialect: Dialect, fill: &Fill<'_>) -> Statement {
        let mut sql = String::with_capacity(self.text.len() + 16);
        for (number, piece) in self.text.split(HOLE).enumerate() {
            match (number, dialect) {
                (0, _) => {}
                (_, Dialect::Postgres) => {
                    sql.push('$');
                    sql.push_str(&number.to_string());
                }
                _ => sql.push('?'),
            }
            piece.split(SPLICE).for_each(|text| sql.push_str(text));
        }
        Statement { sql, binds: self.holes.iter().map(|hole| hole.value(fill)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use jiff::{Timestamp, tz::TimeZone};

    fn constant(n: i64) -> Fragment {
        Fragment::hole(Hole::Constant(Value::Int(n)))
    }

    #[test]
    fn placeholders_are_numbered_in_the_order_of_the_text_also_after_splicing() {
        let whole = Fragment::of("a = {} {} b = {}", &[&constant(1), &Fragment::splice_point(), &constant(3)]);
        let whole = whole.splice(&Fragment::of("c = {}", &[&constant(2)]));
        let zone = TimeZone::UTC;
        let filled = whole.fill(Dialect::Postgres, &Fill::at(Timestamp::UNIX_EPOCH, &zone));
        assert_eq!(filled.sql, "a = $1 c = $2 b = $3");
        assert_eq!(filled.binds, vec![Value::Int(1), Value::Int(2), Value::Int(3)]);
        assert_eq!(whole.fill(Dialect::Sqlite, &Fill::at(Timestamp::UNIX_EPOCH, &zone)).sql, "a = ? c = ? b = ?");
    }

    #[test]
    fn names_can_not_leave_their_quotes() {
        assert_eq!(Fragment::name(Dialect::Postgres, "a\"; drop").text, "\"a\"\"; drop\"");
        assert_eq!(Fragment::name(Dialect::MySql, "a`b\u{1}").text, "`a``b`");
    }
}
