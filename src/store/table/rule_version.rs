//! `rule_version`: the texts that enrollments pin.

use crate::engine::port::{Adoption, RuleVersion, StoreError};
use crate::model::{RuleId, VersionHash};
use crate::store::sql::{Batch, Session, params};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Stores the texts of a generation. A version whose pinned part is the same may have another text: the
/// newest is kept.
pub async fn store(session: &mut Session<'_>, rules: &[&Adoption], now: Timestamp) -> Result<(), StoreError> {
    let batch = Batch::new()
        .texts("rule", rules.iter().map(|r| r.rule.as_str()))
        .texts("hash", rules.iter().map(|r| r.version.as_str()))
        .texts("text", rules.iter().map(|r| r.text.as_str()));
    let sql = "INSERT INTO rule_version (rule, hash, text, stored_at)
               SELECT b.rule, b.hash, b.text, $1 FROM {batch} WHERE TRUE
               ON CONFLICT (rule, hash) DO UPDATE SET text = excluded.text";
    session.run_batch(sql, params![now], &batch).await?;
    Ok(())
}

/// Makes sure that versions which enrollments migrate to are there.
pub async fn keep<'a>(
    session: &mut Session<'_>,
    versions: impl Iterator<Item = &'a RuleVersion>,
) -> Result<(), StoreError> {
    let each: BTreeMap<_, _> = versions.map(|v| ((v.rule.as_str(), v.hash.as_str()), v.text.as_ref())).collect();
    let batch = Batch::new()
        .texts("rule", each.keys().map(|(rule, _)| *rule))
        .texts("hash", each.keys().map(|(_, hash)| *hash))
        .texts("text", each.values().copied());
    let sql = "INSERT INTO rule_version (rule, hash, text, stored_at)
               SELECT b.rule, b.hash, b.text, {clock} FROM {batch} WHERE TRUE
               ON CONFLICT (rule, hash) DO NOTHING";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Rows and the versions they move to: `id`, `rule`, `hash`.
pub fn batch(migrated: &[(i64, &RuleVersion)]) -> Batch {
    Batch::new()
        .ints("id", migrated.iter().map(|(id, _)| *id))
        .texts("rule", migrated.iter().map(|(_, version)| version.rule.as_str()))
        .texts("hash", migrated.iter().map(|(_, version)| version.hash.as_str()))
}

/// The numbers of a rule's versions.
pub async fn numbers(session: &mut Session<'_>, rule: &RuleId) -> Result<HashMap<String, i64>, StoreError> {
    let rows = session.rows("SELECT hash, id FROM rule_version WHERE rule = $1", params![rule.as_str()]).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, row.int(1)?))).collect()
}

/// The numbers of versions that something under way pins.
const PINNED: &str = "SELECT version FROM outbox UNION SELECT version FROM enrollment WHERE sweep IS NOT NULL";

/// Versions that something under way pins, with their texts.
pub async fn pinned(session: &mut Session<'_>) -> Result<Vec<(RuleId, VersionHash, String)>, StoreError> {
    let sql = format!("SELECT v.rule, v.hash, v.text FROM rule_version v WHERE v.id IN ({PINNED}) ORDER BY v.id");
    let rows = session.rows(&sql, &[]).await?;
    rows.into_iter()
        .map(|mut row| Ok((row.text(0)?.as_str().into(), row.text(1)?.as_str().into(), row.text(2)?)))
        .collect()
}

/// Versions that no rule has any more and nothing under way pins.
pub async fn idle(session: &mut Session<'_>) -> Result<Vec<i64>, StoreError> {
    let outdated = "SELECT v.id FROM rule_version v WHERE NOT EXISTS
                    (SELECT 1 FROM rule_state r WHERE r.rule = v.rule AND r.version = v.hash AND r.removed = 0)";
    // The usual case is that there are none, and then the outbox needn't be read.
    if session.row(&format!("{outdated} LIMIT 1"), &[]).await?.is_none() {
        return Ok(Vec::new());
    }
    let rows = session.rows(&format!("{outdated} AND v.id NOT IN ({PINNED})"), &[]).await?;
    rows.iter().map(|row| row.int(0)).collect()
}

pub async fn delete(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    // Looked at again, for the rule may have come back to this version meanwhile.
    let sql = "DELETE FROM rule_version WHERE id IN (SELECT b.id FROM {batch}) AND NOT EXISTS
               (SELECT 1 FROM rule_state r
                WHERE r.rule = rule_version.rule AND r.version = rule_version.hash AND r.removed = 0)";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}
