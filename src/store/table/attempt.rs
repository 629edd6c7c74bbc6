//! `attempt`: the log of what was tried. Rule and record are those of the enrollment.

use crate::engine::port::{Attempt, AttemptView, StoreError};
use crate::model::{DeliveryId, Outcome, RecordId, RuleId, SkipReason};
use crate::store::sql::{Batch, Row, Session, params};
use crate::store::table::{lane, outbox};
use jiff::Timestamp;

/// A line to append.
pub struct Line {
    pub enrollment: i64,
    pub delivery: [u8; 16],
    pub step: String,
    pub kind: String,
    pub number: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub outcome: &'static str,
    pub detail: String,
}

impl Line {
    pub fn of(enrollment: i64, attempt: &Attempt) -> Self {
        Self {
            enrollment,
            delivery: attempt.delivery.0,
            step: attempt.step.as_str().to_owned(),
            kind: attempt.kind.to_owned(),
            number: attempt.number.into(),
            started_at: attempt.started_at.as_microsecond(),
            finished_at: attempt.finished_at.as_microsecond(),
            outcome: attempt.outcome.as_str(),
            detail: detail(&attempt.outcome),
        }
    }

    /// The line of a try whose process died.
    pub fn cut_short(orphan: &outbox::Orphan, now: Timestamp) -> Option<Self> {
        Some(Self {
            enrollment: orphan.id,
            delivery: orphan.delivery?,
            step: outbox::step_name(orphan).into_owned(),
            kind: orphan.kind.clone().unwrap_or_default(),
            number: orphan.attempts + 1,
            started_at: now.as_microsecond(),
            finished_at: now.as_microsecond(),
            outcome: "unknown",
            detail: "the process stopped while it was sending".to_owned(),
        })
    }
}

/// What stands beside a match that another one's message tells of.
pub fn combined_into(into: DeliveryId) -> String {
    let told = Outcome::Skipped { reason: SkipReason::Combined, detail: format!("combined into {into}") };
    detail(&told)
}

/// What people read beside the outcome's name.
fn detail(outcome: &Outcome) -> String {
    let with = |name: &str, detail: &str| {
        if detail.is_empty() { name.to_owned() } else { format!("{name}: {detail}") }
    };
    match outcome {
        Outcome::Sent { reply: said } | Outcome::Recorded { what: said } => said.clone(),
        Outcome::Transient { reason, .. } | Outcome::Permanent { reason } | Outcome::Unknown { reason } => {
            reason.clone()
        }
        Outcome::Postponed { until, reason } => format!("until {}: {reason}", until.strftime("%F %H:%MZ")),
        Outcome::Skipped { reason, detail } => with(reason.as_str(), detail),
        Outcome::Ended { reason, detail } => with(reason.as_str(), detail),
    }
}

pub async fn append(session: &mut Session<'_>, lines: &[Line]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("enrollment", lines.iter().map(|l| l.enrollment))
        .ids("delivery", lines.iter().map(|l| &l.delivery))
        .texts("step", lines.iter().map(|l| l.step.as_str()))
        .texts("kind", lines.iter().map(|l| l.kind.as_str()))
        .ints("number", lines.iter().map(|l| l.number))
        .ints("started_at", lines.iter().map(|l| l.started_at))
        .ints("finished_at", lines.iter().map(|l| l.finished_at))
        .texts("outcome", lines.iter().map(|l| l.outcome))
        .texts("detail", lines.iter().map(|l| l.detail.as_str()));
    let sql = "INSERT INTO attempt (enrollment, delivery, step, kind, number, started_at, finished_at, outcome, detail)
               SELECT b.enrollment, b.delivery, b.step, b.kind, b.number, b.started_at, b.finished_at, b.outcome,
                      b.detail
               FROM {batch}";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Lines after `after`, oldest first.
pub async fn after(session: &mut Session<'_>, after: i64, limit: usize) -> Result<Vec<AttemptView>, StoreError> {
    let rows = session
        .rows(
            "SELECT a.id, a.delivery, r.rule, r.lane, r.tenant, e.entity, e.key, a.step, a.kind, a.number,
                    a.finished_at, a.outcome, a.detail
             FROM (SELECT * FROM attempt WHERE id > $1 ORDER BY id LIMIT $2) a
             CROSS JOIN enrollment e CROSS JOIN rule_state r
             WHERE e.id = a.enrollment AND r.id = e.rule_state ORDER BY a.id",
            params![after, limit],
        )
        .await?;
    rows.into_iter().map(view).collect()
}

/// Of one delivery, oldest first.
pub async fn of_delivery(
    session: &mut Session<'_>,
    enrollment: i64,
    delivery: DeliveryId,
) -> Result<Vec<AttemptView>, StoreError> {
    let sql = "SELECT a.id, a.delivery, r.rule, r.lane, r.tenant, e.entity, e.key, a.step, a.kind, a.number,
                      a.finished_at, a.outcome, a.detail
               FROM attempt a JOIN enrollment e ON e.id = a.enrollment JOIN rule_state r ON r.id = e.rule_state
               WHERE a.enrollment = $1 AND a.delivery = $2 ORDER BY a.id";
    session.rows(sql, params![enrollment, &delivery.0]).await?.into_iter().map(view).collect()
}

fn view(mut row: Row) -> Result<AttemptView, StoreError> {
    Ok(AttemptView {
        id: row.int(0)?,
        delivery: DeliveryId(row.id(1)?),
        rule: row.text(2)?.as_str().into(),
        lane: lane(&row.text(3)?)?,
        record: record(&mut row, 4)?,
        step: row.text(7)?,
        kind: row.text(8)?,
        number: row.count(9)? as u32,
        finished_at: row.instant(10)?,
        outcome: row.text(11)?,
        detail: row.text(12)?,
    })
}

/// The record from tenant, entity and key in a row; `None` once it was erased.
pub fn record(row: &mut Row, first: usize) -> Result<Option<RecordId>, StoreError> {
    let (tenant, entity) = (row.text(first)?, row.text(first + 1)?);
    let key = row.opt_text(first + 2)?;
    Ok(key.map(|key| RecordId {
        tenant: tenant.as_str().into(),
        entity: entity.as_str().into(),
        key: key.as_str().into(),
    }))
}

/// How many attempts ended since that instant, by outcome.
pub async fn outcomes_since(session: &mut Session<'_>, since: i64) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT outcome, count(*) FROM attempt WHERE finished_at >= $1 GROUP BY outcome ORDER BY outcome";
    let rows = session.rows(sql, params![since]).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, row.count(1)?))).collect()
}

/// Which of these tasks were made by the rule.
pub async fn tasks_of(
    session: &mut Session<'_>,
    rule: &RuleId,
    deliveries: &[DeliveryId],
) -> Result<Vec<DeliveryId>, StoreError> {
    let batch = Batch::new().ids("delivery", deliveries.iter().map(|id| &id.0));
    let rows = session
        .rows_batch(
            "SELECT DISTINCT b.delivery FROM {batch} CROSS JOIN attempt a CROSS JOIN enrollment e
             CROSS JOIN rule_state r
             WHERE a.kind = 'task' AND a.delivery = b.delivery AND e.id = a.enrollment AND r.id = e.rule_state
               AND r.rule = $1",
            params![rule.as_str()],
            &batch,
        )
        .await?;
    rows.iter().map(|row| Ok(DeliveryId(row.id(0)?))).collect()
}
