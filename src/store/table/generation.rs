//! `generation`: the files of the last generation that loaded well.

use crate::engine::port::{StoreError, StoredGeneration};
use crate::store::sql::{Row, Session, params};

pub async fn save(session: &mut Session<'_>, generation: &StoredGeneration) -> Result<(), StoreError> {
    let files =
        generation.files.iter().map(|(path, text)| serde_json::json!([path, text])).collect::<serde_json::Value>();
    let sql = "INSERT INTO generation (one, hash, files, loaded_at) VALUES (1, $1, $2, $3)
               ON CONFLICT (one) DO UPDATE
               SET hash = excluded.hash, files = excluded.files, loaded_at = excluded.loaded_at";
    let files = files.to_string();
    session.run(sql, params![generation.hash.as_str(), files.as_str(), generation.loaded_at]).await?;
    Ok(())
}

pub async fn last(session: &mut Session<'_>) -> Result<Option<StoredGeneration>, StoreError> {
    let read = |mut row: Row| {
        let files = serde_json::from_value(row.json(1)?)
            .map_err(|error| StoreError::Broken(format!("the kept generation can't be read: {error}")))?;
        Ok(StoredGeneration { hash: row.text(0)?, files, loaded_at: row.instant(2)? })
    };
    session.row("SELECT hash, files, loaded_at FROM generation", &[]).await?.map(read).transpose()
}
