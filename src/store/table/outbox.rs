//! `outbox`: where each enrollment under way stands, and who works on it. A row moves from step to step.

use crate::engine::port::{Claimed, Coming, Contender, Mark, OutboxToken, Owner, RuleVersion, StoreError};
use crate::model::{MatchId, RecordId, VersionHash};
use crate::store::sql::{Batch, Row, Session, params};
use crate::store::table::lane;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// A new row.
pub struct Draft {
    pub id: i64,
    pub version: i64,
    pub node: i64,
    pub state: i64,
    pub due_at: i64,
    pub planned_at: i64,
}

pub async fn insert(session: &mut Session<'_>, rule_state: i64, drafts: &[Draft]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("id", drafts.iter().map(|d| d.id))
        .ints("version", drafts.iter().map(|d| d.version))
        .ints("node", drafts.iter().map(|d| d.node))
        .ints("state", drafts.iter().map(|d| d.state))
        .ints("due_at", drafts.iter().map(|d| d.due_at))
        .ints("planned_at", drafts.iter().map(|d| d.planned_at));
    let sql = "INSERT INTO outbox (id, rule_state, version, node, state, due_at, planned_at)
               SELECT b.id, $1, b.version, b.node, b.state, b.due_at, b.planned_at FROM {batch}";
    session.run_batch(sql, params![rule_state], &batch).await?;
    Ok(())
}

/// What [`claimed`] reads of a row `o` with its enrollment `e`, rule `r` and version `v`.
pub const COLUMNS: &str = "o.id, o.epoch, e.match_id, r.rule, r.lane, v.hash, r.tenant, e.entity, e.key, e.occasion,
                           e.occasion_at, e.occasion_data, e.entered_at, e.entry, o.node, o.iteration, o.attempts,
                           o.due_at, o.planned_at, e.saved,
                           CASE WHEN o.planned_at <= (SELECT doubt_until FROM send_sequence WHERE one = 1) THEN 1
                                ELSE o.discarded END, o.since";
pub const JOINS: &str = "CROSS JOIN enrollment e CROSS JOIN rule_state r CROSS JOIN rule_version v
                         WHERE e.id = o.id AND r.id = o.rule_state AND v.id = o.version";

/// Due rows with what is needed to run them, locked and passed over where another node has them.
pub async fn due(session: &mut Session<'_>, now: i64, floor: i64, limit: usize) -> Result<Vec<Claimed>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}
         FROM (SELECT q.id, q.epoch, q.rule_state, q.version, q.node, q.iteration, q.attempts, q.due_at,
                      q.planned_at, q.discarded, q.since
               FROM outbox q
               WHERE q.state = 0 AND q.due_at <= $1 AND q.due_at >= $2
                 AND q.rule_state NOT IN (SELECT id FROM rule_state WHERE paused = 1)
               ORDER BY q.due_at, q.id LIMIT $3 {{lock q skipping}}) o
         {JOINS} ORDER BY o.due_at, o.id"
    );
    let rows = session.rows(&sql, params![now, floor, limit]).await?;
    rows.into_iter().map(claimed).collect()
}

/// The row of one enrollment, as [`due`] would have it. None of a person that was erased.
pub async fn of(session: &mut Session<'_>, enrollment: i64) -> Result<Option<Claimed>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM outbox o {JOINS} AND o.id = $1 AND e.key IS NOT NULL");
    session.row(&sql, params![enrollment]).await?.map(claimed).transpose()
}

pub fn claimed(mut row: Row) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        token: OutboxToken { id: row.int(0)?, epoch: row.int(1)? + 1 },
        match_id: MatchId(row.id(2)?),
        rule: row.text(3)?.as_str().into(),
        lane: lane(&row.text(4)?)?,
        version: row.text(5)?.as_str().into(),
        record: RecordId {
            tenant: row.text(6)?.as_str().into(),
            entity: row.text(7)?.as_str().into(),
            key: row.text(8)?.as_str().into(),
        },
        occasion: row.text(9)?.as_str().into(),
        occasion_at: row.opt_instant(10)?,
        occasion_data: row.json(11)?,
        entered_at: row.instant(12)?,
        entry: row.count(13)? as usize,
        node: row.count(14)? as usize,
        iteration: row.count(15)? as u32,
        attempts: row.count(16)? as u32,
        due_at: row.instant(17)?,
        planned_at: row.instant(18)?,
        since: row.opt_instant(21)?,
        saved: row.json(19)?,
        discarded: row.int(20)? != 0,
    })
}

/// Leases rows that [`due`] locked.
pub async fn lease(session: &mut Session<'_>, ids: &[i64], owner: &Owner, lease: i64) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE outbox SET state = 1, owner = $1, epoch = epoch + 1, lease_until = {clock} + $2
               FROM {batch} WHERE outbox.id = b.id";
    session.run_batch(sql, params![owner.0.as_str(), lease], &batch).await?;
    Ok(())
}

/// A row as [`lock`] found it.
pub struct Standing {
    pub id: i64,
    pub epoch: i64,
    pub state: i64,
    pub ended: bool,
    pub track: [u8; 16],
    pub saved: Option<String>,
    /// The person was erased while this was under way: nothing that tells of them may be written any more.
    pub erased: bool,
}

/// Locks rows in key order.
pub async fn lock(session: &mut Session<'_>, ids: impl Iterator<Item = i64>) -> Result<Vec<Standing>, StoreError> {
    let batch = Batch::new().ints("id", ids);
    let locked = "SELECT o.id FROM {batch} CROSS JOIN outbox o WHERE o.id = b.id ORDER BY o.id {lock o}";
    session.rows_batch(locked, &[], &batch).await?;
    // A statement of its own: the one that waits for a lock still sees the other tables as they were before it.
    let rows = session
        .rows_batch(
            "SELECT o.id, o.epoch, o.state, e.state, e.track, e.saved,
                    CASE WHEN e.key IS NULL THEN 1 ELSE 0 END
             FROM {batch} CROSS JOIN outbox o CROSS JOIN enrollment e
             WHERE o.id = b.id AND e.id = o.id ORDER BY o.id",
            &[],
            &batch,
        )
        .await?;
    let read = |mut row: Row| {
        Ok(Standing {
            id: row.int(0)?,
            epoch: row.int(1)?,
            state: row.int(2)?,
            ended: row.int(3)? == super::enrollment_state::ENDED,
            track: row.id(4)?,
            saved: row.opt_text(5)?,
            erased: row.int(6)? != 0,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Marks claimed rows as being sent; those that were. Not marked: whose lease was lost, whose enrollment was
/// cancelled or whose rule was paused meanwhile.
pub async fn mark(session: &mut Session<'_>, marks: &[&Mark], lease: i64) -> Result<HashSet<i64>, StoreError> {
    let batch = Batch::new()
        .ints("id", marks.iter().map(|m| m.token.id))
        .ints("epoch", marks.iter().map(|m| m.token.epoch))
        .ids("delivery", marks.iter().map(|m| &m.delivery.0))
        .texts("step", marks.iter().map(|m| m.step.as_str()))
        .texts("kind", marks.iter().map(|m| m.kind))
        .ints("repeatable", marks.iter().map(|m| i64::from(m.repeatable)));
    // One look-up a row: with `NOT IN` PostgreSQL would read the whole outbox first, a hundred times as slow.
    let sql = "UPDATE outbox SET state = 2, delivery = b.delivery, step = b.step, kind = b.kind,
                      repeatable = b.repeatable, lease_until = {clock} + $1
               FROM {batch}
               WHERE outbox.id = b.id AND outbox.epoch = b.epoch AND outbox.state = 1
                 AND NOT EXISTS (SELECT 1 FROM enrollment e WHERE e.id = outbox.id AND e.state = 2)
                 AND (SELECT r.paused FROM rule_state r WHERE r.id = outbox.rule_state) = 0
               RETURNING outbox.id";
    let marked: HashSet<i64> = session
        .rows_batch(sql, params![lease], &batch)
        .await?
        .iter()
        .map(|row| row.int(0))
        .collect::<Result<_, _>>()?;
    if marked.len() < marks.len() {
        // Nothing is left to do for an enrollment that has ended.
        let sql = "DELETE FROM outbox WHERE id IN (SELECT b.id FROM {batch}) AND state = 1
                     AND EXISTS (SELECT 1 FROM enrollment e WHERE e.id = outbox.id AND e.state = 2)";
        session.run_batch(sql, &[], &batch).await?;
    }
    Ok(marked)
}

/// Takes marks back: the rows are claimed again.
pub async fn unmark(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE outbox SET state = 1, delivery = NULL, step = NULL, kind = NULL, repeatable = 0
               FROM {batch} WHERE outbox.id = b.id AND outbox.state = 2";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Moves rows to their next node: (id, node, due, planned).
pub async fn advance(session: &mut Session<'_>, moves: &[(i64, i64, i64, i64)]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("id", moves.iter().map(|m| m.0))
        .ints("node", moves.iter().map(|m| m.1))
        .ints("due_at", moves.iter().map(|m| m.2))
        .ints("planned_at", moves.iter().map(|m| m.3));
    // Going back to an earlier node starts another round, whose deliveries are new ones.
    let sql = "UPDATE outbox SET node = b.node,
                      iteration = iteration + CASE WHEN b.node <= outbox.node THEN 1 ELSE 0 END,
                      due_at = b.due_at, planned_at = b.planned_at, since = NULL, state = 0, attempts = 0,
                      owner = NULL, lease_until = 0, delivery = NULL, step = NULL, kind = NULL, repeatable = 0,
                      discarded = 0, contact = NULL, priority = 0
               FROM {batch} WHERE outbox.id = b.id";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Puts rows to a wait: (id, node, due, planned, since). Looking at the same one again starts no other round.
pub async fn wait(session: &mut Session<'_>, waits: &[(i64, i64, i64, i64, i64)]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("id", waits.iter().map(|w| w.0))
        .ints("node", waits.iter().map(|w| w.1))
        .ints("due_at", waits.iter().map(|w| w.2))
        .ints("planned_at", waits.iter().map(|w| w.3))
        .ints("since", waits.iter().map(|w| w.4));
    let sql = "UPDATE outbox SET node = b.node,
                      iteration = iteration + CASE WHEN b.node < outbox.node THEN 1 ELSE 0 END,
                      due_at = b.due_at, planned_at = b.planned_at, since = b.since, state = 0, attempts = 0,
                      owner = NULL, lease_until = 0, delivery = NULL, step = NULL, kind = NULL, repeatable = 0,
                      discarded = 0, contact = NULL, priority = 0
               FROM {batch} WHERE outbox.id = b.id";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Puts rows that nobody works on to other nodes of another version: (id, node). What was held is due. Returns those
/// that were.
pub async fn put(session: &mut Session<'_>, version: i64, moves: &[(i64, i64)]) -> Result<Vec<i64>, StoreError> {
    let batch = Batch::new().ints("id", moves.iter().map(|m| m.0)).ints("node", moves.iter().map(|m| m.1));
    let sql = "UPDATE outbox SET version = $1, node = b.node,
                      state = CASE WHEN outbox.state = 5 THEN 0 ELSE outbox.state END
               FROM {batch}
               WHERE outbox.id = b.id AND outbox.state IN (0, 5, 6) RETURNING outbox.id";
    session.rows_batch(sql, params![version], &batch).await?.iter().map(|row| row.int(0)).collect()
}

/// The tracks of those of these enrollments that are under way, locked: (id, track).
pub async fn under_way(session: &mut Session<'_>, ids: &[i64]) -> Result<Vec<(i64, [u8; 16])>, StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let rows = session
        .rows_batch(
            "SELECT o.id, e.track FROM {batch} CROSS JOIN outbox o CROSS JOIN enrollment e
             WHERE o.id = b.id AND e.id = o.id AND e.state IN (0, 1) ORDER BY o.id {lock o}",
            &[],
            &batch,
        )
        .await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.id(1)?))).collect()
}

/// A row that is taken off its owner.
pub struct Leave {
    pub id: i64,
    pub state: i64,
    /// `None`: as before.
    pub due_at: Option<i64>,
    /// Whether the try counts.
    pub counts: bool,
    /// Whom it is for, where that has become known.
    pub contender: Option<Contender>,
}

impl Leave {
    /// Due as before.
    pub const fn at(id: i64, state: i64, counts: bool) -> Self {
        Self { id, state, due_at: None, counts, contender: None }
    }
}

pub async fn leave(session: &mut Session<'_>, leaves: &[Leave]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("id", leaves.iter().map(|l| l.id))
        .ints("state", leaves.iter().map(|l| l.state))
        .ints("due_at", leaves.iter().map(|l| l.due_at))
        .ints("tries", leaves.iter().map(|l| i64::from(l.counts)))
        .opt_ids("contact", leaves.iter().map(|l| l.contender.as_ref().map(|contender| &contender.contact.0)))
        .ints("priority", leaves.iter().map(|l| l.contender.map_or(0, |contender| i64::from(contender.priority))));
    let sql = "UPDATE outbox SET state = b.state, due_at = COALESCE(b.due_at, outbox.due_at),
                      attempts = attempts + b.tries, owner = NULL, lease_until = 0,
                      contact = COALESCE(b.contact, outbox.contact),
                      priority = CASE WHEN b.contact IS NULL THEN outbox.priority ELSE b.priority END
               FROM {batch} WHERE outbox.id = b.id";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn delete(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    session.run_batch("DELETE FROM outbox WHERE id IN (SELECT b.id FROM {batch})", &[], &batch).await?;
    Ok(())
}

/// Removes rows of cancelled enrollments. One that is being sent stays until its outcome is known.
pub async fn cancel(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "DELETE FROM outbox WHERE id IN (SELECT b.id FROM {batch}) AND state <> 2";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Starts the oldest queued enrollment of each track that has nothing else under way but what waits for an operator:
/// (track, at).
pub async fn start_queued(session: &mut Session<'_>, freed: &[([u8; 16], i64)]) -> Result<bool, StoreError> {
    if session.row("SELECT id FROM outbox WHERE state >= 3 AND state = 6 LIMIT 1", &[]).await?.is_none() {
        return Ok(false);
    }
    let mut latest: BTreeMap<&[u8; 16], i64> = BTreeMap::new();
    for (track, at) in freed {
        latest.entry(track).and_modify(|known| *known = (*known).max(*at)).or_insert(*at);
    }
    let batch = Batch::new().ids("track", latest.keys().copied()).ints("at", latest.values().copied());
    let rows = session
        .rows_batch(
            "SELECT min(e.id), max(b.at) FROM {batch} CROSS JOIN enrollment e CROSS JOIN outbox o
             WHERE e.track = b.track AND o.id = e.id AND e.state IN (0, 1) AND o.state NOT IN (3, 4) GROUP BY e.track
             HAVING min(o.state) = 6",
            &[],
            &batch,
        )
        .await?;
    let starts: Vec<_> = rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect::<Result<_, StoreError>>()?;
    let batch = Batch::new().ints("id", starts.iter().map(|s| s.0)).ints("at", starts.iter().map(|s| s.1));
    // It is late only from here on.
    let sql = "UPDATE outbox SET state = 0,
                      due_at = CASE WHEN b.at > outbox.due_at THEN b.at ELSE outbox.due_at END,
                      planned_at = CASE WHEN b.at > outbox.planned_at THEN b.at ELSE outbox.planned_at END
               FROM {batch} WHERE outbox.id = b.id";
    Ok(session.run_batch(sql, &[], &batch).await? > 0)
}

/// Gives claimed rows back.
pub async fn release(session: &mut Session<'_>, tokens: &[OutboxToken]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", tokens.iter().map(|t| t.id)).ints("epoch", tokens.iter().map(|t| t.epoch));
    let sql = "UPDATE outbox SET state = 0, owner = NULL, lease_until = 0 FROM {batch}
               WHERE outbox.id = b.id AND outbox.epoch = b.epoch AND outbox.state = 1";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn renew(session: &mut Session<'_>, tokens: &[OutboxToken], lease: i64) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", tokens.iter().map(|t| t.id)).ints("epoch", tokens.iter().map(|t| t.epoch));
    let sql = "UPDATE outbox SET lease_until = {clock} + $1 FROM {batch}
               WHERE outbox.id = b.id AND outbox.epoch = b.epoch AND outbox.state IN (1, 2)";
    session.run_batch(sql, params![lease], &batch).await?;
    Ok(())
}

/// Pins rows to another version of their rule, which [`super::rule_version::keep`] has made sure of.
pub async fn migrate(session: &mut Session<'_>, migrated: &[(i64, &RuleVersion)]) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET version = v.id FROM {batch} CROSS JOIN rule_version v
               WHERE outbox.id = b.id AND v.rule = b.rule AND v.hash = b.hash";
    session.run_batch(sql, &[], &super::rule_version::batch(migrated)).await?;
    Ok(())
}

/// A leased row whose owner is gone.
pub struct Orphan {
    pub id: i64,
    pub sending: bool,
    pub repeatable: bool,
    pub ended: bool,
    pub attempts: i64,
    pub delivery: Option<[u8; 16]>,
    pub step: Option<String>,
    pub kind: Option<String>,
}

/// Rows whose lease has run out; on a store with one owner, also those of every other owner, who is gone.
pub async fn orphans(session: &mut Session<'_>, owner: &Owner, limit: usize) -> Result<Vec<Orphan>, StoreError> {
    let rows = session
        .rows(
            "SELECT o.id, o.state, o.repeatable, e.state, o.attempts, o.delivery, o.step, o.kind
             FROM outbox o CROSS JOIN enrollment e
             WHERE o.state IN (1, 2) AND (o.lease_until < {clock} OR (o.owner <> $1 AND NOT {shared})) AND e.id = o.id
             ORDER BY o.id LIMIT $2 {lock o skipping}",
            params![owner.0.as_str(), limit],
        )
        .await?;
    let read = |mut row: Row| {
        Ok(Orphan {
            id: row.int(0)?,
            sending: row.int(1)? == super::outbox_state::SENDING,
            repeatable: row.int(2)? != 0,
            ended: row.int(3)? == super::enrollment_state::ENDED,
            attempts: row.int(4)?,
            delivery: row.opt_id(5)?,
            step: row.opt_text(6)?,
            kind: row.opt_text(7)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Microseconds until the first lease runs out; below zero when it has.
pub async fn lease_ends(session: &mut Session<'_>) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT MIN(lease_until) - {clock} FROM outbox WHERE state IN (1, 2)";
    session.row(sql, &[]).await?.map_or(Ok(None), |row| row.opt_int(0))
}

pub async fn next_due(session: &mut Session<'_>) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT due_at FROM outbox
               WHERE state = 0 AND rule_state NOT IN (SELECT id FROM rule_state WHERE paused = 1)
               ORDER BY due_at, id LIMIT 1";
    session.row(sql, &[]).await?.map(|row| row.int(0)).transpose()
}

/// Rows of these tracks that are due by an instant and of which it isn't known yet whom they are for.
pub async fn coming(session: &mut Session<'_>, tracks: &[[u8; 16]], by: i64) -> Result<Vec<Coming>, StoreError> {
    let batch = Batch::new().ids("track", tracks);
    let sql = "SELECT b.track, o.id, v.hash, o.node, o.due_at
               FROM {batch} CROSS JOIN enrollment e CROSS JOIN outbox o CROSS JOIN rule_version v
               WHERE e.track = b.track AND o.id = e.id AND o.state IN (0, 1) AND o.contact IS NULL AND o.due_at <= $1
                 AND v.id = o.version AND o.rule_state NOT IN (SELECT id FROM rule_state WHERE paused = 1)";
    let rows = session.rows_batch(sql, params![by], &batch).await?;
    let read = |mut row: Row| {
        Ok(Coming {
            track: row.id(0)?,
            id: row.int(1)?,
            version: VersionHash::from(row.text(2)?.as_str()),
            node: row.count(3)? as usize,
            due_at: row.instant(4)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Makes dead and unknown deliveries due, to be tried again or to be skipped: the rows and their steps.
pub async fn decide(
    session: &mut Session<'_>,
    deliveries: &[[u8; 16]],
    now: i64,
    discarded: bool,
) -> Result<Vec<(i64, Option<String>)>, StoreError> {
    let batch = Batch::new().ids("delivery", deliveries);
    let sql = "UPDATE outbox SET state = 0, due_at = $1, planned_at = $1, discarded = $2, owner = NULL
               WHERE state >= 3 AND state IN (3, 4) AND delivery IN (SELECT b.delivery FROM {batch})
               RETURNING id, step";
    let rows = session.rows_batch(sql, params![now, i64::from(discarded)], &batch).await?;
    rows.into_iter().map(|mut row| Ok((row.int(0)?, row.opt_text(1)?))).collect()
}

/// A row whose enrollment is held.
pub struct Held {
    pub id: i64,
    pub rule_state: i64,
    /// The hash of the version it runs.
    pub version: String,
    pub reason: String,
}

/// Those above `after`, in their order.
pub async fn held(session: &mut Session<'_>, after: i64, limit: usize) -> Result<Vec<Held>, StoreError> {
    let sql = "SELECT o.id, o.rule_state, v.hash, COALESCE(e.hold, '')
               FROM outbox o CROSS JOIN enrollment e CROSS JOIN rule_version v
               WHERE e.id = o.id AND v.id = o.version AND o.state >= 3 AND o.state = 5 AND o.id > $1
               ORDER BY o.id LIMIT $2";
    let rows = session.rows(sql, params![after, limit]).await?;
    let held = |mut row: Row| {
        Ok(Held { id: row.int(0)?, rule_state: row.int(1)?, version: row.text(2)?, reason: row.text(3)? })
    };
    rows.into_iter().map(held).collect()
}

/// Held rows become due again; the ids of those that were.
pub async fn free_held(session: &mut Session<'_>, ids: &[i64]) -> Result<Vec<i64>, StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql =
        "UPDATE outbox SET state = 0 WHERE state >= 3 AND state = 5 AND id IN (SELECT b.id FROM {batch}) RETURNING id";
    session.rows_batch(sql, &[], &batch).await?.iter().map(|row| row.int(0)).collect()
}

/// The name of the step of an orphan, for the attempt log.
pub fn step_name(orphan: &Orphan) -> Cow<'_, str> {
    orphan.step.as_deref().map_or(Cow::Borrowed("?"), Cow::Borrowed)
}
