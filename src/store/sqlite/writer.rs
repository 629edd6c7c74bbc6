//! The one writer: a thread that owns the connection. Transactions that arrive while another runs share its
//! commit, so that the disk is asked to sync once for many; each is answered only after that sync. A job that
//! fails is rolled back alone. A caller that goes away never leaves half a transaction.

use super::run_here;
use crate::engine::port::StoreError;
use crate::store::sql::Session;
use crate::store::sql::sqlite::failure;
use futures::future::BoxFuture;
use rusqlite::Connection;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A shared commit is not put off longer than this.
const HOLD: Duration = Duration::from_millis(20);

type Run = Box<dyn FnOnce(&mut Connection) -> Result<(), StoreError> + Send>;

struct Job {
    run: Run,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The way to the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the state is being closed".to_owned())
}

impl Writer {
    pub fn start(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(256);
        let thread = thread::Builder::new().name("state-writer".to_owned()).spawn(move || serve(connection, queue));
        let thread =
            thread.map_err(|error| StoreError::Broken(format!("the state's writer can't be started: {error}")))?;
        Ok(Self { jobs, thread })
    }

    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let run: Run = Box::new(move |connection| {
            let conflict = AtomicBool::new(false);
            let value = run_here(work(Session::sqlite(connection, &conflict)))?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        });
        let (done, committed) = oneshot::channel();
        self.jobs.send(Job { run, done }).await.map_err(|_| stopped())?;
        committed.await.map_err(|_| stopped())??;
        let value = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(stopped)
    }

    /// Finishes what was asked for, then closes the connection.
    pub async fn stop(self) {
        let Self { jobs, thread } = self;
        drop(jobs);
        // An error means that the thread panicked, and then there is nothing left to wait for.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

fn serve(mut connection: Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        share(&mut connection, &mut queue, first);
    }
    // The last connection that closes folds the write-ahead log into the file.
    let _ = connection.close();
}

/// One transaction for `first` and whatever arrives while it runs. `first` needs no savepoint, which would copy
/// every page before its first change: if it fails there is nothing else to keep.
fn share(connection: &mut Connection, queue: &mut mpsc::Receiver<Job>, first: Job) {
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        let _ = first.done.send(Err(error));
        return;
    }
    let begun = Instant::now();
    if let Err(error) = (first.run)(connection) {
        let _ = execute(connection, "ROLLBACK");
        let _ = first.done.send(Err(error));
        return;
    }
    let mut waiting = vec![first.done];
    while begun.elapsed() < HOLD
        && let Ok(job) = queue.try_recv()
    {
        match alone(connection, job.run) {
            Ok(()) => waiting.push(job.done),
            Err(error) => drop(job.done.send(Err(error))),
        }
    }
    let committed = execute(connection, "COMMIT");
    if committed.is_err() {
        let _ = execute(connection, "ROLLBACK");
    }
    for done in waiting {
        let _ = done.send(committed.as_ref().copied().map_err(again));
    }
}

/// Runs one job so that its failure undoes only its own writes.
fn alone(connection: &mut Connection, run: Run) -> Result<(), StoreError> {
    execute(connection, "SAVEPOINT job")?;
    let result = run(connection);
    if result.is_err() {
        execute(connection, "ROLLBACK TO job")?;
    }
    execute(connection, "RELEASE job")?;
    result
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    let executed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
    executed.map(drop).map_err(|error| failure(&error))
}

/// The same error for each who shared the commit.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Broken(text) => StoreError::Broken(text.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
