//! A batch of keys as one bound JSON text, joined to the records.

use super::Anchor;
use super::dialect::{key_json, key_value};
use super::fragment::Fragment;
use super::hole::Hole;
use super::wire::Form;
use crate::catalog::{KeyType, UuidStorage};
use crate::model::{Key, Period, Value};
use crate::rule::compiled::Subject;
use crate::rule::statement::Dialect;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value as Json};

/// The shape of the batch: its keys and the instants that go with each.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    dialect: Dialect,
    key: KeyType,
    anchors: Vec<(Anchor, Form)>,
    within: Option<Period>,
}

impl Batch {
    pub fn new(dialect: Dialect, key: KeyType, anchors: Vec<(Anchor, Form)>, within: Option<Period>) -> Self {
        Self { dialect, key, anchors, within }
    }

    /// The rows of the batch under the alias `b`: `b.k` is the key as it stands in the JSON, `b.sN` an
    /// instant. Keys that are [`Batch::plain`] are asked for in a way that more indexes serve.
    pub fn from(&self, plain: bool) -> Fragment {
        let keys = Fragment::hole(Hole::Keys);
        let columns = |join: &dyn Fn(usize, &Form) -> String| -> String {
            self.anchors.iter().enumerate().map(|(number, (_, form))| join(number, form)).collect()
        };
        let pattern = match self.dialect {
            Dialect::Postgres => {
                let anchors = columns(&|number, form| format!(", s{number} {}", postgres_type(form)));
                let key = match self.key {
                    KeyType::Int => "bigint",
                    KeyType::Uuid(UuidStorage::Native) => "uuid",
                    KeyType::Padded => "bpchar",
                    _ => "text",
                };
                format!("json_to_recordset(CAST({{}} AS json)) AS b(k {key}{anchors})")
            }
            Dialect::MySql => {
                let anchors = columns(&|number, form| format!(", s{number} {} PATH '$.s{number}'", mysql_type(form)));
                let key = match self.key {
                    KeyType::Int if plain => "BIGINT",
                    KeyType::Int => "DECIMAL(20, 0)",
                    _ if plain => "VARCHAR(512) CHARACTER SET ascii",
                    _ => "VARCHAR(512) CHARACTER SET utf8mb4",
                };
                format!("JSON_TABLE({{}}, '$[*]' COLUMNS (k {key} PATH '$.k'{anchors})) AS b")
            }
            Dialect::Sqlite => {
                let anchors = columns(&|number, _| format!(", json_extract(value, '$.s{number}') AS s{number}"));
                format!("(SELECT json_extract(value, '$.k') AS k{anchors} FROM json_each({{}})) AS b")
            }
        };
        Fragment::of(&pattern, &[&keys])
    }

    /// Whether the record's key is the batch's.
    pub fn is_key(&self, key: &Fragment, plain: bool) -> Fragment {
        let bytes = matches!(self.key, KeyType::Bytes | KeyType::Uuid(UuidStorage::Binary));
        let theirs = match self.dialect {
            Dialect::Postgres if bytes => "decode(b.k, 'hex')",
            Dialect::MySql | Dialect::Sqlite if bytes => "unhex(b.k)",
            Dialect::MySql if self.is_text() && !plain => "b.k COLLATE utf8mb4_bin",
            _ => "b.k",
        };
        let equal = Fragment::of(&format!("{{}} = {theirs}"), &[key]);
        match (self.dialect, &self.key) {
            (Dialect::Postgres, KeyType::Unknown) => Fragment::of("CAST({} AS text) = b.k", &[key]),
            (Dialect::MySql, KeyType::Text) if plain => {
                let exact = super::dialect::text(self.dialect, key);
                Fragment::of("{} AND {} = CAST(b.k AS BINARY)", &[&equal, &exact])
            }
            _ => equal,
        }
    }

    /// The batch joined to the records: it is small and leads. SQLite takes a cross join as an order.
    pub fn leading(&self, records: &Fragment, key: &Fragment, plain: bool) -> Fragment {
        let (batch, is_key) = (self.from(plain), self.is_key(key, plain));
        let pattern = match self.dialect {
            Dialect::Sqlite => "{} CROSS JOIN {} ON {}",
            Dialect::MySql => "{} STRAIGHT_JOIN {} ON {}",
            Dialect::Postgres => "{} JOIN {} ON {}",
        };
        Fragment::of(pattern, &[&batch, records, &is_key])
    }

    fn is_text(&self) -> bool {
        matches!(self.key, KeyType::Text | KeyType::Padded | KeyType::Unknown | KeyType::Uuid(_))
    }

    /// Whether all keys are plain ASCII, and numbers of no more than 64 bits with a sign. MySQL can only look up a text
    /// key by an index if the batch's text doesn't bring its own Unicode collation; plain ASCII doesn't.
    pub fn plain<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> bool {
        match self.key {
            KeyType::Int => keys.all(|key| !matches!(key_value(&self.key, key), Value::Decimal(_))),
            _ => keys.all(|key| key.as_str().is_ascii()),
        }
    }

    /// Only MySQL has such numbers; PostgreSQL would refuse the whole batch for one.
    fn key_json(&self, key: &Key) -> Json {
        match key_json(&self.key, key) {
            Json::Number(number) if self.dialect != Dialect::MySql && !number.is_i64() => Json::Null,
            json => json,
        }
    }

    /// The JSON of these subjects.
    pub fn json(&self, subjects: &[Subject], zone: &TimeZone) -> String {
        let rows: Vec<Json> = subjects
            .iter()
            .map(|subject| {
                let mut row = Map::new();
                row.insert("k".to_owned(), self.key_json(&subject.key));
                for (number, (anchor, form)) in self.anchors.iter().enumerate() {
                    if let Some(instant) = self.instant(*anchor, subject, zone) {
                        row.insert(format!("s{number}"), anchor_json(&form.at_most(instant, zone)));
                    }
                }
                Json::Object(row)
            })
            .collect();
        Json::Array(rows).to_string()
    }

    fn instant(&self, anchor: Anchor, subject: &Subject, zone: &TimeZone) -> Option<Timestamp> {
        match anchor {
            Anchor::Since => subject.since,
            Anchor::Deadline => self.within.zip(subject.entered).map(|(within, entered)| within.after(entered, zone)),
        }
    }

    /// The JSON of keys alone.
    pub fn keys_json(&self, keys: &[Key]) -> String {
        let row = |key| serde_json::json!({ "k": self.key_json(key) });
        Json::Array(keys.iter().map(row).collect()).to_string()
    }
}

fn anchor_json(value: &Value) -> Json {
    match value {
        Value::Instant(instant) => Json::String(instant.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()),
        Value::Naive(wall) => Json::String(wall.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()),
        value => value.to_json(),
    }
}

const fn postgres_type(form: &Form) -> &'static str {
    match form {
        Form::Instant => "timestamptz",
        Form::Wall(_) | Form::LateWall(_) => "timestamp",
        Form::UtcText | Form::WallText(_) | Form::LateWallText(_) | Form::DayText => "text",
        Form::Seconds | Form::Millis => "bigint",
        Form::Day => "date",
    }
}

const fn mysql_type(form: &Form) -> &'static str {
    match form {
        Form::Instant | Form::Wall(_) | Form::LateWall(_) => "DATETIME(6)",
        Form::UtcText | Form::WallText(_) | Form::LateWallText(_) | Form::DayText => "VARCHAR(32)",
        Form::Seconds | Form::Millis => "BIGINT",
        Form::Day => "DATE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Column;
    use crate::rule::sql::{Fill, dialect::join_of};

    fn sql(fragment: &Fragment) -> String {
        let zone = TimeZone::UTC;
        let fill = Fill { keys: Some("[]".to_owned()), ..Fill::at(Timestamp::UNIX_EPOCH, &zone) };
        fragment.fill(Dialect::Postgres, &fill).sql
    }

    #[test]
    fn keys_that_are_padded_are_compared_so_that_their_index_serves() {
        let batch = Batch::new(Dialect::Postgres, KeyType::Padded, Vec::new(), None);
        let key = Fragment::text("r_.id");
        let leading = batch.leading(&Fragment::text("accounts AS r_"), &key, true);
        assert_eq!(
            sql(&leading),
            "json_to_recordset(CAST($1 AS json)) AS b(k bpchar) JOIN accounts AS r_ ON r_.id = b.k"
        );
        let (text, padded) = (Column::named("t"), Column { padded: true, ..Column::named("p") });
        let side = |column: &Column| Fragment::text(column.name.as_str());
        let joined =
            |one: &Column, other: &Column| sql(&join_of(Dialect::Postgres, (side(one), one), (side(other), other)));
        assert_eq!(joined(&padded, &padded), "p = p");
        assert_eq!(joined(&text, &padded), "CAST(p AS text) = t AND p = CAST(t AS bpchar)");
        assert_eq!(joined(&padded, &text), joined(&text, &padded));
    }

    #[test]
    fn only_mysql_is_asked_for_numbers_of_64_bits_without_a_sign() {
        let keys = [Key::new("18446744073709551615"), Key::new("7")];
        let asked = |dialect| Batch::new(dialect, KeyType::Int, Vec::new(), None).keys_json(&keys);
        assert_eq!(asked(Dialect::MySql), r#"[{"k":18446744073709551615},{"k":7}]"#);
        assert_eq!(asked(Dialect::Postgres), r#"[{"k":null},{"k":7}]"#);
        let batch = Batch::new(Dialect::MySql, KeyType::Int, Vec::new(), None);
        assert!(!batch.plain(keys.iter()) && batch.plain(keys[1..].iter()));
    }
}
