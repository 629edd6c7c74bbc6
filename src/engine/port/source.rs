use crate::catalog::{Schema, Table};
use crate::model::Tenant;
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

    /// Runs the statements in one read-write transaction: all or nothing. Returns the rows each touched.
    async fn write(&self, tenant: &Tenant, statements: Vec<Statement>) -> Result<Vec<u64>, SourceError>;

    /// What the database says of these tables.
    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError>;

    /// Has the database type-check a statement without running it.
    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError>;
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
