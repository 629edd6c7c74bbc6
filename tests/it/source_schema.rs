//! What the adapters say of live tables, and what they make of awkward cells.

use crate::crossings::world::World;
use nudged::catalog::{ColumnType, DateStorage, InstantStorage, Table, UuidStorage};
use nudged::diagnostic::SourceFile;
use nudged::engine::port::SourceError;
use nudged::model::Value;
use nudged::rule::generation::Tree;
use nudged::rule::statement::{Dialect, Row, Statement};
use nudged::rulebook::{Outside, inspect};
use std::sync::Arc;

fn ask(sql: &str) -> Statement {
    Statement { sql: sql.to_owned(), binds: Vec::new() }
}

#[tokio::test]
async fn tables_columns_and_indexes_are_told_as_they_are() {
    for world in World::all() {
        world
            .execute(
                "CREATE TABLE {odd} (id {serial}, \"order\" integer);
                 CREATE TABLE facts (id integer PRIMARY KEY, flag boolean NOT NULL, name varchar(20) DEFAULT 'x', price decimal(10,2),
                   at {instant}, wall {naive}, day {date}, code {bytes}, ratio double precision, ident {uuid});
                 CREATE UNIQUE INDEX facts_name ON facts (name, day);"
                    .replace('"', if world.dialect() == Dialect::MySql { "`" } else { "\"" })
                    .as_str(),
            )
            .await;
        // MariaDB has no indexes on expressions, but on the beginning of a text.
        let mariadb = world.dialect() == Dialect::MySql;
        let first = if mariadb { "name(3)" } else { "lower(name)" };
        world.execute(&format!("CREATE UNIQUE INDEX facts_partly ON facts ({first}, ratio);")).await;
        let table = |name: &str| Table { schema: None, name: name.to_owned() };
        let tables = [table("facts"), table("we-ird \"Tab`le\""), table("nothing")];
        let schema = world.source.schema(&tables).await.unwrap();
        assert_eq!(schema.tables.iter().map(|table| table.exists).collect::<Vec<_>>(), [true, true, false]);
        let facts = schema.table(&tables[0]).unwrap();
        let ty = |name: &str| facts.column(name).unwrap().ty.clone();
        assert_eq!(ty("id"), ColumnType::Int);
        assert_eq!(ty("flag"), ColumnType::Bool);
        assert_eq!(ty("name"), ColumnType::Text);
        assert_eq!(ty("price"), ColumnType::Decimal);
        assert_eq!(ty("ratio"), ColumnType::Float);
        assert_eq!(ty("code"), ColumnType::Bytes);
        let sqlite = world.dialect() == Dialect::Sqlite;
        assert_eq!(ty("day"), ColumnType::Date(if sqlite { DateStorage::Text } else { DateStorage::Native }));
        assert!(matches!(ty("at"), ColumnType::Instant(InstantStorage::Native | InstantStorage::Text(_))));
        assert!(matches!(ty("wall"), ColumnType::Instant(InstantStorage::Naive(_) | InstantStorage::Text(_))));
        let ident = if sqlite { ColumnType::Text } else { ColumnType::Uuid(UuidStorage::Native) };
        assert_eq!(ty("ident"), ident);
        assert!(!facts.column("flag").unwrap().nullable && facts.column("name").unwrap().has_default);
        assert!(facts.indexes.iter().any(|index| index.unique && index.columns == ["id"]), "{:?}", facts.indexes);
        assert!(facts.indexes.iter().any(|index| index.unique && index.columns == ["name", "day"]));
        let partly = facts.indexes.iter().find(|index| index.columns.get(1).is_some_and(|column| column == "ratio"));
        let partly = partly.map(|index| (index.columns[0].contains("lower("), index.unique, index.ordered));
        assert_eq!(partly, Some((!mariadb, !mariadb, true)), "{:?}", facts.indexes);
    }
}

#[tokio::test]
async fn what_the_database_refuses_names_the_thing_and_no_value() {
    for world in World::all() {
        world.execute("CREATE TABLE facts (id integer PRIMARY KEY, name varchar(20) NOT NULL);").await;
        let error = world.source.prepare(&ask("SELECT f.nmae FROM facts f")).await.unwrap_err();
        assert!(matches!(&error, SourceError::Refused(text) if text.contains("nmae")), "{error}");
        world.source.prepare(&ask("SELECT f.name FROM facts f")).await.unwrap();
        let insert = || ask("INSERT INTO facts VALUES (1, 'secret')");
        let tenant = nudged::model::Tenant::new("");
        let error = world.source.write(&tenant, vec![insert(), insert()]).await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(world.count(ask("SELECT COUNT(*) FROM facts")).await, 0, "all or nothing");
        let read = futures::TryStreamExt::try_collect::<Vec<Row>>(world.source.rows(&tenant, insert())).await;
        assert!(read.is_err(), "reading connections don't write");
    }
}

#[tokio::test]
async fn awkward_cells_are_read_or_missing_but_never_stop_a_query() {
    let postgres = World::postgres();
    let row = postgres
        .rows(ask(
            "SELECT 'infinity'::timestamptz, '-infinity'::date, 'NaN'::numeric, 1e40::numeric, -12.340::numeric, 0.00012::numeric, \
             123456789.5::numeric, '2026-01-31'::date, 1.1::real, '{\"a\": 1}'::jsonb, '2026-01-31 10:00:00.5'::timestamp, '(1,2)'::point, 10000::numeric",
        ))
        .await;
    let number = |text: &str| Value::Decimal(text.parse().unwrap());
    let expected = vec![
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Float(1e40),
        number("-12.340"),
        number("0.00012"),
        number("123456789.5"),
        Value::Date(jiff::civil::date(2026, 1, 31)),
        Value::Float(1.1),
        Value::Json(serde_json::json!({"a": 1})),
        Value::Naive(jiff::civil::date(2026, 1, 31).at(10, 0, 0, 500_000_000)),
        Value::Null,
        number("10000"),
    ];
    assert_eq!(row, [Row(expected)]);

    let mariadb = World::mariadb();
    mariadb
        .execute("SET SESSION sql_mode = '';\nCREATE TABLE t (a datetime, b date, c bigint unsigned, d bit(1), e tinyint(1), f time, g char(3), h varchar(9) COLLATE utf8mb4_bin);\nINSERT INTO t VALUES ('0000-00-00', '2026-00-00', 18446744073709551615, b'1', 1, '10:00', 'é', 'ü');")
        .await;
    let rows = mariadb.rows(ask("SELECT a, b, c, d, e, f, g, h FROM t")).await;
    let expected = vec![
        Value::Null,
        Value::Null,
        number("18446744073709551615"),
        Value::Int(1),
        Value::Int(1),
        Value::Null,
        Value::Text("é".to_owned()),
        Value::Text("ü".to_owned()),
    ];
    assert_eq!(rows, [Row(expected)]);

    let sqlite = World::sqlite();
    sqlite.execute("CREATE TABLE t (a integer);\nINSERT INTO t VALUES ('text'), (1.5), (x'00ff'), (NULL), (7);").await;
    let cells: Vec<Value> =
        sqlite.rows(ask("SELECT a FROM t")).await.into_iter().flat_map(|Row(cells)| cells).collect();
    let expected =
        [Value::Text("text".to_owned()), Value::Float(1.5), Value::Bytes(vec![0, 255]), Value::Null, Value::Int(7)];
    assert_eq!(cells, expected);
}

/// One text of it would be compared, and its letters be gone through.
#[tokio::test]
async fn an_array_is_told_before_a_rule_reads_it() {
    let world = World::postgres();
    world.execute("CREATE TABLE people (id bigint PRIMARY KEY, labels text[]);").await;
    let told = async |trigger: &str| {
        let catalog = "version: 1\ntime_zone: UTC\nentities: {person: {table: people, key: id}}\n";
        let rule = format!(
            "version: 1\nid: labels\nmode: shadow\npurpose: staff\nfor_each: person\ntrigger:\n  {trigger}\n\
             steps:\n  - wait: {{for: 1 day}}\n"
        );
        let file = |path: &str, text: &str| Arc::new(SourceFile { path: path.to_owned(), text: text.to_owned() });
        let files = vec![file("catalog.yaml", catalog), file("labels.yaml", &rule)];
        let found = match inspect(Arc::new(Tree { files }), &*world.source, &Outside::default(), None).await {
            Ok(inspected) => inspected.accepted().map_or_else(|findings| findings, |generation| generation.warnings),
            Err(findings) => findings,
        };
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let equals = told("segment: {when: {labels: vip}}").await;
    assert!(equals.contains("error[rule.operator-type]: `labels` is text[] in the database"), "{equals}");
    assert!(equals.contains("'…' = ANY($row.labels)"), "{equals}");
    for trigger in ["segment: {when: {labels: present}}", "segment: {when: {labels: {contains: vip}}}"] {
        let fine = told(trigger).await;
        assert!(!fine.contains("text[]"), "{fine}");
    }
    let sql =
        "SELECT id, labels, array_to_string(labels, ',') AS text FROM people WHERE now() > :after AND now() <= :until";
    let shown = told(&format!("query: {{sql: \"{sql}\", key: id, occasion: id, row: [labels, text]}}")).await;
    assert!(shown.contains("warning[rule.query]: `labels` is text[] in the database"), "{shown}");
    assert!(shown.contains("array_to_string(labels, ', ') AS labels"), "{shown}");
    let text = told(&format!("query: {{sql: \"{sql}\", key: id, occasion: id, row: [text]}}")).await;
    assert!(!text.contains("text[]"), "{text}");
}
