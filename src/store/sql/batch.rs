//! Many rows as one relation of a statement: `unnest($1::bytea[], …)` on PostgreSQL, which is sent once for a
//! whole batch whatever its size; `(VALUES (?, ?), …)` on SQLite, in pieces of a few fixed sizes, so that each
//! statement is prepared once. On SQLite that is six times as fast as unfolding one JSON parameter.

use std::fmt::Write;
use std::ops::Range;

/// Rows of the statements that a batch is sent in on SQLite. The largest, times the widest batch, stays far
/// below SQLite's 32,766 parameters.
const PIECES: [usize; 5] = [256, 64, 16, 4, 1];

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
    Bytes(Vec<Option<Vec<u8>>>),
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
        let cells = Cells::Bytes(values.into_iter().map(|id| id.map(|id| id.to_vec())).collect());
        self.columns.push(Column { name, cells });
        self
    }

    /// Rows in it: the length of its columns, which are all of one length.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| match &column.cells {
            Cells::Int(cells) => cells.len(),
            Cells::Text(cells) => cells.len(),
            Cells::Bytes(cells) => cells.len(),
        })
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &Cells> {
        self.columns.iter().map(|column| &column.cells)
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The rows in as few pieces as the sizes allow.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let (rows, mut from) = (self.len(), 0);
        std::iter::from_fn(move || {
            let size = PIECES.into_iter().find(|size| from + size <= rows)?;
            from += size;
            Some(from - size..from)
        })
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

    /// So many rows as a relation of SQLite. Its parameters have no names, since SQLite looks names up one by
    /// one.
    pub(super) fn values(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(","));
        let mut sql = String::with_capacity(32 * self.columns.len() + rows * (row.len() + 1));
        sql.push_str("(SELECT ");
        for (index, column) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}column{} AS {}", index + 1, column.name);
        }
        let _ = write!(sql, " FROM (VALUES {})) AS b", vec![row.as_str(); rows].join(","));
        sql
    }
}

impl Cells {
    const fn postgres_type(&self) -> &'static str {
        match self {
            Self::Int(_) => "int8",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytea",
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
        insta::assert_snapshot!(sample().values(2), @"(SELECT column1 AS id, column2 AS at, column3 AS key FROM (VALUES (?,?,?),(?,?,?))) AS b");
    }

    #[test]
    fn pieces_cover_every_row_once() {
        for rows in [0, 1, 3, 255, 256, 1_000] {
            let batch = Batch::new().ints("id", (0..rows).map(|row| row as i64));
            let covered: Vec<usize> = batch.pieces().flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
        }
        assert_eq!(Batch::new().ints("id", 0..1_000).pieces().count(), 3 + 3 + 2 + 2);
    }
}
