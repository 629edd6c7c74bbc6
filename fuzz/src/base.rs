//! A catalog of every kind of field and relation, its tables, and a rule that is right.

use nudged::catalog::{ColumnSchema, ColumnType, DateStorage, InstantStorage, Schema, Table, TableKind, TableSchema};
use nudged::diagnostic::SourceFile;
use nudged::rule::generation::{Gateways, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use rusqlite::Connection;
use std::sync::Arc;

const CATALOG: &str = "version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    only: {is_active: true}
    fields:
      country: country_code
      tier: {column: class, means: {vip: [A, A+], standard: [B, C]}}
      lifetime_value: {sum: orders.total, currency: EUR}
      last_order: {max: orders.placed_at}
      renews_on: renews_on
      created_at: created_at
    relations:
      orders: {entity: order, by: customer}
      contacts: {entity: contact, by: customer}
    recipients:
      main_contact: {first_of: contacts, order: [is_primary desc, id]}
  contact:
    table: contacts
    key: id
    fields: {customer: account_id}
    person: {email: email, first_name: first_name}
    consent: {email: {offers: news_ok}}
  order:
    table: orders
    key: id
    at: placed_at
    only: {status: [paid, shipped]}
    fields: {customer: account_id, total: {column: amount, currency: EUR}, placed_at: placed_at}
  response:
    table: surveys
    key: id
    at: answered_at
    score: rating
    kind: kind
    fields: {customer: account_id}
";

pub const RULE: &str = "version: 1
id: fuzzed
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 90 days}}
script: score.rhai
steps: [email: {template: hello}]
";

const SCRIPT: &str = "fn eligible(record, now) { record.country != \"\" }\nfn score(record, now) { 0.5 }\n";
const HELLO: &str = "---\nsubject: Hello\n---\nHello {{ to.first_name }}\n";

type Columns = &'static [(&'static str, ColumnType)];

const TIME: ColumnType = ColumnType::Instant(InstantStorage::Native);
const TABLES: [(&str, Columns); 4] = [
    (
        "accounts",
        &[
            ("id", ColumnType::Int),
            ("name", ColumnType::Text),
            ("country_code", ColumnType::Text),
            ("class", ColumnType::Text),
            ("employees", ColumnType::Int),
            ("is_active", ColumnType::Bool),
            ("renews_on", ColumnType::Date(DateStorage::Native)),
            ("created_at", TIME),
        ],
    ),
    (
        "contacts",
        &[
            ("id", ColumnType::Int),
            ("account_id", ColumnType::Int),
            ("email", ColumnType::Text),
            ("first_name", ColumnType::Text),
            ("is_primary", ColumnType::Bool),
            ("news_ok", ColumnType::Bool),
        ],
    ),
    (
        "orders",
        &[
            ("id", ColumnType::Int),
            ("account_id", ColumnType::Int),
            ("placed_at", TIME),
            ("amount", ColumnType::Decimal),
            ("status", ColumnType::Text),
        ],
    ),
    (
        "surveys",
        &[
            ("id", ColumnType::Int),
            ("account_id", ColumnType::Int),
            ("answered_at", TIME),
            ("rating", ColumnType::Int),
            ("kind", ColumnType::Text),
        ],
    ),
];

pub fn tree(files: &[(&str, &str)]) -> Arc<Tree> {
    let fixed = [("catalog.yaml", CATALOG), ("scripts/score.rhai", SCRIPT), ("templates/hello.md", HELLO)];
    let file = |(path, text): &(&str, &str)| Arc::new(SourceFile { path: (*path).into(), text: (*text).into() });
    let mut files: Vec<_> = fixed.iter().chain(files).map(file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Arc::new(Tree { files })
}

pub fn surroundings(dialect: Dialect) -> Surroundings {
    let column = |(name, ty): &(&str, ColumnType)| ColumnSchema {
        name: (*name).to_owned(),
        declared: String::new(),
        ty: ty.clone(),
        nullable: true,
        has_default: false,
        generated: false,
        padded: false,
    };
    let tables = TABLES.iter().map(|(name, columns)| TableSchema {
        table: Table { schema: None, name: (*name).to_owned() },
        exists: true,
        kind: TableKind::Table,
        columns: columns.iter().map(column).collect(),
        indexes: Vec::new(),
    });
    Surroundings {
        dialect,
        schema: Some(Schema { tables: tables.collect(), ..Schema::default() }),
        destinations: ["team-chat".to_owned()].into(),
        chats: ["sales".to_owned()].into(),
        gateways: Gateways::default(),
        topics: ["offers".into()].into(),
    }
}

thread_local! {
    /// The tables, empty.
    pub static SQLITE: Connection = {
        let sqlite = Connection::open_in_memory().expect("memory");
        for (name, columns) in &TABLES {
            let columns: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
            sqlite.execute(&format!("CREATE TABLE {name} ({})", columns.join(", ")), []).expect("a table");
        }
        sqlite
    };
}
