//! `enrollment`: one record going through one rule's steps. Where it stands is in `outbox`; the columns
//! `node`, `due_at`, `planned_at` and `rematch` are only of use while it is staged.

use crate::engine::port::{NewMatch, Rematch, RuleVersion, Running, StoreError};
use crate::model::EndReason;
use crate::store::sql::{Batch, Dialect, Row, Session, params};
use crate::store::table::enrollment_state::{ENDED, STAGED};
use jiff::Timestamp;
use std::collections::HashMap;

/// A new enrollment.
pub struct Draft<'a> {
    pub id: i64,
    pub of: &'a NewMatch,
    pub version: i64,
    pub state: i64,
    pub ended: Option<EndReason>,
}

/// Numbers for this many new enrollments.
pub async fn allocate(session: &mut Session<'_>, count: usize) -> Result<Vec<i64>, StoreError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if session.dialect() == Dialect::Sqlite {
        // The writer is alone.
        let row = session.row("SELECT COALESCE(max(id), 0) FROM enrollment", &[]).await?;
        let last = row.map_or(Ok(0), |row| row.int(0))?;
        return Ok((last + 1..).take(count).collect());
    }
    let sql = "SELECT nextval('enrollment_id') FROM generate_series(1, $1)";
    session.rows(sql, params![count]).await?.iter().map(|row| row.int(0)).collect()
}

pub async fn insert(
    session: &mut Session<'_>,
    rule_state: i64,
    sweep: Option<i64>,
    drafts: &[Draft<'_>],
) -> Result<(), StoreError> {
    let staged = |draft: &&Draft<'_>| draft.state == STAGED;
    let mut batch = Batch::new()
        .ints("id", drafts.iter().map(|d| d.id))
        .ids("match_id", drafts.iter().map(|d| &d.of.id.0))
        .ids("track", drafts.iter().map(|d| &d.of.track))
        .ints("version", drafts.iter().map(|d| d.version))
        .texts("entity", drafts.iter().map(|d| d.of.record.entity.as_str()))
        .texts("key", drafts.iter().map(|d| d.of.record.key.as_str()))
        .texts("occasion", drafts.iter().map(|d| d.of.occasion.as_str()))
        .ints("occasion_at", drafts.iter().map(|d| d.of.occasion_at.map(Timestamp::as_microsecond)))
        .texts("occasion_data", drafts.iter().map(|d| d.of.occasion_data.to_string()))
        .ints("entered_at", drafts.iter().map(|d| d.of.matched_at.as_microsecond()))
        .ints("entry", drafts.iter().map(|d| d.of.entry as i64))
        .ints("state", drafts.iter().map(|d| d.state))
        .opt_texts("ended", drafts.iter().map(|d| d.ended.map(EndReason::as_str)))
        .ints("ended_at", drafts.iter().map(|d| (d.state == ENDED).then_some(d.of.matched_at.as_microsecond())));
    let mut columns = String::from(
        "id, match_id, track, version, entity, key, occasion, occasion_at, occasion_data, entered_at, entry, state, \
         ended, ended_at",
    );
    if drafts.iter().any(|draft| staged(&draft)) {
        let first = |d: &Draft<'_>| d.of.first.filter(|_| d.state == STAGED);
        batch = batch
            .ints("node", drafts.iter().map(|d| first(d).map(|(node, _)| node as i64)))
            .ints("due_at", drafts.iter().map(|d| first(d).map(|(_, due)| due.as_microsecond())))
            .ints("planned_at", drafts.iter().map(|d| d.of.planned_at.as_microsecond()))
            .ints("rematch", drafts.iter().map(|d| rematch_code(d.of.restart)));
        columns.push_str(", node, due_at, planned_at, rematch");
    }
    let from = columns.split(", ").map(|column| format!("b.{column}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "INSERT INTO enrollment (rule_state, sweep, {columns}) SELECT $1, CAST($2 AS bigint), {from} FROM {{batch}}"
    );
    session.run_batch(&sql, &[rule_state.into(), crate::store::sql::Param::Int(sweep)], &batch).await?;
    Ok(())
}

pub const fn rematch_code(rematch: Rematch) -> i64 {
    match rematch {
        Rematch::Ignore => 0,
        Rematch::Restart => 1,
        Rematch::Queue => 2,
        Rematch::Parallel => 3,
    }
}

pub const fn rematch_of(code: i64) -> Rematch {
    match code {
        1 => Rematch::Restart,
        2 => Rematch::Queue,
        3 => Rematch::Parallel,
        _ => Rematch::Ignore,
    }
}

/// The greatest occasion among the enrollments of each of these tracks.
pub async fn greatest<'a>(
    session: &mut Session<'_>,
    tracks: impl Iterator<Item = &'a [u8; 16]>,
) -> Result<HashMap<[u8; 16], i64>, StoreError> {
    let batch = Batch::new().ids("track", tracks);
    let rows = session
        .rows_batch(
            "SELECT e.track, max(e.occasion_at) FROM {batch} CROSS JOIN enrollment e WHERE e.track = b.track
             GROUP BY e.track",
            &[],
            &batch,
        )
        .await?;
    rows.iter().filter(|row| !row.is_null(1)).map(|row| Ok((row.id(0)?, row.int(1)?))).collect()
}

macro_rules! under_way {
    () => {
        "SELECT e.track, e.id, CASE WHEN o.state IN (3, 4) THEN 1 ELSE 0 END
         FROM {batch} CROSS JOIN enrollment e CROSS JOIN outbox o
         WHERE e.track = b.track AND e.state IN (0, 1) AND o.id = e.id ORDER BY e.id"
    };
}

/// Those under way for these tracks, locked.
pub async fn running<'a>(
    session: &mut Session<'_>,
    tracks: impl Iterator<Item = &'a [u8; 16]>,
) -> Result<Vec<Running>, StoreError> {
    read_running(session, concat!(under_way!(), " {lock o}"), tracks).await
}

/// The same for somebody who only looks.
pub async fn seen_running<'a>(
    session: &mut Session<'_>,
    tracks: impl Iterator<Item = &'a [u8; 16]>,
) -> Result<Vec<Running>, StoreError> {
    read_running(session, under_way!(), tracks).await
}

async fn read_running<'a>(
    session: &mut Session<'_>,
    sql: &str,
    tracks: impl Iterator<Item = &'a [u8; 16]>,
) -> Result<Vec<Running>, StoreError> {
    let rows = session.rows_batch(sql, &[], &Batch::new().ids("track", tracks)).await?;
    let read = |row: &Row| Ok(Running { track: row.id(0)?, id: row.int(1)?, is_parked: row.int(2)? != 0 });
    rows.iter().map(read).collect()
}

/// Moves enrollments of one rule to other tracks: (id, track).
pub async fn set_tracks(
    session: &mut Session<'_>,
    rule_state: i64,
    moved: &[(i64, &[u8; 16])],
) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", moved.iter().map(|m| m.0)).ids("track", moved.iter().map(|m| m.1));
    let sql = "UPDATE enrollment SET track = b.track FROM {batch}
               WHERE enrollment.id = b.id AND enrollment.rule_state = $1";
    session.run_batch(sql, params![rule_state], &batch).await?;
    Ok(())
}

/// Ends enrollments: (id, reason, at).
pub async fn end(session: &mut Session<'_>, ends: &[(i64, EndReason, i64)]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("id", ends.iter().map(|end| end.0))
        .texts("ended", ends.iter().map(|end| end.1.as_str()))
        .ints("ended_at", ends.iter().map(|end| end.2));
    let sql = "UPDATE enrollment SET state = 2, ended = b.ended, ended_at = b.ended_at, hold = NULL, sweep = NULL
               FROM {batch} WHERE enrollment.id = b.id AND enrollment.state <> 2";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn activate(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE enrollment SET state = 0, sweep = NULL FROM {batch} WHERE enrollment.id = b.id";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn hold(session: &mut Session<'_>, holds: &[(i64, &str)]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", holds.iter().map(|hold| hold.0)).texts("hold", holds.iter().map(|hold| hold.1));
    let sql = "UPDATE enrollment SET state = 1, hold = b.hold FROM {batch}
               WHERE enrollment.id = b.id AND enrollment.state = 0";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn unhold(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE enrollment SET state = 0, hold = NULL FROM {batch}
               WHERE enrollment.id = b.id AND enrollment.state = 1";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn save(session: &mut Session<'_>, saved: &[(i64, String)]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("id", saved.iter().map(|saved| saved.0))
        .texts("saved", saved.iter().map(|saved| saved.1.as_str()));
    let sql = "UPDATE enrollment SET saved = b.saved FROM {batch} WHERE enrollment.id = b.id";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Pins enrollments to another version of their rule; one that was held runs again.
pub async fn put(session: &mut Session<'_>, version: i64, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE enrollment SET version = $1, hold = NULL, state = CASE WHEN state = 1 THEN 0 ELSE state END
               FROM {batch} WHERE enrollment.id = b.id";
    session.run_batch(sql, params![version], &batch).await?;
    Ok(())
}

/// Pins enrollments to another version of their rule; see [`super::outbox::migrate`].
pub async fn migrate(session: &mut Session<'_>, migrated: &[(i64, &RuleVersion)]) -> Result<(), StoreError> {
    let sql = "UPDATE enrollment SET version = v.id FROM {batch} CROSS JOIN rule_version v
               WHERE enrollment.id = b.id AND v.rule = b.rule AND v.hash = b.hash";
    session.run_batch(sql, &[], &super::rule_version::batch(migrated)).await?;
    Ok(())
}

/// A staged enrollment, to be entered or dropped.
pub struct Staged {
    pub id: i64,
    pub match_id: [u8; 16],
    pub track: [u8; 16],
    pub version: i64,
    pub entered_at: i64,
    /// First node, due and planned instant.
    pub first: Option<(i64, i64)>,
    pub planned_at: i64,
    pub rematch: Rematch,
    pub ended: Option<String>,
}

/// Up to `limit` staged enrollments of a sweep.
pub async fn staged(session: &mut Session<'_>, sweep: i64, limit: usize) -> Result<Vec<Staged>, StoreError> {
    let rows = session
        .rows(
            "SELECT e.id, e.match_id, e.track, e.version, e.entered_at, e.node, e.due_at, e.planned_at, e.rematch,
                    e.ended
             FROM enrollment e WHERE e.sweep = $1 AND e.state = 3 ORDER BY e.id LIMIT $2",
            params![sweep, limit],
        )
        .await?;
    let read = |mut row: Row| {
        Ok(Staged {
            id: row.int(0)?,
            match_id: row.id(1)?,
            track: row.id(2)?,
            version: row.int(3)?,
            entered_at: row.int(4)?,
            first: row.opt_int(5)?.zip(row.opt_int(6)?),
            planned_at: row.int(7)?,
            rematch: rematch_of(row.int(8)?),
            ended: row.opt_text(9)?,
        })
    };
    rows.into_iter().map(read).collect()
}

pub async fn delete(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    session.run_batch("DELETE FROM enrollment WHERE id IN (SELECT b.id FROM {batch})", &[], &batch).await?;
    Ok(())
}
