//! Many rows as one relation of a statement: `unnest($1::bytea[], …)` on PostgreSQL, which is sent once for a
//! whole batch whatever its size; `(VALUES ($1, $2), …)` on SQLite, in pieces of a few fixed sizes, so that each
//! statement is prepared once. On SQLite that is six times as fast as unfolding one JSON parameter.

use std::fmt::Write;
use std::ops::Range;

/// Rows that statements over a batch have place for on SQLite. The largest, times the widest batch, stays far
/// below SQLite's 32,766 parameters.
const PLACES: [usize; 4] = [4, 16, 64, 256];

/// One column of a [`Batch`], with the type its values have in SQL.
#[derive(Debug, Clone)]
pub struct Column {
    name: &'static str,
    cells: Cells,
}

#[derive(Debug, Clone)]
pub(super) enum Cells {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Id(Vec<Option<[u8; 16]>>),
}

/// Rows to send, kept by column.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    columns: Vec<Column>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn ints(mut self, name: &'static str, values: impl IntoIterator<Item = impl Into<Option<i64>>>) -> Self {
        let cells = Cells::Int(values.into_iter().map(Into::into).collect());
        self.columns.push(Column { name, cells });
        self
    }

    pub fn texts<T: Into<String>>(self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        self.opt_texts(name, values.into_iter().map(Some))
    }

    pub fn opt_texts<T: Into<String>>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = Option<T>>,
    ) -> Self {
        let cells = Cells::Text(values.into_iter().map(|value| value.map(Into::into)).collect());
        self.columns.push(Column { name, cells });
        self
    }

    pub fn ids<'a>(self, name: &'static str, values: impl IntoIterator<Item = &'a [u8; 16]>) -> Self {
        self.opt_ids(name, values.into_iter().map(Some))
    }

    pub fn opt_ids<'a>(mut self, name: &'static str, values: impl IntoIterator<Item = Option<&'a [u8; 16]>>) -> Self {
        let cells = Cells::Id(values.into_iter().map(Option::<&[u8; 16]>::copied).collect());
        self.columns.push(Column { name, cells });
        self
    }

    /// Rows in it: the length of its columns, which are all of one length.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| match &column.cells {
            Cells::Int(cells) => cells.len(),
            Cells::Text(cells) => cells.len(),
            Cells::Id(cells) => cells.len(),
        })
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &Cells> {
        self.columns.iter().map(|column| &column.cells)
    }

    /// The rows in pieces that a statement has place for.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let (rows, most) = (self.len(), PLACES[PLACES.len() - 1]);
        (0..rows).step_by(most).map(move |from| from..rows.min(from + most))
    }

    /// How many places the statement for a piece of so many rows has.
    pub(super) fn places(rows: usize) -> usize {
        PLACES.into_iter().find(|places| *places >= rows).unwrap_or(rows)
    }

    /// The batch as a relation of PostgreSQL whose first parameter is `$first`.
    pub(super) fn arrays(&self, first: usize) -> String {
        let mut sql = String::with_capacity(64 * self.columns.len());
        sql.push_str("unnest(");
        for (index, column) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}${}::{}[]", first + index, column.cells.postgres_type());
        }
        let _ = write!(sql, ") AS b({})", self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", "));
        sql
    }

    /// A relation of SQLite with place for so many rows, whose first parameter is `$first`. The first column of
    /// a batch is never null, but in places that nothing fills.
    pub(super) fn values(&self, first: usize, places: usize) -> String {
        let width = self.columns.len();
        let mut sql = String::with_capacity(32 * width + places * width * 6);
        sql.push_str("(SELECT ");
        for (index, column) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}column{} AS {}", index + 1, column.name);
        }
        sql.push_str(" FROM (VALUES ");
        for place in 0..places {
            sql.push_str(if place == 0 { "(" } else { "),(" });
            for column in 0..width {
                let comma = if column == 0 { "" } else { "," };
                let _ = write!(sql, "{comma}${}", first + place * width + column);
            }
        }
        sql.push_str(")) WHERE column1 IS NOT NULL) AS b");
        sql
    }
}

impl Cells {
    const fn postgres_type(&self) -> &'static str {
        match self {
            Self::Int(_) => "int8",
            Self::Text(_) => "text",
            Self::Id(_) => "bytea",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        Batch::new().ids("id", &[[0xab; 16]]).ints("at", [7]).opt_texts("key", [None::<String>])
    }

    #[test]
    fn one_batch_is_one_relation_in_either_dialect() {
        insta::assert_snapshot!(sample().arrays(3), @"unnest($3::bytea[], $4::int8[], $5::text[]) AS b(id, at, key)");
        insta::assert_snapshot!(sample().values(2, 2), @"(SELECT column1 AS id, column2 AS at, column3 AS key FROM (VALUES ($2,$3,$4),($5,$6,$7)) WHERE column1 IS NOT NULL) AS b");
    }

    #[test]
    fn pieces_cover_every_row_once() {
        for rows in [0, 1, 3, 255, 256, 257, 1_000] {
            let batch = Batch::new().ints("id", (0..rows).map(|row| row as i64));
            let covered: Vec<usize> = batch.pieces().flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
            assert!(batch.pieces().all(|piece| Batch::places(piece.len()) >= piece.len()));
        }
    }
}
