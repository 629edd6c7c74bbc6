//! The one writer. Transactions that arrive while another runs share its commit, so that the disk is
//! asked to sync once for many; each is answered only after that sync. A job that fails is rolled back
//! alone. Since the writer is a task of its own, a caller that goes away never leaves half a transaction.

use crate::engine::port::StoreError;
use crate::store::sql::{Session, failure};
use futures::future::BoxFuture;
use sqlx::{Connection, Executor, SqliteConnection};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A shared commit is not put off longer than this.
const HOLD: Duration = Duration::from_millis(20);

type Run = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), StoreError>> + Send>;

struct Job {
    run: Run,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The way to the writer's task.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    task: tokio::task::JoinHandle<()>,
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the state is being closed".to_owned())
}

impl Writer {
    pub fn start(connection: SqliteConnection) -> Self {
        let (jobs, queue) = mpsc::channel(256);
        Self { jobs, task: tokio::spawn(serve(connection, queue)) }
    }

    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let run: Run = Box::new(move |connection| {
            Box::pin(async move {
                let conflict = AtomicBool::new(false);
                let value = work(Session::sqlite(connection, &conflict)).await?;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                Ok(())
            })
        });
        let (done, committed) = oneshot::channel();
        self.jobs.send(Job { run, done }).await.map_err(|_| stopped())?;
        committed.await.map_err(|_| stopped())??;
        let value = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(stopped)
    }

    /// Finishes what was asked for, then closes the connection.
    pub async fn stop(self) {
        drop(self.jobs);
        // An error means that the task panicked, and then there is nothing left to wait for.
        let _ = self.task.await;
    }
}

async fn serve(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        share(&mut connection, &mut queue, first).await;
    }
    // The last connection that closes folds the write-ahead log into the file.
    let _ = connection.close().await;
}

/// One transaction for `first` and whatever arrives while it runs. `first` needs no savepoint, which would copy
/// every page before its first change: if it fails there is nothing else to keep.
async fn share(connection: &mut SqliteConnection, queue: &mut mpsc::Receiver<Job>, first: Job) {
    if let Err(error) = connection.execute("BEGIN IMMEDIATE").await {
        let _ = first.done.send(Err(failure(&error)));
        return;
    }
    let begun = Instant::now();
    if let Err(error) = (first.run)(connection).await {
        let _ = connection.execute("ROLLBACK").await;
        let _ = first.done.send(Err(error));
        return;
    }
    let mut waiting = vec![first.done];
    while begun.elapsed() < HOLD
        && let Ok(job) = queue.try_recv()
    {
        match alone(connection, job.run).await {
            Ok(()) => waiting.push(job.done),
            Err(error) => drop(job.done.send(Err(error))),
        }
    }
    let committed = connection.execute("COMMIT").await.map_err(|error| failure(&error));
    if committed.is_err() {
        let _ = connection.execute("ROLLBACK").await;
    }
    for done in waiting {
        let _ = done.send(committed.as_ref().map(|_| ()).map_err(again));
    }
}

/// Runs one job so that its failure undoes only its own writes.
async fn alone(connection: &mut SqliteConnection, run: Run) -> Result<(), StoreError> {
    connection.execute("SAVEPOINT job").await.map_err(|error| failure(&error))?;
    let result = run(connection).await;
    if result.is_err() {
        connection.execute("ROLLBACK TO job").await.map_err(|error| failure(&error))?;
    }
    connection.execute("RELEASE job").await.map_err(|error| failure(&error))?;
    result
}

/// The same error for each who shared the commit.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Broken(text) => StoreError::Broken(text.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
