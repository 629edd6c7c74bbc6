//! Rows from a task that owns its transaction, handed over in small batches so that memory stays flat and
//! the channel costs little. Dropping the stream stops the task at its next batch.

use crate::engine::port::SourceError;
use crate::rule::statement::Row;
use futures::stream::{self, BoxStream, StreamExt};
use std::future::Future;
use tokio::sync::mpsc;

const BATCH: usize = 128;

/// Where a reading task puts its rows.
pub(super) struct Rows {
    sender: mpsc::Sender<Vec<Result<Row, SourceError>>>,
    batch: Vec<Result<Row, SourceError>>,
}

impl Rows {
    /// False: nobody listens any more.
    pub async fn push(&mut self, row: Row) -> bool {
        self.batch.push(Ok(row));
        if self.batch.len() < BATCH {
            return true;
        }
        self.flush().await
    }

    async fn flush(&mut self) -> bool {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        batch.is_empty() || self.sender.send(batch).await.is_ok()
    }
}

/// Runs `read` in a task of its own and streams what it pushes; its error is the stream's last item.
pub(super) fn rows<F, R>(read: F) -> BoxStream<'static, Result<Row, SourceError>>
where
    F: FnOnce(Rows) -> R + Send + 'static,
    R: Future<Output = (Rows, Result<(), SourceError>)> + Send,
{
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let (mut rows, result) = read(Rows { sender, batch: Vec::new() }).await;
        if let Err(error) = result {
            rows.batch.push(Err(error));
        }
        rows.flush().await;
    });
    let batches = stream::unfold(receiver, |mut receiver| async move {
        let batch = receiver.recv().await?;
        Some((stream::iter(batch), receiver))
    });
    batches.flatten().boxed()
}

/// One read-only transaction: begin, name the tenant, stream, end. The databases differ only in types.
macro_rules! read_only {
    ($pool:expr, $begin:expr, $tenant:expr, $statement:expr, $arguments:path, $decode:path, $classify:path) => {{
        let (pool, tenant, statement) = ($pool.clone(), $tenant, $statement);
        super::stream::rows(move |mut rows| async move {
            let result = async {
                let mut connection = pool.acquire().await.map_err($classify)?;
                let read = async {
                    let mut transaction = sqlx::Connection::begin_with(&mut *connection, $begin).await?;
                    if let Some(sql) = tenant {
                        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
                    }
                    let arguments = $arguments(&statement.binds)?;
                    {
                        let query = sqlx::query_with(sqlx::AssertSqlSafe(statement.sql), arguments);
                        let mut found = query.fetch(&mut *transaction);
                        while let Some(row) = futures::TryStreamExt::try_next(&mut found).await? {
                            if !rows.push($decode(&row)).await {
                                break;
                            }
                        }
                    }
                    transaction.rollback().await
                };
                let read = read.await;
                if read.is_err() {
                    connection.close_on_drop();
                }
                read.map_err($classify)
            };
            let result = result.await;
            (rows, result)
        })
    }};
}

/// One read-write transaction: all statements or none.
macro_rules! transact {
    ($pool:expr, $begin:expr, $tenant:expr, $steps:expr, $arguments:path, $decode:path, $classify:path) => {{
        let work = async {
            let mut transaction = $pool.begin_with($begin).await?;
            let steps = async {
                if let Some(sql) = $tenant {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
                }
                let mut done = Vec::with_capacity($steps.len());
                for step in $steps {
                    done.push(match step {
                        Deed::Run(statement) => {
                            let arguments = $arguments(&statement.binds)?;
                            let query = sqlx::query_with(sqlx::AssertSqlSafe(statement.sql), arguments);
                            Done::Touched(query.execute(&mut *transaction).await?.rows_affected())
                        }
                        Deed::Read(statement) => {
                            let arguments = $arguments(&statement.binds)?;
                            let query = sqlx::query_with(sqlx::AssertSqlSafe(statement.sql), arguments);
                            Done::Rows(query.fetch_all(&mut *transaction).await?.iter().map($decode).collect())
                        }
                    });
                }
                Ok::<_, sqlx::Error>(done)
            };
            match steps.await {
                Ok(done) => transaction.commit().await.map(|()| done),
                // At once: what it holds, nobody else can touch. A connection that is gone has rolled back by itself.
                Err(error) => {
                    let _ = transaction.rollback().await;
                    Err(error)
                }
            }
        };
        work.await.map_err($classify)
    }};
}

pub(super) use {read_only, transact};
