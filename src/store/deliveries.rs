//! One delivery, with all that is known of it.

use super::database::Database;
use super::sql::{Row, Session, params};
use super::state::State;
use super::table::{attempt, delivery_name, lane, message, outbox};
use crate::engine::port::{
    AttemptView, Claimed, Deliveries, DeliveryStory, DeliveryView, KeptMessage, OutboxToken, StoreError,
};
use crate::model::{DeliveryId, Lane, MatchId, RecordId, RuleId};
use async_trait::async_trait;
use jiff::Timestamp;

#[async_trait]
impl<D: Database> Deliveries for State<D> {
    async fn deliveries_between(
        &self,
        first: DeliveryId,
        last: DeliveryId,
        limit: usize,
    ) -> Result<Vec<(i64, DeliveryId)>, StoreError> {
        let found = self
            .database
            .read(move |mut session| Box::pin(async move { between(&mut session, first, last, limit).await }));
        found.await
    }

    async fn place(&self, enrollment: i64) -> Result<Option<Claimed>, StoreError> {
        let found =
            self.database.read(move |mut session| Box::pin(async move { outbox::of(&mut session, enrollment).await }));
        found.await
    }

    async fn delivery(&self, enrollment: i64, id: DeliveryId) -> Result<Option<DeliveryStory>, StoreError> {
        let told =
            self.database.read(move |mut session| Box::pin(async move { story(&mut session, enrollment, id).await }));
        told.await
    }
}

async fn between(
    session: &mut Session<'_>,
    first: DeliveryId,
    last: DeliveryId,
    limit: usize,
) -> Result<Vec<(i64, DeliveryId)>, StoreError> {
    let sql = "SELECT a.enrollment, a.delivery FROM attempt a WHERE a.delivery BETWEEN $1 AND $2
               UNION SELECT o.id, o.delivery FROM outbox o WHERE o.delivery BETWEEN $1 AND $2
               UNION SELECT m.enrollment, m.delivery FROM message m
                     WHERE m.delivery BETWEEN $1 AND $2 AND m.body IS NOT NULL
               ORDER BY 2, 1 LIMIT $3";
    let rows = session.rows(sql, params![&first.0, &last.0, limit]).await?;
    rows.iter().map(|row| Ok((row.int(0)?, DeliveryId(row.id(1)?)))).collect()
}

async fn story(
    session: &mut Session<'_>,
    enrollment: i64,
    id: DeliveryId,
) -> Result<Option<DeliveryStory>, StoreError> {
    let sql = "SELECT e.id, e.match_id, r.rule, r.lane, COALESCE(v.hash, ''), r.tenant, e.entity, e.key, e.occasion,
                      e.occasion_at, e.occasion_data, e.entered_at, e.entry, e.saved,
                      o.state, o.step, o.kind, o.attempts, o.due_at, e.hold
               FROM enrollment e JOIN rule_state r ON r.id = e.rule_state
               LEFT JOIN rule_version v ON v.id = e.version
               LEFT JOIN outbox o ON o.id = e.id AND o.delivery = $2
               WHERE e.id = $1";
    let Some(mut row) = session.row(sql, params![enrollment, &id.0]).await? else { return Ok(None) };
    let tries = attempt::of_delivery(session, enrollment, id).await?;
    let kept = message::of_delivery(session, enrollment, id).await?;
    let (rule, lane) = (RuleId::new(row.text(2)?), lane(&row.text(3)?)?);
    let record = attempt::record(&mut row, 5)?;
    let Some(standing) = standing(&mut row, (&tries, &kept))? else { return Ok(None) };
    let Standing { state, step, kind, attempts, at, detail } = standing;
    let of = (rule.clone(), lane, record.clone());
    let row = claimable(row, of, at, tries.len() as u32)?;
    let view = DeliveryView { delivery: Some(id), rule, lane, record, step, kind, state, attempts, at, detail };
    Ok(Some(DeliveryStory { view, tries, kept, row }))
}

/// Where a delivery stands.
struct Standing {
    state: String,
    step: String,
    kind: String,
    attempts: u32,
    at: Timestamp,
    detail: String,
}

/// Its place in the outbox, or else what came of it last; `None`: nothing is known of it.
fn standing(row: &mut Row, (tries, kept): (&[AttemptView], &[KeptMessage])) -> Result<Option<Standing>, StoreError> {
    let last = tries.last();
    let detail = last.map(|tried| tried.detail.clone()).unwrap_or_default();
    if let Some(state) = row.opt_int(14)? {
        return Ok(Some(Standing {
            state: delivery_name(state).to_owned(),
            step: row.opt_text(15)?.unwrap_or_default(),
            kind: row.opt_text(16)?.unwrap_or_default(),
            attempts: row.count(17)? as u32,
            at: row.instant(18)?,
            detail: row.opt_text(19)?.unwrap_or(detail),
        }));
    }
    if let Some(AttemptView { step, kind, number, finished_at, outcome, .. }) = last.cloned() {
        return Ok(Some(Standing { state: outcome, step, kind, attempts: number, at: finished_at, detail }));
    }
    // Its attempts have grown old.
    let sent = |kept: &KeptMessage| Standing {
        state: "sent".to_owned(),
        step: String::new(),
        kind: kept.kind.clone(),
        attempts: 1,
        at: kept.sent_at,
        detail,
    };
    Ok(kept.last().map(sent))
}

/// The row that a dispatcher would claim for it.
fn claimable(
    mut row: Row,
    (rule, lane, record): (RuleId, Lane, Option<RecordId>),
    at: Timestamp,
    attempts: u32,
) -> Result<Option<Claimed>, StoreError> {
    let Some((record, occasion)) = record.zip(row.opt_text(8)?) else { return Ok(None) };
    Ok(Some(Claimed {
        token: OutboxToken { id: row.int(0)?, epoch: 0 },
        match_id: MatchId(row.id(1)?),
        rule,
        lane,
        version: row.text(4)?.as_str().into(),
        record,
        occasion: occasion.as_str().into(),
        occasion_at: row.opt_instant(9)?,
        occasion_data: row.json(10)?,
        entered_at: row.instant(11)?,
        entry: row.count(12)? as usize,
        node: 0,
        iteration: 0,
        attempts,
        due_at: at,
        planned_at: at,
        since: None,
        saved: row.json(13)?,
        discarded: false,
    }))
}
