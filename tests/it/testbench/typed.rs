//! Values have the type, the currency and the looks that they have live.

use jiff::tz::TimeZone;
use nudged::catalog::{ColumnSchema, ColumnType, InstantStorage, Schema, Table, TableKind, TableSchema, UuidStorage};
use nudged::diagnostic::render::{Look, render};
use nudged::diagnostic::{Finding, SourceFile};
use nudged::engine::Settings;
use nudged::rule::generation::{Gateways, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use nudged::testbench::{Bench, Failure, RuleReport};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Plays the one test of a rule that writes to customers whose last order is 30 days old, and tells what failed.
async fn failures(entities: &str, subject: &str, live: Option<Schema>, test: &str) -> Vec<Failure> {
    let played = played("{inactivity: {of: orders, for: 30 days}}", entities, subject, live, test).await;
    played.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)))
}

/// The same for a rule with another trigger; an error says what is wrong with its files.
async fn played(
    trigger: &str,
    entities: &str,
    subject: &str,
    live: Option<Schema>,
    test: &str,
) -> Result<Vec<Failure>, Vec<Finding>> {
    let catalog = format!("version: 1\ntime_zone: Europe/Vienna\nentities:\n{entities}");
    let rule = format!(
        "version: 1\nid: silence\nmode: live\npurpose: service\nfor_each: customer\nto: self\n\
         trigger: {trigger}\nsteps: [email: {{template: hello}}]\n\
         tests:\n  - name: it\n    at: 2026-11-21 10:00 Europe/Vienna\n{test}"
    );
    let mail = format!("---\nsubject: \"{subject}\"\n---\nHello\n");
    let files = [("catalog.yaml", catalog), ("silence.yaml", rule), ("templates/hello.md", mail)];
    let files = files.map(|(path, text)| Arc::new(SourceFile { path: path.to_owned(), text })).to_vec();
    let surroundings = Surroundings {
        dialect: Dialect::Postgres,
        schema: live,
        destinations: BTreeSet::new(),
        chats: BTreeSet::new(),
        gateways: Gateways::default(),
        topics: BTreeSet::new(),
    };
    let bench = Bench { tree: Arc::new(Tree { files }), surroundings, settings: Settings::default() };
    let reports = bench.play(&bench.rule_files(), 2, |_| {}).await?;
    Ok(reports.iter().flat_map(RuleReport::failures).cloned().collect())
}

#[tokio::test]
async fn what_is_computed_of_amounts_has_their_currency() {
    let entities = "
  customer:
    table: customers
    key: id
    fields: {paid: {sum: orders.total}}
    relations: {orders: {entity: order, by: customer}}
    person: {email: mail}
    recipients: {self: {self: true}}
  order: {table: orders, key: id, at: placed_at, fields: {total: {column: total, type: decimal, currency: EUR}}}
";
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example}]
      order: [{customer: 1, placed_at: 30 days ago, total: 1200.5}, {customer: 1, placed_at: 31 days ago, total: 300}]
    then: [{after: 0 days, expect: {email: [{template: hello, subject: \"€1,500.50\"}]}}]
";
    let failed = failures(entities, "{{ record.paid | money }}", None, test).await;
    assert!(failed.is_empty(), "{failed:?}");
}

/// A database that computes with floats, as the tests' own does, and one that counts decimals.
#[tokio::test]
async fn numbers_look_in_a_test_as_they_do_live() {
    let entities = "
  customer:
    table: customers
    key: id
    fields: {paid: {sum: orders.total}, rate: {column: rate, type: decimal}, spent: {sum: orders.cost}}
    relations: {orders: {entity: order, by: customer}}
    person: {email: mail}
    recipients: {self: {self: true}}
  order:
    table: orders
    key: id
    at: placed_at
    fields: {total: {column: total, type: decimal}, cost: {column: cost, type: decimal, currency: EUR}}
";
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example, rate: 7.50}]
      order: [{customer: 1, placed_at: 30 days ago, total: 15.50, cost: 0.10}, {customer: 1, placed_at: 31 days ago, total: 14.5, cost: 0.2}]
    then: [{after: 0 days, expect: {email: [{subject: \"30, 7.5, 0.3\"}]}}]
";
    let subject = "{{ record.paid }}, {{ record.rate }}, {{ record.spent }}";
    let failed = failures(entities, subject, None, test).await;
    assert!(failed.is_empty(), "{failed:?}");
}

fn live(tables: &[(&str, &[(&str, ColumnType)])], query: Option<(&str, &[(&str, ColumnType)])>) -> Schema {
    let described = |name: &str, columns: &[(&str, ColumnType)]| TableSchema {
        table: Table { schema: None, name: name.to_owned() },
        exists: true,
        kind: TableKind::Table,
        columns: columns
            .iter()
            .map(|(name, ty)| ColumnSchema {
                name: (*name).to_owned(),
                declared: ty.in_words().to_owned(),
                ty: ty.clone(),
                nullable: true,
                has_default: false,
                generated: false,
                padded: false,
            })
            .collect(),
        indexes: Vec::new(),
    };
    Schema {
        tables: tables.iter().map(|(name, columns)| described(name, columns)).collect(),
        queries: query.into_iter().map(|(sql, columns)| (sql.to_owned(), described("order", columns))).collect(),
        ..Schema::default()
    }
}

/// An entity that is a query has the types of what the query returns, in the tests' database too.
#[tokio::test]
async fn rows_of_a_query_are_given_like_those_of_a_table() {
    let sql = "SELECT no || '-' || line AS id, customer, placed_at, cents, extra FROM sales";
    let entities = format!(
        "
  customer:
    table: customers
    key: id
    fields: {{paid: {{sum: orders.total}}, units: {{sum: orders.units, only: {{kind: paid}}}}}}
    relations: {{orders: {{entity: order, by: customer}}}}
    person: {{email: mail}}
    recipients: {{self: {{self: true}}}}
  order:
    sql: {sql}
    key: id
    at: placed_at
    fields:
      total: {{sql: \"$row.cents / 100.0\", type: decimal}}
      units: {{column: extra, path: units, type: int}}
"
    );
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example}]
      order: [{key: s1, customer: 1, placed_at: 30 days ago, total: 1501.5, units: 3, kind: paid}]
    then: [{after: 0 days, expect: {email: [{subject: \"1501.5 for 3\"}]}}]
";
    let subject = "{{ record.paid }} for {{ record.units }}";
    let naive = ColumnType::Instant(InstantStorage::Naive(TimeZone::UTC));
    let columns = [
        ("id", ColumnType::Text),
        ("customer", ColumnType::Uuid(UuidStorage::Native)),
        ("placed_at", naive),
        ("cents", ColumnType::Int),
        ("extra", ColumnType::Json),
        ("kind", ColumnType::Text),
    ];
    let customers = [("id", ColumnType::Uuid(UuidStorage::Native)), ("mail", ColumnType::Text)];
    let live = live(&[("customers", &customers)], Some((sql, &columns)));
    for schema in [None, Some(live)] {
        let failed = failures(&entities, subject, schema, test).await;
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// Whatever the catalog says of the key, and the database of what holds it.
#[tokio::test]
async fn a_small_number_names_a_row_whatever_its_key_is() {
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example, tags: [7]}, {key: 2, mail: bob@x.example, tags: [8]}]
      order: [{key: 5, customer: 1, placed_at: 30 days ago}, {key: 6, customer: 2, placed_at: 30 days ago}]
      tag: [{key: 7, name: hot}, {key: 8, name: cold}]
    then: [{after: 0 days, expect: {email: [{subject: one, to: ada@x.example}, {subject: none, to: bob@x.example}]}}]
";
    let ways = [
        ("{column: id, type: uuid_binary}", ColumnType::Bytes),
        ("{column: id, type: uuid_text}", ColumnType::Text),
        ("{column: id, type: uuid}", ColumnType::Uuid(UuidStorage::Native)),
        ("id", ColumnType::Bytes),
        ("id", ColumnType::Int),
    ];
    for (key, stored) in ways {
        let entities = format!(
            "
  customer:
    table: customers
    key: {key}
    fields: {{hot: {{count: tags, only: {{name: hot}}}}}}
    relations:
      orders: {{entity: order, by: customer}}
      tags: {{entity: tag, through: tagged, from: customer_id, to: tag_id}}
    person: {{email: mail}}
    recipients: {{self: {{self: true}}}}
  order: {{table: orders, key: {key}, at: placed_at}}
  tag: {{table: tags, key: {key}}}
"
        );
        let kept = |others: &[(&'static str, ColumnType)]| {
            let keys = ["id", "customer"].map(|name| (name, stored.clone()));
            keys.into_iter().chain(others.to_vec()).collect::<Vec<_>>()
        };
        let (customers, orders, tags) = (
            kept(&[("mail", ColumnType::Text)]),
            kept(&[("placed_at", ColumnType::Instant(InstantStorage::Native))]),
            kept(&[("name", ColumnType::Text)]),
        );
        let tagged = ["customer_id", "tag_id"].map(|name| (name, stored.clone()));
        let live = live(&[("customers", &customers), ("orders", &orders), ("tags", &tags), ("tagged", &tagged)], None);
        for schema in [None, Some(live)] {
            let failed = failures(&entities, "{% if record.hot %}one{% else %}none{% endif %}", schema, test).await;
            assert!(failed.is_empty(), "{key}, {stored:?}: {failed:?}");
        }
    }
}

#[tokio::test]
async fn the_row_of_an_occasion_has_the_currency_of_its_entity() {
    let entities = "
  customer:
    table: customers
    key: id
    relations: {quotes: {entity: quote, by: customer}}
    person: {email: mail}
    recipients: {self: {self: true}}
  quote:
    table: quotes
    key: id
    updated_at: touched
    fields: {amount: {column: total, type: decimal, currency: EUR}}
";
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example}]
      quote: [{customer: 1, touched: 60 minutes ago, state: open, amount: 1500.5}]
    then: [{after: 0 days, expect: {email: [{template: hello, subject: \"€1,500.50\"}]}}]
";
    let trigger = "{abandoned: {of: quotes, open: {state: open}, idle: 1 hour}}";
    let failed = played(trigger, entities, "{{ occasion.row.amount | money }}", None, test).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

const TOUCHED: &str = "
  customer:
    table: customers
    key: id
    relations: {orders: {entity: touch, by: account}}
    person: {email: mail}
    recipients: {self: {self: true}}
  call: {table: calls, key: id, at: date_start}
  note: {table: notes, key: id}
  touch:
    union:
      call: {fields: {account: parent_id, at: date_start}}
      note: {fields: {account: parent_id, at: date_entered}}
    at: at
";

#[tokio::test]
async fn a_union_needs_no_row_of_every_member() {
    for given in [
        "note: [{parent_id: 1, date_entered: 30 days ago}]",
        "call: [{parent_id: 1, date_start: 30 days ago}]",
        "note: [{parent_id: 1, date_entered: 30 days ago}]\n      call: [{parent_id: 1, date_start: 2026-10-01}]",
        "call: [{parent_id: 1, at: 30 days ago}]",
    ] {
        let test = format!(
            "    given:\n      customer: [{{key: 1, mail: ada@x.example}}]\n      {given}\n    \
             then: [{{after: 0 days, expect: {{email: [hello]}}}}]\n"
        );
        let failed = failures(TOUCHED, "Hello", None, &test).await;
        assert!(failed.is_empty(), "{given}: {failed:?}");
    }
}

#[tokio::test]
async fn a_field_of_the_union_is_none_of_its_members() {
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example}]
      note: [{account: 1, date_entered: 30 days ago}]
    then: [{after: 0 days, expect: {email: [hello]}}]
";
    let found = played("{inactivity: {of: orders, for: 30 days}}", TOUCHED, "Hello", None, test).await.unwrap_err();
    let found = found.iter().find(|finding| finding.code == "rule.unknown-field").unwrap();
    assert_eq!((found.code, found.place.as_ref().unwrap().line_column().0), ("rule.unknown-field", 14), "{found}");
    assert!(found.help.as_ref().unwrap().contains("`parent_id`"), "{found:?}");
}

/// An amount in euros makes its row one in euros, unless the row says otherwise.
#[tokio::test]
async fn what_a_given_field_takes_for_granted_holds_of_its_row() {
    let entities = "
  customer:
    table: customers
    key: id
    fields: {paid: {sum: orders.euros}}
    relations: {orders: {entity: order, by: customer}}
    person: {email: mail}
    recipients: {self: {self: true}}
  order:
    table: orders
    key: id
    at: placed_at
    fields: {euros: {column: total, type: decimal, only: {currency_code: EUR}}}
";
    let test = "    given:
      customer: [{key: 1, mail: ada@x.example}]
      order: [{customer: 1, placed_at: 30 days ago, euros: 12.5}, {customer: 1, placed_at: 31 days ago, euros: 7, currency_code: CHF}]
    then: [{after: 0 days, expect: {email: [{subject: \"12.5\"}]}}]
";
    let failed = failures(entities, "{{ record.paid }}", None, test).await;
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn a_change_leads_to_one_of_several_values_or_to_none() {
    let entities = "
  customer:
    table: customers
    key: id
    fields: {country: country}
    person: {email: mail}
    recipients: {self: {self: true}}
";
    for (country, expected) in [("Austria", "{email: [hello]}"), ("missing", "{email: [hello]}"), ("Chile", "nothing")]
    {
        let test = format!(
            "    given: {{customer: [{{key: 1, mail: ada@x.example, country: Peru}}]}}\n    then:\n      \
             - {{after: 1 hour, update: {{customer: [{{key: 1, country: {country}}}]}}}}\n      \
             - {{after: 2 hours, expect: {expected}}}\n"
        );
        let trigger = "{changed: {field: country, to: [Austria, missing]}}";
        let failed = played(trigger, entities, "Hello", None, &test).await;
        let failed = failed.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
        assert!(failed.is_empty(), "{country}: {failed:?}");
    }
}
