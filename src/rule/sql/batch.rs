//! A batch of keys as one bound JSON text, joined to the records.

use super::Anchor;
use super::dialect::key_json;
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
    /// instant. MySQL can only look up a text key by an index if the batch's text doesn't bring its own
    /// Unicode collation; plain ASCII doesn't.
    pub fn from(&self, ascii: bool) -> Fragment {
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
                    _ => "text",
                };
                format!("json_to_recordset(CAST({{}} AS json)) AS b(k {key}{anchors})")
            }
            Dialect::MySql => {
                let anchors = columns(&|number, form| format!(", s{number} {} PATH '$.s{number}'", mysql_type(form)));
                let key = match self.key {
                    KeyType::Int => "BIGINT",
                    _ if ascii => "VARCHAR(512) CHARACTER SET ascii",
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
    pub fn is_key(&self, key: &Fragment, ascii: bool) -> Fragment {
        let bytes = matches!(self.key, KeyType::Bytes | KeyType::Uuid(UuidStorage::Binary));
        let theirs = match self.dialect {
            Dialect::Postgres if bytes => "decode(b.k, 'hex')",
            Dialect::MySql | Dialect::Sqlite if bytes => "unhex(b.k)",
            Dialect::MySql if self.is_text() && !ascii => "b.k COLLATE utf8mb4_bin",
            _ => "b.k",
        };
        let equal = Fragment::of(&format!("{{}} = {theirs}"), &[key]);
        match (self.dialect, &self.key) {
            (Dialect::Postgres, KeyType::Unknown) => Fragment::of("CAST({} AS text) = b.k", &[key]),
            (Dialect::MySql, KeyType::Text) if ascii => {
                let exact = super::dialect::text(self.dialect, key);
                Fragment::of("{} AND {} = CAST(b.k AS BINARY)", &[&equal, &exact])
            }
            _ => equal,
        }
    }

    /// The batch joined to the records: it is small and leads. SQLite takes a cross join as an order.
    pub fn leading(&self, records: &Fragment, key: &Fragment, ascii: bool) -> Fragment {
        let (batch, is_key) = (self.from(ascii), self.is_key(key, ascii));
        let pattern = match self.dialect {
            Dialect::Sqlite => "{} CROSS JOIN {} ON {}",
            Dialect::MySql => "{} STRAIGHT_JOIN {} ON {}",
            Dialect::Postgres => "{} JOIN {} ON {}",
        };
        Fragment::of(pattern, &[&batch, records, &is_key])
    }

    fn is_text(&self) -> bool {
        matches!(self.key, KeyType::Text | KeyType::Unknown | KeyType::Uuid(_))
    }

    /// The JSON of these subjects.
    pub fn json(&self, subjects: &[Subject], zone: &TimeZone) -> String {
        let rows: Vec<Json> = subjects
            .iter()
            .map(|subject| {
                let mut row = Map::new();
                row.insert("k".to_owned(), key_json(&self.key, &subject.key));
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
        let row = |key| serde_json::json!({ "k": key_json(&self.key, key) });
        Json::Array(keys.iter().map(row).collect()).to_string()
    }
}

/// Whether all keys are plain ASCII.
pub(crate) fn ascii<'k>(mut keys: impl Iterator<Item = &'k Key>) -> bool {
    keys.all(|key| key.as_str().is_ascii())
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
