//! What is due of one rule at one step, and on its way there, all at once.

use super::outbox::{COLUMNS, JOINS, claimed};
use super::{outbox_state, sweep_state};
use crate::engine::port::{Claimed, Gathering, StoreError};
use crate::store::sql::{Batch, Session, params};

/// The state of the rule and its pinned version, by number.
pub async fn numbers(session: &mut Session<'_>, of: &Gathering) -> Result<Option<(i64, i64)>, StoreError> {
    let row = session
        .row(
            "SELECT r.id, v.id FROM rule_state r CROSS JOIN rule_version v
             WHERE r.rule = $1 AND r.lane = $2 AND r.tenant = $3 AND v.rule = $1 AND v.hash = $4",
            params![of.rule.as_str(), of.lane.as_str(), of.tenant.as_str(), of.version.as_str()],
        )
        .await?;
    row.map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}

/// Due rows of these steps, oldest first.
pub async fn due(
    session: &mut Session<'_>,
    (rule_state, version): (i64, i64),
    nodes: &[usize],
    now: i64,
    limit: usize,
) -> Result<Vec<Claimed>, StoreError> {
    let batch = Batch::new().ints("node", nodes.iter().map(|node| *node as i64));
    let sql = format!(
        "SELECT {COLUMNS}
         FROM (SELECT q.id, q.epoch, q.rule_state, q.version, q.node, q.iteration, q.attempts, q.due_at, q.planned_at,
                      q.discarded, q.since
               FROM outbox q
               WHERE q.state = 0 AND q.due_at <= $1 AND q.rule_state = $2 AND q.version = $3
                 AND q.node IN (SELECT b.node FROM {{batch}})
                 AND NOT EXISTS (SELECT 1 FROM rule_state p WHERE p.id = $2 AND p.paused = 1)
               ORDER BY q.due_at, q.id LIMIT $4 {{lock q skipping}}) o
         {JOINS} ORDER BY o.due_at, o.id"
    );
    let rows = session.rows_batch(&sql, params![now, rule_state, version, limit], &batch).await?;
    rows.into_iter().map(claimed).collect()
}

/// Whether anybody is busy with rows of these steps, besides `held`; of the meeting place itself whether anybody else.
pub async fn is_elsewhere(
    session: &mut Session<'_>,
    (rule_state, version): (i64, i64),
    of: &Gathering,
    leased: &[i64],
) -> Result<bool, StoreError> {
    let nodes = Batch::new().ints("node", of.before.iter().copied().chain([of.node]).map(|node| node as i64));
    let busy = session
        .rows_batch(
            "SELECT o.id, o.node, o.owner FROM {batch} CROSS JOIN outbox o
             WHERE o.state = $1 AND o.rule_state = $2 AND o.version = $3 AND o.node = b.node",
            params![outbox_state::CLAIMED, rule_state, version],
            &nodes,
        )
        .await?;
    for mut row in busy {
        let (id, node, owner) = (row.int(0)?, row.count(1)? as usize, row.opt_text(2)?);
        let known = leased.contains(&id) || of.held.iter().any(|token| token.id == id);
        // What we hold at the place itself, beyond what was asked with, is a message that is on its way already.
        let sent = node == of.node && owner.as_deref() == Some(of.owner.0.as_str());
        if !known && !sent {
            return Ok(true);
        }
    }
    let entering = session
        .row(
            "SELECT s.id FROM sweep s WHERE s.state <> 1 AND s.state = $1 AND s.rule_state = $2 LIMIT 1",
            params![sweep_state::RELEASED, rule_state],
        )
        .await?;
    Ok(entering.is_some())
}
