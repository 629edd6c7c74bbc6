//! Many rows as one relation of a statement: `unnest($1::bytea[], …)` on PostgreSQL, `jsonb_each($1)` on
//! SQLite. A statement is sent once for a whole batch, whatever its size.

use super::Dialect;
use std::fmt::Write;

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

    /// The batch as a relation whose first parameter is `$first`.
    pub(super) fn relation(&self, dialect: Dialect, first: usize) -> String {
        let mut sql = String::with_capacity(64 * self.columns.len());
        match dialect {
            Dialect::Postgres => {
                sql.push_str("unnest(");
                for (index, column) in self.columns.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let _ = write!(sql, "{comma}${}::{}[]", first + index, column.cells.postgres_type());
                }
                sql.push_str(") AS b(");
                sql.push_str(&self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", "));
                sql.push(')');
            }
            Dialect::Sqlite => {
                sql.push_str("(SELECT ");
                for (index, column) in self.columns.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let _ = match column.cells {
                        Cells::Bytes(_) => write!(sql, "{comma}unhex(value ->> {index}) AS {}", column.name),
                        _ => write!(sql, "{comma}value ->> {index} AS {}", column.name),
                    };
                }
                let _ = write!(sql, " FROM jsonb_each(${first})) AS b");
            }
        }
        sql
    }

    /// The rows as a JSON array of arrays, bytes in hexadecimal.
    pub(super) fn to_json(&self) -> String {
        let rows = self.len();
        let mut json = String::with_capacity(rows * self.columns.len() * 16 + 2);
        json.push('[');
        for row in 0..rows {
            json.push_str(if row == 0 { "[" } else { ",[" });
            for (index, column) in self.columns.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                column.cells.write_json(row, &mut json);
            }
            json.push(']');
        }
        json.push(']');
        json
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

    fn write_json(&self, row: usize, json: &mut String) {
        let missing = match self {
            Self::Int(cells) => cells[row].map(|value| {
                let _ = write!(json, "{value}");
            }),
            Self::Text(cells) => cells[row].as_ref().map(|value| write_text(value, json)),
            Self::Bytes(cells) => cells[row].as_ref().map(|value| {
                json.push('"');
                for byte in value {
                    json.push(char::from(HEX[usize::from(byte >> 4)]));
                    json.push(char::from(HEX[usize::from(byte & 15)]));
                }
                json.push('"');
            }),
        };
        if missing.is_none() {
            json.push_str("null");
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn write_text(text: &str, json: &mut String) {
    json.push('"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        json.push_str(&text[plain..index]);
        plain = index + 1;
        let _ = match byte {
            b'"' | b'\\' => write!(json, "\\{}", char::from(byte)),
            _ => write!(json, "\\u{byte:04x}"),
        };
    }
    json.push_str(&text[plain..]);
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        Batch::new()
            .ids("id", &[[0xab; 16]])
            .ints("at", [7])
            .opt_texts("key", [Some("a\"\\\n\u{1}é")])
            .opt_texts("none", [None::<String>])
    }

    #[test]
    fn one_batch_is_one_relation_in_either_dialect() {
        insta::assert_snapshot!(sample().relation(Dialect::Postgres, 3), @"unnest($3::bytea[], $4::int8[], $5::text[], $6::text[]) AS b(id, at, key, none)");
        insta::assert_snapshot!(sample().relation(Dialect::Sqlite, 3), @"(SELECT unhex(value ->> 0) AS id, value ->> 1 AS at, value ->> 2 AS key, value ->> 3 AS none FROM jsonb_each($3)) AS b");
    }

    #[test]
    fn its_json_is_what_a_json_reader_understands() {
        let read: serde_json::Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!(read, serde_json::json!([["ab".repeat(16), 7, "a\"\\\n\u{1}é", null]]));
    }
}
