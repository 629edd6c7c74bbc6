//! What the three dialects spell differently: exact text, cast-or-null numbers, coded booleans, keys.

use super::fragment::Fragment;
use super::hole::Hole;
use crate::catalog::{Column, ColumnType, KeyType, UuidStorage};
use crate::model::{Key, Value};
use crate::rule::statement::Dialect;
use rust_decimal::prelude::ToPrimitive;
use std::fmt::Write;

const YES: &str = "'true', 't', '1', '1.0', 'yes', 'y', 'j', 'on'";
/// Numbers in text, as PostgreSQL and MySQL both understand it.
const NUMBER: &str = "[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-2]?[0-9])?";
const NO: &str = "'false', 'f', '0', '0.0', 'no', 'n', 'off'";

/// The value as text that compares byte by byte. MySQL compares by the column's collation otherwise,
/// where `a` = `A` and `a` = `a `.
pub(super) fn text(dialect: Dialect, raw: &Fragment) -> Fragment {
    match dialect {
        Dialect::Postgres => Fragment::of("CAST({} AS text)", &[raw]),
        Dialect::MySql => Fragment::of("CAST(CONVERT({} USING utf8mb4) AS BINARY)", &[raw]),
        Dialect::Sqlite => Fragment::of("CAST({} AS TEXT)", &[raw]),
    }
}

/// The value as text of the dialect's own, for putting it together or handing it on.
pub(super) fn plain_text(dialect: Dialect, raw: &Fragment) -> Fragment {
    match dialect {
        Dialect::Postgres => Fragment::of("CAST({} AS text)", &[raw]),
        Dialect::MySql => Fragment::of("CONVERT({} USING utf8mb4)", &[raw]),
        Dialect::Sqlite => Fragment::of("CAST({} AS TEXT)", &[raw]),
    }
}

/// What the first of these rows holds; null if there is none. `held` is null where its row is.
///
/// MariaDB (10.11, for one) sorts the rows of one table as it tests them. With a `text` among their cells, and a subquery in
/// a test, it does so wrongly from the second record on: another row's value, or none. Rows that are joined to something are
/// tested before they are sorted.
pub(super) fn first_of(
    dialect: Dialect,
    held: &Fragment,
    rows: &Fragment,
    tests: &[Fragment],
    order: &Fragment,
) -> Fragment {
    let pattern = match dialect {
        Dialect::MySql => "(SELECT {} FROM (SELECT 1) AS one_ LEFT JOIN ({}) ON {} ORDER BY {} LIMIT 1)",
        Dialect::Postgres | Dialect::Sqlite => "(SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1)",
    };
    Fragment::of(pattern, &[held, rows, &Fragment::all(tests), order])
}

/// Whether two columns hold the same key. Numbers and text, or UUIDs and text, meet as text: PostgreSQL refuses to
/// compare them otherwise, and MySQL takes `17 apples` for 17.
pub(super) fn join_of(dialect: Dialect, one: (Fragment, &Column), other: (Fragment, &Column)) -> Fragment {
    if one.1.padded != other.1.padded {
        let (padded, text) = if one.1.padded { (one.0, other.0) } else { (other.0, one.0) };
        // As text the blanks of the one are off. Said a second time as what the other is, so that either index serves.
        return Fragment::of("CAST({} AS text) = {} AND {} = CAST({} AS bpchar)", &[&padded, &text, &padded, &text]);
    }
    let (one, other) = ((one.0, &one.1.ty), (other.0, &other.1.ty));
    let textual = |ty: &ColumnType| matches!(ty, ColumnType::Text | ColumnType::NumberText);
    let foreign = |ty: &ColumnType| match dialect {
        Dialect::Postgres => ty.is_number() && !textual(ty) || *ty == ColumnType::Uuid(UuidStorage::Native),
        Dialect::MySql => ty.is_number() && !textual(ty),
        // Column affinities do the same.
        Dialect::Sqlite => false,
    };
    let is_text = |ty: &ColumnType| textual(ty) || *ty == ColumnType::Uuid(UuidStorage::Text);
    let as_text = |raw: &Fragment| match dialect {
        // Plain ASCII takes on the other side's collation, so its index can be used.
        Dialect::MySql => Fragment::of("CONVERT({} USING ascii)", &[raw]),
        _ => plain_text(dialect, raw),
    };
    let (one, other) = match (is_text(one.1), is_text(other.1)) {
        (true, false) if foreign(other.1) => (one.0, as_text(&other.0)),
        (false, true) if foreign(one.1) => (as_text(&one.0), other.0),
        _ => (one.0, other.0),
    };
    Fragment::of("{} = {}", &[&one, &other])
}

/// As [`text`], with empty text as null.
pub(super) fn present_text(dialect: Dialect, raw: &Fragment) -> Fragment {
    Fragment::of("NULLIF({}, '')", &[&text(dialect, raw)])
}

/// A bound text to compare with [`text`].
pub(super) fn text_value(dialect: Dialect, value: &str) -> Fragment {
    bound_text(dialect, &Fragment::hole(Hole::Constant(Value::Text(value.to_owned()))))
}

/// Any bound text to compare with [`text`].
pub(super) fn bound_text(dialect: Dialect, bound: &Fragment) -> Fragment {
    match dialect {
        Dialect::MySql => Fragment::of("CAST({} AS BINARY)", &[bound]),
        Dialect::Postgres | Dialect::Sqlite => bound.clone(),
    }
}

/// Text that sorts byte by byte.
pub(super) fn ordered_text(dialect: Dialect, text: &Fragment) -> Fragment {
    match dialect {
        Dialect::Postgres => Fragment::of("({} COLLATE \"C\")", &[text]),
        Dialect::MySql | Dialect::Sqlite => text.clone(),
    }
}

/// The value as a number, or null where it is none. Columns that are numbers already stay bare, except on
/// SQLite, whose columns hold anything. Of text, `12`, `-0.5`, `.5`, `5.`, `+7` and `1.5e3` are numbers, with white
/// space around them; grouped digits are not.
pub(super) fn number(dialect: Dialect, raw: &Fragment, ty: &ColumnType) -> Fragment {
    let native = matches!(ty, ColumnType::Int | ColumnType::Decimal | ColumnType::Float);
    match dialect {
        // NaN and the infinities are greater or less than everything, which nobody means; `money` compares with
        // nothing; and 0.1 of a float is 0.1 only as the decimal it prints as.
        Dialect::Postgres if *ty == ColumnType::Float => Fragment::of(
            "(CASE WHEN {} = 'NaN' OR abs({}) = 'Infinity' THEN NULL ELSE CAST({} AS numeric) END)",
            &[raw, raw, raw],
        ),
        // Of these three no difference to themselves is zero.
        Dialect::Postgres if *ty == ColumnType::Decimal => {
            let exact = Fragment::of("CAST({} AS numeric)", &[raw]);
            Fragment::of("(CASE WHEN {} - {} = 0 THEN {} END)", &[&exact, &exact, &exact])
        }
        Dialect::MySql if *ty == ColumnType::Float => Fragment::of("CAST(CONCAT({}) AS DECIMAL(65, 30))", &[raw]),
        Dialect::Postgres | Dialect::MySql if native => raw.clone(),
        Dialect::Postgres | Dialect::MySql => number_in_text(dialect, raw),
        Dialect::Sqlite if *ty == ColumnType::Int => whole(dialect, raw),
        Dialect::Sqlite => {
            let (text, is_number) = sqlite_number(raw);
            Fragment::of(
                "(CASE WHEN typeof({}) = 'integer' OR typeof({}) = 'real' AND abs({}) < 9e999 THEN {} \
                 WHEN typeof({}) = 'text' AND {} THEN CAST({} AS NUMERIC) END)",
                &[raw, raw, raw, raw, raw, &is_number, &text],
            )
        }
    }
}

/// The value as a whole number, or null where it is none, whatever it is kept as and however it is spelled: JSON keeps
/// `1.5e3` as 1500 in one type and as it is in another.
pub(super) fn whole(dialect: Dialect, raw: &Fragment) -> Fragment {
    match dialect {
        Dialect::Postgres => {
            let number = number_in_text(dialect, raw);
            Fragment::of("(CASE WHEN {} = trunc({}) THEN {} END)", &[&number, &number, &number])
        }
        Dialect::MySql => {
            let number = number_in_text(dialect, raw);
            Fragment::of("(CASE WHEN {} = TRUNCATE({}, 0) THEN {} END)", &[&number, &number, &number])
        }
        Dialect::Sqlite => {
            let (text, is_number) = sqlite_number(raw);
            let number = Fragment::of("CAST({} AS NUMERIC)", &[&text]);
            // A double that large has no fraction left.
            let is_whole = Fragment::of(
                "(CASE WHEN {} GLOB '*[eE]*' THEN abs({}) > 9e15 OR {} = CAST({} AS INTEGER) \
                 ELSE {} NOT GLOB '*.*[^0]*' END)",
                &[&text, &number, &number, &number, &text],
            );
            Fragment::of(
                "(CASE WHEN typeof({}) = 'integer' OR typeof({}) = 'real' AND {} = CAST({} AS INTEGER) THEN {} \
                 WHEN typeof({}) = 'text' AND {} AND {} THEN {} END)",
                &[raw, raw, raw, raw, raw, raw, &is_number, &is_whole, &number],
            )
        }
    }
}

fn number_in_text(dialect: Dialect, raw: &Fragment) -> Fragment {
    if dialect == Dialect::MySql {
        let pattern = format!(
            "(CASE WHEN CONVERT({{}} USING utf8mb4) REGEXP '^[[:space:]]*{NUMBER}[[:space:]]*$' \
             THEN CAST({{}} AS DECIMAL(65, 30)) END)"
        );
        return Fragment::of(&pattern, &[raw, raw]);
    }
    let text = text(dialect, raw);
    let pattern =
        format!(r"(CASE WHEN {{}} ~ '^\s*{NUMBER}\s*$' AND length({{}}) < 200 THEN CAST({{}} AS numeric) END)");
    Fragment::of(&pattern, &[&text, &text, &text])
}

/// Trimmed text, and whether it is a number.
fn sqlite_number(raw: &Fragment) -> (Fragment, Fragment) {
    let text = Fragment::of("trim({}, char(32, 9, 10, 11, 12, 13))", &[raw]);
    let like = [&text; 12];
    let is_number = Fragment::of(
        "{} GLOB '[-+.0-9]*' AND {} GLOB '*[0-9]*' AND substr({}, 2) NOT GLOB '*[^-+.0-9eE]*' \
         AND {} NOT GLOB '*[^eE][-+]*' AND {} NOT GLOB '*.*.*' AND {} NOT GLOB '*[eE]*.*' \
         AND ({} NOT GLOB '*[eE]*' OR {} NOT GLOB '*[eE]*[eE]*' AND ({} GLOB '*[0-9]*[eE][0-9]' \
         OR {} GLOB '*[0-9]*[eE][0-2][0-9]' OR {} GLOB '*[0-9]*[eE][-+][0-9]' \
         OR {} GLOB '*[0-9]*[eE][-+][0-2][0-9]'))",
        &like,
    );
    (text, is_number)
}

/// Whether a column of this type of number may hold what is none: SQLite's hold anything.
pub(super) fn may_be_none(dialect: Dialect, ty: &ColumnType) -> bool {
    match dialect {
        Dialect::Postgres => matches!(ty, ColumnType::Decimal | ColumnType::Float),
        Dialect::MySql => false,
        Dialect::Sqlite => true,
    }
}

/// The value as a boolean, or null where it is none.
pub(super) fn boolean(dialect: Dialect, raw: &Fragment, ty: &ColumnType) -> Fragment {
    if dialect == Dialect::Postgres && *ty == ColumnType::Bool {
        return raw.clone();
    }
    let lower = match dialect {
        Dialect::Postgres => Fragment::of("btrim(lower(CAST({} AS text)))", &[raw]),
        Dialect::MySql => Fragment::of("CAST(TRIM(LOWER(CONVERT({} USING utf8mb4))) AS BINARY)", &[raw]),
        Dialect::Sqlite => Fragment::of("trim(lower(CAST({} AS TEXT)))", &[raw]),
    };
    // A BIT(1) of MySQL reads as the byte itself.
    let (yes_bit, no_bit) = if dialect == Dialect::MySql { (", x'01'", ", x'00'") } else { ("", "") };
    let pattern = format!("(CASE WHEN {{}} IN ({YES}{yes_bit}) THEN TRUE WHEN {{}} IN ({NO}{no_bit}) THEN FALSE END)");
    Fragment::of(&pattern, &[&lower, &lower])
}

/// `needle` is found in, at the start of, or at the end of the text; by length, so there is nothing to
/// escape and SQLite's case-blind LIKE is not asked.
pub(super) fn contains(dialect: Dialect, text: &Fragment, needle: &str) -> Fragment {
    let value = text_value(dialect, needle);
    match dialect {
        Dialect::Postgres => Fragment::of("(strpos({}, {}) > 0)", &[text, &value]),
        Dialect::MySql => Fragment::of("(LOCATE({}, {}) > 0)", &[&value, text]),
        Dialect::Sqlite => Fragment::of("(instr({}, {}) > 0)", &[text, &value]),
    }
}

pub(super) fn starts_with(dialect: Dialect, text: &Fragment, start: &str) -> Fragment {
    let function = if dialect == Dialect::Sqlite { "substr({}, 1, " } else { "left({}, " };
    Fragment::of(&format!("({function}{}) = {{}})", length(dialect, start)), &[text, &text_value(dialect, start)])
}

pub(super) fn ends_with(dialect: Dialect, text: &Fragment, end: &str) -> Fragment {
    if end.is_empty() {
        return Fragment::of("({} IS NOT NULL OR NULL)", &[text]);
    }
    let function = if dialect == Dialect::Sqlite { "substr({}, -" } else { "right({}, " };
    Fragment::of(&format!("({function}{}) = {{}})", length(dialect, end)), &[text, &text_value(dialect, end)])
}

/// MySQL's text is bytes here: see [`text`].
fn length(dialect: Dialect, text: &str) -> usize {
    if dialect == Dialect::MySql { text.len() } else { text.chars().count() }
}

/// The value that finds a record by its canonical key.
pub(crate) fn key_value(ty: &KeyType, key: &Key) -> Value {
    let text = || Value::Text(key.to_string());
    match ty {
        KeyType::Int => whole_number(key.as_str()).unwrap_or_else(text),
        KeyType::Uuid(UuidStorage::Native) => key.as_str().parse().map_or_else(|_| text(), Value::Uuid),
        KeyType::Uuid(UuidStorage::Binary) => uuid_bytes(key).map_or_else(text, Value::Bytes),
        // Of a column of 16 bytes nothing tells that they are a UUID.
        KeyType::Bytes => bytes_of(key.as_str()).or_else(|| uuid_bytes(key)).map_or_else(text, Value::Bytes),
        KeyType::Text | KeyType::Padded | KeyType::Uuid(UuidStorage::Text) | KeyType::Unknown => text(),
    }
}

/// MySQL's numbers without a sign reach further than an `i64`.
fn whole_number(text: &str) -> Option<Value> {
    let unsigned = || text.parse::<u64>().map(|number| Value::Decimal(number.into()));
    text.parse().map(Value::Int).or_else(|_| unsigned()).ok()
}

fn uuid_bytes(key: &Key) -> Option<Vec<u8>> {
    key.as_str().parse::<uuid::Uuid>().ok().map(|id| id.as_bytes().to_vec())
}

/// The bytes of `0x…`.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// The key as it stands in the batch's JSON: bytes as hexadecimal digits. What can't be a key of this type
/// is null, which finds nobody.
pub(super) fn key_json(ty: &KeyType, key: &Key) -> serde_json::Value {
    match key_value(ty, key) {
        Value::Int(number) => number.into(),
        Value::Decimal(number) => number.to_u64().into(),
        Value::Bytes(bytes) => bytes
            .iter()
            .fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
                let _ = write!(digits, "{byte:02x}");
                digits
            })
            .into(),
        Value::Text(_)
            if !matches!(ty, KeyType::Text | KeyType::Padded | KeyType::Uuid(UuidStorage::Text) | KeyType::Unknown) =>
        {
            serde_json::Value::Null
        }
        _ => key.as_str().into(),
    }
}
