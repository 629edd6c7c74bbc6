//! Which tables there are, with their primary and foreign keys: what a first catalog is drafted from.

use crate::catalog::{Inventory, Listed, Reference, Table};
use crate::engine::port::{Source, SourceError};
use crate::model::{Tenant, Value};
use crate::rule::statement::{Dialect, Row, Statement};
use futures::TryStreamExt;

/// Schema (null where names need none), name, and whether it is a view.
const POSTGRES_TABLES: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE CAST(n.nspname AS text) END, \
     CAST(c.relname AS text), c.relkind IN ('v', 'm') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' \
     AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
     ORDER BY n.nspname, c.relname";

/// Schema, name, column, in the key's order.
const POSTGRES_KEYS: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE CAST(n.nspname AS text) END, \
     CAST(c.relname AS text), CAST(a.attname AS text) \
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u(attnum, place) \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum \
     WHERE k.contype = 'p' ORDER BY c.oid, u.place";

/// Schema, name and column, then schema and name of what it refers to; keys of one column.
const POSTGRES_REFERENCES: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE CAST(n.nspname AS text) END, \
     CAST(c.relname AS text), CAST(a.attname AS text), \
     CASE WHEN pg_table_is_visible(f.oid) THEN NULL ELSE CAST(fn.nspname AS text) END, CAST(f.relname AS text) \
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1] \
     JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace \
     WHERE k.contype = 'f' AND cardinality(k.conkey) = 1 ORDER BY c.oid, a.attnum";

const MYSQL_TABLES: &str = "SELECT NULL, table_name, table_type LIKE '%VIEW%' FROM information_schema.tables \
     WHERE table_schema = DATABASE() ORDER BY table_name";

const MYSQL_KEYS: &str = "SELECT NULL, table_name, column_name FROM information_schema.key_column_usage \
     WHERE table_schema = DATABASE() AND constraint_name = 'PRIMARY' ORDER BY table_name, ordinal_position";

const MYSQL_REFERENCES: &str = "SELECT NULL, table_name, column_name, \
     NULLIF(referenced_table_schema, DATABASE()), referenced_table_name \
     FROM information_schema.key_column_usage k \
     WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL \
     AND (SELECT COUNT(*) FROM information_schema.key_column_usage o WHERE o.table_schema = k.table_schema \
          AND o.table_name = k.table_name AND o.constraint_name = k.constraint_name) = 1 \
     ORDER BY table_name, column_name";

const SQLITE_TABLES: &str = "SELECT NULL, name, type = 'view' FROM sqlite_master \
     WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";

const SQLITE_KEYS: &str = "SELECT NULL, m.name, i.name FROM sqlite_master m JOIN pragma_table_info(m.name) i \
     WHERE m.type = 'table' AND i.pk > 0 ORDER BY m.name, i.pk";

const SQLITE_REFERENCES: &str = "SELECT NULL, m.name, f.\"from\", NULL, f.\"table\" \
     FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' \
     AND (SELECT COUNT(*) FROM pragma_foreign_key_list(m.name) o WHERE o.id = f.id) = 1 ORDER BY m.name, f.id DESC";

/// Asks the database for its tables, as far as this login may read them.
pub async fn inventory(source: &dyn Source) -> Result<Inventory, SourceError> {
    let [tables, keys, references] = match source.dialect() {
        Dialect::Postgres => [POSTGRES_TABLES, POSTGRES_KEYS, POSTGRES_REFERENCES],
        Dialect::MySql => [MYSQL_TABLES, MYSQL_KEYS, MYSQL_REFERENCES],
        Dialect::Sqlite => [SQLITE_TABLES, SQLITE_KEYS, SQLITE_REFERENCES],
    };
    let mut inventory = Inventory::default();
    for Row(cells) in ask(source, tables).await? {
        let [schema, name, view] = cells.as_slice() else { continue };
        let view = matches!(view, Value::Bool(true) | Value::Int(1));
        let table = table(schema, name);
        inventory.tables.push(Listed { table, view, key: Vec::new(), references: Vec::new() });
    }
    for Row(cells) in ask(source, keys).await? {
        let [schema, name, column] = cells.as_slice() else { continue };
        if let Some(listed) = find(&mut inventory, &table(schema, name)) {
            listed.key.push(text(column));
        }
    }
    for Row(cells) in ask(source, references).await? {
        let [schema, name, column, their_schema, their_name] = cells.as_slice() else { continue };
        let reference = Reference { column: text(column), table: table(their_schema, their_name) };
        if let Some(listed) = find(&mut inventory, &table(schema, name))
            && !listed.references.iter().any(|known| known.column == reference.column)
        {
            listed.references.push(reference);
        }
    }
    Ok(inventory)
}

/// Sequences that give the keys of rows inserted into a table. Only PostgreSQL wants a permission for them.
pub async fn sequences(source: &dyn Source, of: &Table) -> Result<Vec<Table>, SourceError> {
    if source.dialect() != Dialect::Postgres {
        return Ok(Vec::new());
    }
    // `to_regclass` wants the right to use the schema, which is among what the answer is asked for. Without a schema it is
    // the first of the search path, or where PostgreSQL puts tables.
    let sql = "SELECT CAST(n.nspname AS text), CAST(s.relname AS text) FROM pg_depend d \
               JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace \
               WHERE d.deptype = 'a' AND d.refobjid = ( \
                   SELECT t.oid FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace \
                   WHERE CAST(t.relname AS text) = CAST($2 AS text) AND t.relkind IN ('r', 'p') \
                     AND (CAST(tn.nspname AS text) = CAST($1 AS text) \
                          OR (CAST($1 AS text) = '' \
                              AND (tn.nspname = ANY (current_schemas(false)) OR tn.nspname = 'public'))) \
                   ORDER BY array_position(current_schemas(false), tn.nspname) LIMIT 1) \
               ORDER BY 1, 2";
    let asked = [of.schema.clone().unwrap_or_default(), of.name.clone()];
    let statement = Statement { sql: sql.to_owned(), binds: asked.map(Value::Text).to_vec() };
    let rows: Vec<Row> = source.rows(&Tenant::new(""), statement).try_collect().await?;
    let named = |Row(cells): Row| cells.as_slice().first_chunk().map(|[schema, name]| table(schema, name));
    Ok(rows.into_iter().filter_map(named).collect())
}

async fn ask(source: &dyn Source, sql: &str) -> Result<Vec<Row>, SourceError> {
    let statement = Statement { sql: sql.to_owned(), binds: Vec::new() };
    source.rows(&Tenant::new(""), statement).try_collect().await
}

fn find<'i>(inventory: &'i mut Inventory, table: &Table) -> Option<&'i mut Listed> {
    inventory.tables.iter_mut().find(|listed| listed.table == *table)
}

fn table(schema: &Value, name: &Value) -> Table {
    let schema = Some(text(schema)).filter(|schema| !schema.is_empty());
    Table { schema, name: text(name) }
}

/// MySQL 8 hands names over as binary.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}
