//! Erasing a record from every table that names it, and forgetting what has grown old. Hashes and counts stay.

use crate::engine::port::{Aged, BuiltInTask, Enrolled, Stay, StoreError};
use crate::model::{DeliveryId, RecordId};
use crate::store::sql::{Batch, Param, Row, Session, params};
use crate::store::table::{end_reason, enrollment_named, enrollment_state, lane};
use jiff::Timestamp;

fn named(record: &RecordId) -> [Param; 3] {
    [record.key.as_str().into(), record.entity.as_str().into(), record.tenant.as_str().into()]
}

/// All that is kept of the record's enrollments. Nothing indexes keys, so this reads the whole table: tracks alone would
/// miss those of rules that were renamed or are gone.
pub async fn enrollments(session: &mut Session<'_>, record: &RecordId) -> Result<Vec<Enrolled>, StoreError> {
    let sql = "SELECT e.id, r.rule, r.lane, e.occasion, e.occasion_at, e.occasion_data, e.entered_at, e.state, e.ended,
                      e.ended_at, e.saved, e.hold
               FROM enrollment e JOIN rule_state r ON r.id = e.rule_state
               WHERE e.key = $1 AND e.entity = $2 AND r.tenant = $3 ORDER BY e.id";
    let read = |mut row: Row| {
        let state = row.int(7)?;
        Ok(Enrolled {
            id: row.int(0)?,
            rule: row.text(1)?.as_str().into(),
            lane: lane(&row.text(2)?)?,
            occasion: row.opt_text(3)?,
            occasion_at: row.opt_instant(4)?,
            occasion_data: row.json(5)?,
            entered_at: row.instant(6)?,
            state: (state != enrollment_state::STAGED).then(|| enrollment_named(state)),
            ended: row.opt_text(8)?.map(|reason| end_reason(&reason)).transpose()?,
            ended_at: row.opt_instant(9)?,
            saved: row.json(10)?,
            hold: row.opt_text(11)?,
        })
    };
    session.rows(sql, &named(record)).await?.into_iter().map(read).collect()
}

/// The numbers of the record's enrollments.
pub async fn enrolled(session: &mut Session<'_>, record: &RecordId) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT e.id FROM enrollment e JOIN rule_state r ON r.id = e.rule_state
               WHERE e.key = $1 AND e.entity = $2 AND r.tenant = $3 ORDER BY e.id";
    session.rows(sql, &named(record)).await?.iter().map(|row| row.int(0)).collect()
}

/// Empties enrollments. What is staged or under way ends, and what is parked leaves the outbox; only what is being sent
/// stays there until its outcome is known.
pub async fn empty(session: &mut Session<'_>, ids: &[i64], now: i64) -> Result<u64, StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "DELETE FROM outbox WHERE id IN (SELECT b.id FROM {batch}) AND state <> 2";
    session.run_batch(sql, &[], &batch).await?;
    let sql = "UPDATE enrollment SET key = NULL, occasion = NULL, occasion_data = 'null', saved = NULL, hold = NULL,
                      sweep = NULL, ended = CASE WHEN state = 2 THEN ended ELSE 'cancelled' END,
                      ended_at = CASE WHEN state = 2 THEN ended_at ELSE $1 END, state = 2
               WHERE id IN (SELECT b.id FROM {batch}) AND key IS NOT NULL";
    session.run_batch(sql, params![now], &batch).await
}

/// How many of these enrollments have a message on its way.
pub async fn in_flight(session: &mut Session<'_>, ids: &[i64]) -> Result<u64, StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "SELECT o.id FROM {batch} CROSS JOIN outbox o WHERE o.id = b.id AND o.state = 2";
    Ok(session.rows_batch(sql, &[], &batch).await?.len() as u64)
}

/// Empties what was said of attempts, and of what happened in between except where it is `kept`: how many lines each.
pub async fn silence(session: &mut Session<'_>, ids: &[i64], kept: &str) -> Result<(u64, u64), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE attempt SET detail = '' WHERE enrollment IN (SELECT b.id FROM {batch}) AND detail <> ''";
    let attempts = session.run_batch(sql, &[], &batch).await?;
    let sql = "UPDATE timeline SET detail = ''
               WHERE enrollment IN (SELECT b.id FROM {batch}) AND detail <> '' AND detail <> $1";
    Ok((attempts, session.run_batch(sql, params![kept], &batch).await?))
}

/// An occasion that the record crossed at and was refused: the rule's number, id and lane, the occasion, and when.
pub type Refused = (i64, String, String, String, i64);

pub async fn refused(session: &mut Session<'_>, record: &RecordId) -> Result<Vec<Refused>, StoreError> {
    let sql =
        "SELECT r.id, r.rule, r.lane, m.occasion, m.crossed_at FROM miss m JOIN rule_state r ON r.id = m.rule_state
               WHERE m.key = $1 AND m.entity = $2 AND r.tenant = $3";
    let read = |mut row: Row| Ok((row.int(0)?, row.text(1)?, row.text(2)?, row.text(3)?, row.int(4)?));
    session.rows(sql, &named(record)).await?.into_iter().map(read).collect()
}

/// Enters occasions in the ledger unless they are there: (id, rule, at).
pub async fn enter(session: &mut Session<'_>, ids: &[([u8; 16], i64, i64)]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ids("id", ids.iter().map(|id| &id.0))
        .ints("rule_state", ids.iter().map(|id| id.1))
        .ints("at", ids.iter().map(|id| id.2));
    let sql = "INSERT INTO ledger (id, rule_state, matched_at) SELECT b.id, b.rule_state, b.at FROM {batch} WHERE TRUE
               ON CONFLICT (id) DO NOTHING";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn delete_misses(session: &mut Session<'_>, record: &RecordId) -> Result<u64, StoreError> {
    let sql = "DELETE FROM miss WHERE key = $1 AND entity = $2
                 AND rule_state IN (SELECT r.id FROM rule_state r WHERE r.tenant = $3)";
    session.run(sql, &named(record)).await
}

/// The latest episode of a record under each rule.
pub async fn episodes(session: &mut Session<'_>, record: &[u8; 16]) -> Result<Vec<Stay>, StoreError> {
    let sql = "SELECT r.rule, r.lane, e.ordinal, e.opened_at, e.closed_at FROM rule_state r CROSS JOIN episode e
               WHERE e.rule_state = r.id AND e.record = $1 ORDER BY r.rule, r.lane";
    let read = |mut row: Row| {
        Ok(Stay {
            rule: row.text(0)?.as_str().into(),
            lane: lane(&row.text(1)?)?,
            ordinal: row.count(2)?,
            opened_at: row.instant(3)?,
            closed_at: row.opt_instant(4)?,
        })
    };
    session.rows(sql, params![record]).await?.into_iter().map(read).collect()
}

/// Where episodes of the record stand staged. They are many only while a large sweep is read.
pub async fn staged_episodes(session: &mut Session<'_>, record: &[u8; 16]) -> Result<Vec<(i64, i64)>, StoreError> {
    let sql = "SELECT rule_state, sweep FROM episode_staged WHERE record = $1 AND key IS NOT NULL";
    session.rows(sql, params![record]).await?.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect()
}

/// Removes the key from a record's open episodes. They stay open: closed, the next sweep would open them anew.
pub async fn unname_episodes(
    session: &mut Session<'_>,
    record: &[u8; 16],
    staged: &[(i64, i64)],
) -> Result<u64, StoreError> {
    let sql = "UPDATE episode SET key = NULL
               WHERE rule_state IN (SELECT r.id FROM rule_state r) AND record = $1 AND key IS NOT NULL";
    let settled = session.run(sql, params![record]).await?;
    let batch = Batch::new().ints("rule_state", staged.iter().map(|s| s.0)).ints("sweep", staged.iter().map(|s| s.1));
    let sql = "UPDATE episode_staged SET key = NULL FROM {batch}
               WHERE episode_staged.rule_state = b.rule_state AND episode_staged.sweep = b.sweep
                 AND episode_staged.record = $1";
    Ok(settled + session.run_batch(sql, params![record], &batch).await?)
}

/// The record's tasks of the built-in list.
pub async fn tasks(session: &mut Session<'_>, record: &RecordId) -> Result<Vec<BuiltInTask>, StoreError> {
    let sql = "SELECT t.reference, t.title, t.body, t.due, COALESCE(t.assignee_email, t.assignee_key), t.created_at,
                      t.done_at
               FROM task t WHERE t.key = $1 AND t.entity = $2 AND t.tenant = $3 ORDER BY t.created_at, t.reference";
    let read = |mut row: Row| {
        Ok(BuiltInTask {
            reference: DeliveryId(row.id(0)?),
            title: row.text(1)?,
            body: row.opt_text(2)?,
            due: row.opt_text(3)?,
            assignee: row.opt_text(4)?,
            created_at: row.instant(5)?,
            done_at: row.opt_instant(6)?,
        })
    };
    session.rows(sql, &named(record)).await?.into_iter().map(read).collect()
}

/// Empties tasks; nobody can do one that says nothing, so they count as done.
pub async fn empty_tasks(session: &mut Session<'_>, references: &[[u8; 16]], now: i64) -> Result<u64, StoreError> {
    let batch = Batch::new().ids("reference", references);
    let sql = "UPDATE task SET key = '', title = '(erased)', body = NULL, done_at = COALESCE(done_at, $1)
               WHERE reference IN (SELECT b.reference FROM {batch})";
    session.run_batch(sql, params![now], &batch).await
}

pub async fn empty_events(session: &mut Session<'_>, numbers: &[i64]) -> Result<u64, StoreError> {
    let batch = Batch::new().ints("id", numbers.iter().copied());
    let sql = "UPDATE inbox SET body = 'null' WHERE id IN (SELECT b.id FROM {batch}) AND body <> 'null'";
    session.run_batch(sql, &[], &batch).await
}

pub async fn unname(session: &mut Session<'_>, hashes: &[[u8; 16]]) -> Result<u64, StoreError> {
    let batch = Batch::new().ids("hash", hashes);
    let sql =
        "UPDATE suppression SET address = NULL WHERE hash IN (SELECT b.hash FROM {batch}) AND address IS NOT NULL";
    session.run_batch(sql, &[], &batch).await
}

/// Up to `limit` rows that are old enough, by their numbers. Misses have none: see [`super::miss::forget_before`].
pub async fn aged(session: &mut Session<'_>, what: Aged, at: Timestamp, limit: usize) -> Result<Vec<i64>, StoreError> {
    let sql = match what {
        Aged::Attempts => {
            "SELECT a.id FROM attempt a WHERE a.finished_at < $1 AND a.kind <> 'task'
               AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = a.enrollment)
             ORDER BY a.finished_at LIMIT $2"
        }
        Aged::Timeline => {
            // Lines come in the order of time, so nothing is read beyond the first one that is young.
            "SELECT t.id FROM timeline t
             WHERE t.at < $1
               AND t.id < COALESCE((SELECT y.id FROM timeline y WHERE y.at >= $1 ORDER BY y.id LIMIT 1),
                                   9223372036854775807)
               AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = t.enrollment)
             ORDER BY t.id LIMIT $2"
        }
        Aged::Enrollments => {
            // Those that were emptied before and are the newest of their track are what is left.
            "SELECT e.id FROM enrollment e WHERE e.state = 2 AND e.ended_at < $1
               AND e.id < COALESCE((SELECT y.id FROM enrollment y WHERE y.entered_at >= $1 ORDER BY y.id LIMIT 1),
                                   9223372036854775807)
               AND (e.key IS NOT NULL OR e.occasion_at IS NULL
                    OR EXISTS (SELECT 1 FROM enrollment n WHERE n.track = e.track AND n.occasion_at > e.occasion_at))
               AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = e.id)
             ORDER BY e.id LIMIT $2"
        }
        Aged::Events => "SELECT i.id FROM inbox i WHERE i.received_at < $1 ORDER BY i.id LIMIT $2",
        Aged::Writes => "SELECT w.id FROM own_write w WHERE w.at < $1 ORDER BY w.at LIMIT $2",
        Aged::Messages => "SELECT m.id FROM message m WHERE m.sent_at < $1 ORDER BY m.sent_at LIMIT $2",
        Aged::Misses => return Ok(Vec::new()),
    };
    session.rows(sql, params![at, limit]).await?.iter().map(|row| row.int(0)).collect()
}

/// Forgets rows that [`aged`] found.
pub async fn drop_aged(session: &mut Session<'_>, what: Aged, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let of = |sql: &str| sql.replace("{ids}", "(SELECT b.id FROM {batch})");
    let statements: &[&str] = match what {
        Aged::Attempts => &["DELETE FROM attempt WHERE id IN {ids}"],
        Aged::Timeline => &["DELETE FROM timeline WHERE id IN {ids}"],
        Aged::Events => &["DELETE FROM inbox WHERE id IN {ids}"],
        Aged::Misses => &[],
        Aged::Writes => &["DELETE FROM own_write WHERE id IN {ids}"],
        Aged::Messages => &["DELETE FROM message WHERE id IN {ids}"],
        Aged::Enrollments => &[
            // Nobody could be found by them any more to be erased.
            "DELETE FROM message
             WHERE delivery IN (SELECT w.delivery FROM message w WHERE w.enrollment IN {ids})",
            "DELETE FROM attempt WHERE enrollment IN {ids}",
            "DELETE FROM timeline WHERE enrollment IN {ids}",
            "DELETE FROM assignment WHERE enrollment IN {ids}",
            "UPDATE enrollment SET key = NULL, occasion = NULL, occasion_data = 'null', saved = NULL, hold = NULL
             WHERE id IN {ids}",
            "DELETE FROM enrollment WHERE id IN {ids}
               AND (occasion_at IS NULL
                    OR EXISTS (SELECT 1 FROM enrollment n
                               WHERE n.track = enrollment.track AND n.occasion_at > enrollment.occasion_at))",
        ],
    };
    for sql in statements {
        session.run_batch(&of(sql), &[], &batch).await?;
    }
    Ok(())
}
