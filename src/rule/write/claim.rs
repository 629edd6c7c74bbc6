//! Codes of a pool: one row each, taken by writing the delivery's reference into it.

use crate::catalog::{Catalog, Column, InsertValue, Pool};
use crate::model::{RecordId, Value};
use crate::rule::fit::{fitted, fitted_constant, placed, record_key};
use crate::rule::sql::{Fill, Fragment, Hole, Renderer, filter};
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// For whom a code is taken, and when.
#[derive(Debug, Clone, Copy)]
pub struct Claiming<'a> {
    /// The delivery id: a code that holds it is its own already.
    pub reference: &'a str,
    pub record: &'a RecordId,
    pub fields: &'a BTreeMap<String, Value>,
    pub now: Timestamp,
}

/// What happens to rows that another node is taking at the moment, where the database can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    Skipped,
    WaitedFor,
}

/// Takes a free code, unless the delivery has one, and asks for the one it has: two statements of one transaction.
///
/// A lock on the row, or on the file, keeps two nodes from taking the same.
#[must_use]
pub fn claim(
    catalog: &Catalog,
    dialect: Dialect,
    pool: &Pool,
    claiming: Claiming<'_>,
    others: Others,
) -> [Statement; 2] {
    let taker = Taker { renderer: Renderer::new(dialect, catalog), catalog, pool, claiming, others };
    let fill = Fill::at(claiming.now, &catalog.time_zone);
    [taker.take(), taker.mine()].map(|sql| sql.fill(dialect, &fill))
}

/// Reads the row of the second statement of [`claim`]: the code as text.
#[must_use]
pub fn claimed_code(row: &Row) -> Option<String> {
    match row.0.first()? {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        other => match other.to_json() {
            serde_json::Value::String(text) => Some(text),
            json => Some(json.to_string()),
        },
    }
}

/// How many codes are free, counted up to one more than `enough`.
#[must_use]
pub fn count_free(catalog: &Catalog, dialect: Dialect, pool: &Pool, enough: u32) -> Statement {
    let renderer = Renderer::new(dialect, catalog);
    let sql = Fragment::of(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {} AS p WHERE {} LIMIT {}) AS f",
        &[
            &renderer.table(&pool.table),
            &Fragment::all(&free(&renderer, pool, "p")),
            &Fragment::hole(Hole::Constant(Value::Int(i64::from(enough) + 1))),
        ],
    );
    sql.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone))
}

fn free(renderer: &Renderer<'_>, pool: &Pool, alias: &str) -> Vec<Fragment> {
    let reference = renderer.cell(alias, &pool.reference);
    let mut tests = vec![Fragment::of("({} IS NULL OR {} = '')", &[&reference, &reference])];
    tests.extend(filter::all_of(renderer, alias, &pool.only));
    tests
}

struct Taker<'a> {
    renderer: Renderer<'a>,
    catalog: &'a Catalog,
    pool: &'a Pool,
    claiming: Claiming<'a>,
    others: Others,
}

impl Taker<'_> {
    fn take(&self) -> Fragment {
        let dialect = self.renderer.dialect;
        let table = self.renderer.table(&self.pool.table);
        let name = |column: &Column| Fragment::name(dialect, &column.name);
        let mut set = vec![Fragment::of("{} = {}", &[&name(&self.pool.reference), &self.reference()])];
        set.extend(self.pool.marks.iter().map(|(column, value)| {
            let value = self.mark(column, value);
            Fragment::of("{} = {}", &[&name(column), &value])
        }));
        let code = self.renderer.cell("p", &self.pool.code);
        let lock = match (dialect, self.others) {
            (Dialect::Sqlite, _) => "",
            (_, Others::Skipped) => " FOR UPDATE SKIP LOCKED",
            (_, Others::WaitedFor) => " FOR UPDATE",
        };
        let next = Fragment::of(
            &format!("SELECT {{}} FROM {{}} AS p WHERE {{}} ORDER BY {{}} LIMIT 1{lock}"),
            &[&code, &table, &Fragment::all(&free(&self.renderer, self.pool, "p")), &code],
        );
        // MySQL reads the table it writes only through a derived one.
        let next = if dialect == Dialect::MySql { Fragment::of("SELECT * FROM ({}) AS q", &[&next]) } else { next };
        let holds = Fragment::of(
            "SELECT 1 FROM {} AS m WHERE {} = {}",
            &[&table, &self.renderer.cell("m", &self.pool.reference), &self.reference()],
        );
        let holds = if dialect == Dialect::MySql { Fragment::of("SELECT 1 FROM ({}) AS h", &[&holds]) } else { holds };
        Fragment::of(
            "UPDATE {} SET {} WHERE {} = ({}) AND NOT EXISTS ({})",
            &[&table, &Fragment::join(&set, ", "), &name(&self.pool.code), &next, &holds],
        )
    }

    fn mine(&self) -> Fragment {
        let operand = self.renderer.column_operand("p", &self.pool.code);
        Fragment::of(
            "SELECT {} FROM {} AS p WHERE {} = {} LIMIT 1",
            &[
                &self.renderer.selected(&operand).0,
                &self.renderer.table(&self.pool.table),
                &self.renderer.cell("p", &self.pool.reference),
                &self.reference(),
            ],
        )
    }

    fn reference(&self) -> Fragment {
        Fragment::hole(Hole::Constant(Value::Text(self.claiming.reference.to_owned())))
    }

    fn mark(&self, column: &Column, value: &InsertValue) -> Fragment {
        let zone = &self.catalog.time_zone;
        let fit = |value: &Value| fitted(column, value, zone, self.renderer.dialect);
        let value = match value {
            InsertValue::Constant(literal) => fitted_constant(column, literal, zone, self.renderer.dialect),
            InsertValue::Now => fit(&Value::Instant(self.claiming.now)),
            InsertValue::RecordField(name) => self.claiming.fields.get(name.as_str()).map_or(Value::Null, fit),
            InsertValue::RecordKey => record_key(self.catalog, column, self.claiming.record),
            // The check lets no other through.
            _ => Value::Null,
        };
        placed(column, value, self.renderer.dialect)
    }
}
