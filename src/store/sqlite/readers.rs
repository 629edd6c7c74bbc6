//! Readers beside the writer: a few connections, opened when first needed. In write-ahead mode they see one
//! consistent state each, and neither wait for the writer nor keep it waiting.

use super::{connect, run_here};
use crate::engine::port::StoreError;
use crate::store::sql::Session;
use crate::store::sql::sqlite::failure;
use futures::future::BoxFuture;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Faces and the engine's look-ups.
const READERS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

fn closed() -> StoreError {
    StoreError::Unavailable("the state is being closed".to_owned())
}

impl Readers {
    pub fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default(), permits: Arc::new(Semaphore::new(READERS)) }
    }

    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let reading = spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = kept.map_or_else(|| open(&path), Ok)?;
            let answer = view(&mut connection, &work);
            // A connection whose transaction can't be ended is dropped, and another opened next time.
            if connection.execute_batch("ROLLBACK").is_ok() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(permit);
            answer
        });
        reading.await.map_err(|_| closed())?
    }

    /// Waits for those who read, and closes all connections.
    pub async fn close(&self) {
        let all = u32::try_from(READERS).unwrap_or(u32::MAX);
        if let Ok(permits) = self.permits.acquire_many(all).await {
            self.permits.close();
            drop(permits);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn open(path: &std::path::Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    // There are several, and the system keeps the file's pages for all of them. What they sort beyond their cache goes
    // to a temporary file: a list of millions must not stand in memory.
    let settings = "PRAGMA query_only = TRUE; PRAGMA cache_size = -4096; PRAGMA temp_store = file";
    connection.execute_batch(settings).map_err(|error| failure(&error))?;
    Ok(connection)
}

fn view<T, F>(connection: &mut Connection, work: &F) -> Result<T, StoreError>
where
    F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>>,
{
    connection.execute_batch("BEGIN").map_err(|error| failure(&error))?;
    let conflict = AtomicBool::new(false);
    run_here(work(Session::sqlite(connection, &conflict)))
}
