//! `episode`: the latest episode of each record under each rule, and `episode_staged`: those of larger sweeps.
//! A staged one counts once its sweep is closed; it is moved over before the rule is swept again.

use crate::engine::port::{Episode, EpisodeChange, EpisodePage, OpenEpisode, StoreError};
use crate::model::Key;
use crate::store::sql::{Batch, Param, Row, Session, params};
use crate::store::table::sweep_state;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The last word on each record: a statement may touch a row only once.
fn columns(changes: &[EpisodeChange]) -> Batch {
    let last: BTreeMap<_, _> = changes.iter().map(|change| (&change.record, change)).collect();
    let open = |change: &&EpisodeChange| change.episode.closed_at.is_none();
    Batch::new()
        .ids("record", last.keys().copied())
        .ints("ordinal", last.values().map(|change| change.episode.ordinal as i64))
        .ints("opened_at", last.values().map(|change| change.episode.opened_at.as_microsecond()))
        .ints("closed_at", last.values().map(|change| change.episode.closed_at.map(Timestamp::as_microsecond)))
        .ints("due_at", last.values().map(|change| change.episode.due_at.as_microsecond()))
        .opt_ids("value", last.values().map(|change| change.episode.value.as_ref()))
        .opt_texts("key", last.values().map(|change| open(change).then(|| change.key.as_str())))
        .ints("own", last.values().map(|change| change.episode.own.as_microsecond()))
}

pub async fn store(session: &mut Session<'_>, rule_state: i64, changes: &[EpisodeChange]) -> Result<(), StoreError> {
    let sql = "INSERT INTO episode (rule_state, record, series, ordinal, opened_at, closed_at, due_at, key, value, own)
               SELECT r.id, b.record, r.series, b.ordinal, b.opened_at, b.closed_at, b.due_at, b.key, b.value, b.own
               FROM {batch} CROSS JOIN rule_state r WHERE r.id = $1
               ON CONFLICT (rule_state, record)
               DO UPDATE SET series = excluded.series, ordinal = excluded.ordinal, opened_at = excluded.opened_at,
                             closed_at = excluded.closed_at, due_at = excluded.due_at, key = excluded.key,
                             value = excluded.value, own = excluded.own";
    session.run_batch(sql, params![rule_state], &columns(changes)).await?;
    Ok(())
}

pub async fn stage(
    session: &mut Session<'_>,
    rule_state: i64,
    sweep: i64,
    changes: &[EpisodeChange],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO episode_staged (rule_state, sweep, record, ordinal, opened_at, closed_at, due_at, key, value, own)
               SELECT $1, $2, b.record, b.ordinal, b.opened_at, b.closed_at, b.due_at, b.key, b.value, b.own FROM {batch} WHERE TRUE
               ON CONFLICT (rule_state, sweep, record)
               DO UPDATE SET ordinal = excluded.ordinal, opened_at = excluded.opened_at,
                             closed_at = excluded.closed_at, due_at = excluded.due_at, key = excluded.key,
                             value = excluded.value, own = excluded.own";
    session.run_batch(sql, params![rule_state, sweep], &columns(changes)).await?;
    Ok(())
}

/// A sweep of the rule that left episodes staged.
pub async fn staged_of(session: &mut Session<'_>, rule_state: i64) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT sweep FROM episode_staged WHERE rule_state = $1 ORDER BY sweep LIMIT 1";
    session.row(sql, params![rule_state]).await?.map(|row| row.int(0)).transpose()
}

/// The same, of a sweep that is closed.
pub async fn closed_of(session: &mut Session<'_>, rule_state: i64) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT s.sweep FROM episode_staged s LEFT JOIN sweep w ON w.id = s.sweep
               WHERE s.rule_state = $1 AND (w.state IS NULL OR w.state <> $2) ORDER BY s.sweep LIMIT 1";
    session.row(sql, params![rule_state, sweep_state::OPEN]).await?.map(|row| row.int(0)).transpose()
}

/// Moves up to `limit` episodes of a closed sweep to where they count.
pub async fn unstage(session: &mut Session<'_>, rule_state: i64, sweep: i64, limit: usize) -> Result<(), StoreError> {
    let sql = "INSERT INTO episode (rule_state, record, series, ordinal, opened_at, closed_at, due_at, key, value, own)
               SELECT s.rule_state, s.record, r.series, s.ordinal, s.opened_at, s.closed_at, s.due_at, s.key, s.value, s.own
               FROM (SELECT * FROM episode_staged WHERE rule_state = $1 AND sweep = $2 ORDER BY record LIMIT $3) s
               JOIN rule_state r ON r.id = s.rule_state WHERE TRUE
               ON CONFLICT (rule_state, record)
               DO UPDATE SET series = excluded.series, ordinal = excluded.ordinal, opened_at = excluded.opened_at,
                             closed_at = excluded.closed_at, due_at = excluded.due_at, key = excluded.key,
                             value = excluded.value, own = excluded.own";
    session.run(sql, params![rule_state, sweep, limit]).await?;
    drop_staged(session, rule_state, sweep, limit).await?;
    Ok(())
}

/// Forgets up to `limit` episodes of a sweep that was never closed; how many it forgot.
pub async fn drop_staged(
    session: &mut Session<'_>,
    rule_state: i64,
    sweep: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM episode_staged WHERE rule_state = $1 AND sweep = $2 AND record IN
               (SELECT record FROM episode_staged WHERE rule_state = $1 AND sweep = $2 ORDER BY record LIMIT $3)";
    session.run(sql, params![rule_state, sweep, limit]).await
}

/// Ends up to `limit` episodes that an older definition opened, or whose rule is gone, and forgets their keys;
/// how many there were.
pub async fn end_void(session: &mut Session<'_>, rule_states: &[i64], limit: usize) -> Result<u64, StoreError> {
    let batch = Batch::new().ints("id", rule_states.iter().copied());
    let sql = "UPDATE episode SET closed_at = opened_at, key = NULL WHERE (rule_state, record) IN
               (SELECT e.rule_state, e.record FROM {batch} CROSS JOIN rule_state r CROSS JOIN episode e
                WHERE r.id = b.id AND e.rule_state = r.id AND e.closed_at IS NULL
                  AND (e.series <> r.series OR r.removed = 1) LIMIT $1)";
    session.run_batch(sql, params![limit], &batch).await
}

/// The episodes of these records, by the place of each. One of an older definition counts as ended long ago.
pub async fn of_records(
    session: &mut Session<'_>,
    rule_state: i64,
    records: &[[u8; 16]],
) -> Result<Vec<Option<Episode>>, StoreError> {
    let batch = Batch::new().ints("n", (0..records.len()).map(|n| n as i64)).ids("record", records);
    let sql = "SELECT b.n, e.ordinal, e.opened_at, e.closed_at, e.due_at, e.value, e.own,
                      CASE WHEN e.series = r.series THEN 1 ELSE 0 END
               FROM {batch} CROSS JOIN rule_state r CROSS JOIN episode e
               WHERE r.id = $1 AND e.rule_state = r.id AND e.record = b.record";
    let mut found = vec![None; records.len()];
    for row in session.rows_batch(sql, params![rule_state], &batch).await? {
        let episode = read(&row, 1)?;
        let closed_at = if row.int(7)? == 1 { episode.closed_at } else { Some(Timestamp::MIN) };
        if let Some(place) = found.get_mut(row.count(0)? as usize) {
            *place = Some(Episode { closed_at, ..episode });
        }
    }
    Ok(found)
}

pub async fn open(
    session: &mut Session<'_>,
    rule_state: i64,
    page: &EpisodePage,
) -> Result<Vec<OpenEpisode>, StoreError> {
    let sql = "SELECT e.ordinal, e.opened_at, e.closed_at, e.due_at, e.value, e.own, e.record, e.key
               FROM episode e JOIN rule_state r ON r.id = e.rule_state
               WHERE e.rule_state = $1 AND e.closed_at IS NULL AND e.series = r.series AND e.key IS NOT NULL
                 AND (e.due_at, e.record) > ($2, $3) AND (e.due_at <= $4 OR e.opened_at > $5)
               ORDER BY e.due_at, e.record LIMIT $6";
    let (due, record) = page.after.unwrap_or((Timestamp::MIN, [0; 16]));
    let params: [Param; 6] = [
        rule_state.into(),
        due.into(),
        (&record).into(),
        page.due_until.into(),
        page.opened_after.into(),
        page.limit.into(),
    ];
    let read = |mut row: Row| {
        let episode = read(&row, 0)?;
        Ok(OpenEpisode { record: row.id(6)?, key: Key::new(row.text(7)?), episode })
    };
    session.rows(sql, &params).await?.into_iter().map(read).collect()
}

fn read(row: &Row, first: usize) -> Result<Episode, StoreError> {
    Ok(Episode {
        ordinal: row.count(first)?,
        opened_at: row.instant(first + 1)?,
        closed_at: row.opt_instant(first + 2)?,
        due_at: row.instant(first + 3)?,
        value: row.opt_id(first + 4)?,
        own: row.instant(first + 5)?,
    })
}
