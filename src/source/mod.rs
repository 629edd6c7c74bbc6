//! The CRM database: PostgreSQL, MySQL or MariaDB, SQLite, over sqlx.
//!
//! Three small adapters of the engine's `Source` port. Each reads in read-only transactions with a
//! statement timeout, streams rows without collecting them, and decodes by the type of each cell. What
//! the cells mean is the catalog's affair, not ours.

mod error;
mod grants;
mod inventory;
mod mysql;
mod mysql_schema;
mod postgres;
mod postgres_cell;
mod postgres_schema;
mod sqlite;
mod sqlite_schema;
mod stream;

pub use grants::{Grantee, grants};
pub use inventory::{inventory, sequences};
pub use mysql::MySqlSource;
pub use postgres::PostgresSource;
pub use sqlite::SqliteSource;

use crate::engine::port::{Source, SourceError};
use crate::model::{Clock, Tenant};
use crate::rule::statement::Dialect;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How to reach the source.
#[derive(Clone)]
pub struct SourceOptions {
    /// `postgres://…`, `mysql://…` or `sqlite:path`.
    pub url: String,
    /// Rules windows in place of the database's clock: for rehearsals and tests.
    pub clock: Option<Arc<dyn Clock>>,
    /// Connections held open at most.
    pub connections: u32,
    /// No statement may run longer.
    pub statement_timeout: Duration,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// Run at the start of every transaction; `$tenant` stands for the tenant's name.
    pub per_transaction: Option<String>,
    /// A throw-away SQLite database: its other schemas, each with its file. Nothing is kept for a crash.
    pub scratch: Option<Vec<(String, PathBuf)>>,
}

impl SourceOptions {
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            clock: None,
            connections: 4,
            statement_timeout: Duration::from_mins(2),
            connect_timeout: Duration::from_secs(10),
            per_transaction: None,
            scratch: None,
        }
    }

    /// A new database in an empty folder, for rehearsals: one file, and one for every schema beside it.
    #[must_use]
    pub fn scratch(folder: &Path, schemas: impl IntoIterator<Item = String>) -> Self {
        let url = format!("sqlite:{}?mode=rwc", folder.join("source.db").display());
        let files = schemas.into_iter().enumerate();
        let schemas = files.map(|(number, name)| (name, folder.join(format!("schema-{number}.db")))).collect();
        Self { scratch: Some(schemas), connections: 2, ..Self::new(url) }
    }

    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The SQL a URL's database speaks.
    pub fn dialect(&self) -> Result<Dialect, SourceError> {
        let scheme = self.url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "postgres" | "postgresql" => Ok(Dialect::Postgres),
            "mysql" | "mariadb" => Ok(Dialect::MySql),
            "sqlite" => Ok(Dialect::Sqlite),
            _ => Err(SourceError::Refused(
                "the source's URL has to begin with `postgres://`, `mysql://` or `sqlite:`".to_owned(),
            )),
        }
    }

    /// The statement that tells the database whose data the transaction may see.
    fn tenant_sql(&self, tenant: &Tenant) -> Option<String> {
        let sql = self.per_transaction.as_ref()?;
        Some(sql.replace("$tenant", &self.quoted(tenant.as_str())))
    }

    /// A name is text in the catalog, and some databases take no parameters in SET. What a backslash means in a quoted
    /// text is a setting of the server, so those are written in ways that mean the same whatever it is.
    fn quoted(&self, name: &str) -> String {
        let plain = name.replace('\'', "''");
        match self.dialect() {
            Ok(Dialect::Postgres) if name.contains('\\') => format!("E'{}'", plain.replace('\\', "\\\\")),
            Ok(Dialect::MySql) if name.contains('\\') => {
                let hex = name.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
                format!("_utf8mb4 x'{hex}'")
            }
            _ => format!("'{plain}'"),
        }
    }
}

/// Opens the source that the URL names. Connections are made when they are needed, so a source that is
/// down now is [`SourceError::Unavailable`] at the first question and works once it is up.
pub fn connect(options: &SourceOptions) -> Result<Arc<dyn Source>, SourceError> {
    Ok(match options.dialect()? {
        Dialect::Postgres => Arc::new(PostgresSource::open(options)?),
        Dialect::MySql => Arc::new(MySqlSource::open(options)?),
        Dialect::Sqlite => Arc::new(SqliteSource::open(options)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_a_quoted_text() {
        let options = SourceOptions {
            per_transaction: Some("SET app.tenant = $tenant".to_owned()),
            ..SourceOptions::new("postgres://localhost/crm")
        };
        assert_eq!(
            options.tenant_sql(&Tenant::new("a'; DROP TABLE x; --")).as_deref(),
            Some("SET app.tenant = 'a''; DROP TABLE x; --'")
        );
        let of = |url: &str| {
            let sql = Some("SET app.tenant = $tenant".to_owned());
            SourceOptions { per_transaction: sql, ..SourceOptions::new(url) }.tenant_sql(&Tenant::new("a\\'b"))
        };
        assert_eq!(of("postgres://x/y").as_deref(), Some("SET app.tenant = E'a\\\\''b'"));
        assert_eq!(of("mysql://x/y").as_deref(), Some("SET app.tenant = _utf8mb4 x'615c2762'"));
        assert_eq!(of("sqlite:x").as_deref(), Some("SET app.tenant = 'a\\''b'"));
        assert!(SourceOptions::new("oracle://x").dialect().is_err());
    }
}
