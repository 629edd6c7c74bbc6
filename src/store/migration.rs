//! Brings the state's tables to the schema this binary knows, one numbered file after the other, and
//! refuses a schema that a newer binary has made.
//!
//! Our own runner, for sqlx's takes an advisory lock, which a pooler in between breaks.

use super::sql::{Session, params};
use crate::engine::port::StoreError;
use crate::model::InstanceSecret;
use jiff::Timestamp;

/// The files in order; the schema after the nth is n.
pub type Steps = &'static [&'static str];

/// Which steps lie between the schema found and the newest.
pub fn pending(found: i64, steps: Steps) -> Result<&'static [&'static str], StoreError> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    usize::try_from(found).ok().and_then(|found| steps.get(found..)).ok_or(StoreError::NewerSchema { found, known })
}

/// Writes down that all steps have run; draws the instance's secret the first time.
pub async fn finish(session: &mut Session<'_>, steps: Steps, now: Timestamp) -> Result<InstanceSecret, StoreError> {
    let mut secret = InstanceSecret([0; 32]);
    rand::Rng::fill_bytes(&mut rand::rng(), &mut secret.0);
    session
        .run(
            "INSERT INTO meta (one, schema, secret, created_at) VALUES (1, $1, $2, $3)
             ON CONFLICT (one) DO UPDATE SET schema = excluded.schema",
            params![steps.len(), &secret.0[..], now],
        )
        .await?;
    kept_secret(session).await
}

/// The secret of a state on which steps have run.
pub async fn kept_secret(session: &mut Session<'_>) -> Result<InstanceSecret, StoreError> {
    let row = session.row("SELECT secret FROM meta", &[]).await?;
    let kept = row.ok_or_else(|| StoreError::Broken("the table `meta` is empty".to_owned()))?;
    let bytes = kept.bytes(0)?.try_into();
    bytes.map(InstanceSecret).map_err(|_| StoreError::Broken("the instance secret is not 32 bytes".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_what_is_missing_and_refuses_what_it_does_not_know() {
        const STEPS: Steps = &["a", "b"];
        assert_eq!(pending(0, STEPS).unwrap(), ["a", "b"]);
        assert_eq!(pending(1, STEPS).unwrap(), ["b"]);
        assert!(pending(2, STEPS).unwrap().is_empty());
        assert!(matches!(pending(3, STEPS), Err(StoreError::NewerSchema { found: 3, known: 2 })));
    }
}
