use crate::catalog::{Catalog, ColumnSchema, Origin, Schema, Table, TableKind, TableSchema};
use crate::model::Tenant;
use crate::rule::lexer::one_statement;
use crate::rule::statement::{Dialect, Row, Statement};
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

/// The CRM database.
#[async_trait]
pub trait Source: Send + Sync {
    fn dialect(&self) -> Dialect;

    /// The source's own clock, which rules its windows.
    async fn now(&self) -> Result<Timestamp, SourceError>;

    /// Runs one query in a read-only transaction of that tenant and streams its rows; nothing is collected.
    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>>;

    /// Runs the statements in one read-write transaction: all or nothing. What each came to, in the same order.
    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError>;

    /// As [`Source::transact`], for statements that only write. Returns the rows each touched.
    async fn write(&self, tenant: &Tenant, statements: Vec<Statement>) -> Result<Vec<u64>, SourceError> {
        let done = self.transact(tenant, statements.into_iter().map(Deed::Run).collect()).await?;
        Ok(done.iter().map(Done::touched).collect())
    }

    /// What the database says of these tables.
    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError>;

    /// The columns that a query returns, without running it.
    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError>;

    /// Has the database type-check a statement without running it.
    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError>;
}

/// One statement of a transaction that writes.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Writes, or locks what is written next.
    Run(Statement),
    /// Reads what the statements before it have left; its rows are few.
    Read(Statement),
}

/// What a [`Deed`] came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    Touched(u64),
    Rows(Vec<Row>),
}

impl Done {
    /// How many rows it wrote.
    #[must_use]
    pub const fn touched(&self) -> u64 {
        match self {
            Self::Touched(rows) => *rows,
            Self::Rows(_) => 0,
        }
    }

    /// The rows it read.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        match self {
            Self::Touched(_) => &[],
            Self::Rows(rows) => rows,
        }
    }
}

/// What the database says of everything that a catalog reads: its tables, and the entities that are queries. A query
/// that the database refuses is there without columns.
pub async fn live_schema(source: &dyn Source, catalog: &Catalog) -> Result<Schema, SourceError> {
    let mut schema = source.schema(&catalog.tables()).await?;
    for entity in catalog.entities.values() {
        let Origin::Sql(sql) = &entity.origin else { continue };
        let columns = match source.describe(&one_statement(sql, source.dialect())).await {
            Ok(columns) => Some(columns),
            Err(SourceError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        let query = TableSchema {
            table: Table { schema: None, name: entity.name.to_string() },
            exists: columns.is_some(),
            kind: TableKind::View,
            columns: columns.unwrap_or_default(),
            indexes: Vec::new(),
        };
        schema.queries.insert(sql.clone(), query);
    }
    Ok(schema)
}

/// Why the source did not answer a question.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// Down, refused, cut, or timed out: the same question may be answered later.
    #[error("the source could not be reached: {0}")]
    Unavailable(String),
    /// The database understood and said no: a missing column, a denied permission.
    #[error("the source refused the query: {0}")]
    Refused(String),
}
