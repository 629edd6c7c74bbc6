//! `journal_read`: how much of which suppression journal is in the state.

use crate::engine::port::StoreError;
use crate::store::sql::{Session, params};

pub async fn position(session: &mut Session<'_>, id: &str) -> Result<Option<u64>, StoreError> {
    let row = session.row("SELECT position FROM journal_read WHERE journal = $1", params![id]).await?;
    row.map(|row| row.count(0)).transpose()
}

pub async fn note(session: &mut Session<'_>, id: &str, position: u64) -> Result<(), StoreError> {
    let sql = "INSERT INTO journal_read (journal, position) VALUES ($1, $2)
               ON CONFLICT (journal) DO UPDATE SET position = excluded.position";
    session.run(sql, params![id, position]).await.map(drop)
}

pub async fn forget(session: &mut Session<'_>, id: &str) -> Result<(), StoreError> {
    session.run("DELETE FROM journal_read WHERE journal = $1", params![id]).await.map(drop)
}
