//! What people ask of the state: bounded, read-only questions.

use super::database::Database;
use super::sql::{Param, Row, Session, params};
use super::state::State;
use super::table::{
    attempt, delivery_name, end_reason, enrollment_code, enrollment_named, lane, miss, suppression, sweep, timeline,
};
use crate::engine::port::{
    AttemptView, DeliveryFilter, DeliveryView, EnrollmentFilter, EnrollmentView, Happening, HeldMatch, MissView,
    Overview, StoreError, SweepId, SweepView, View,
};
use crate::model::{DeliveryId, InstanceSecret, Lane, MatchId, MatchIdentity, RecordId, RuleId};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

/// What a limit of 0 means, and the most anybody gets.
const USUAL: usize = 100;
const MOST: usize = 10_000;

const DAY: i64 = 86_400 * 1_000_000;

fn bounded(limit: usize) -> usize {
    if limit == 0 { USUAL } else { limit.min(MOST) }
}

#[async_trait]
impl<D: Database> View for State<D> {
    async fn overview(&self, now: Timestamp) -> Result<Overview, StoreError> {
        self.database.read(move |mut session| Box::pin(async move { overview(&mut session, now).await })).await
    }

    async fn enrollments(&self, filter: &EnrollmentFilter) -> Result<Vec<EnrollmentView>, StoreError> {
        let of = Arc::new((filter.clone(), self.secret.clone()));
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { enrollments(&mut session, &of.0, &of.1).await })
        });
        found.await
    }

    async fn count_enrollments(&self, filter: &EnrollmentFilter) -> Result<u64, StoreError> {
        let of = Arc::new((filter.clone(), self.secret.clone()));
        let counted = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { count_enrollments(&mut session, &of.0, &of.1).await })
        });
        counted.await
    }

    async fn timelines(&self, ids: &[i64]) -> Result<Vec<Happening>, StoreError> {
        let ids: Arc<[i64]> = ids.into();
        let found = self.database.read(move |mut session| {
            let ids = Arc::clone(&ids);
            Box::pin(async move { timeline::of(&mut session, &ids).await })
        });
        found.await
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryView>, StoreError> {
        let of = Arc::new((filter.clone(), self.secret.clone()));
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { deliveries(&mut session, &of.0, &of.1).await })
        });
        found.await
    }

    async fn attempts(&self, after_id: i64, limit: usize) -> Result<Vec<AttemptView>, StoreError> {
        let limit = bounded(limit);
        let after = self
            .database
            .read(move |mut session| Box::pin(async move { attempt::after(&mut session, after_id, limit).await }));
        after.await
    }

    async fn misses(&self, record: &RecordId) -> Result<Vec<MissView>, StoreError> {
        let of = Arc::new((record.clone(), self.secret.clone()));
        let found = self.database.read(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { misses(&mut session, &of.0, &of.1).await })
        });
        found.await
    }

    async fn held_sweeps(&self) -> Result<Vec<SweepView>, StoreError> {
        self.database.read(|mut session| Box::pin(async move { sweep::held(&mut session, MOST).await })).await
    }

    async fn held_matches(&self, sweep: &SweepId, after: i64, limit: usize) -> Result<Vec<HeldMatch>, StoreError> {
        let (sweep, limit) = (sweep.clone(), bounded(limit));
        let found = self.database.read(move |mut session| {
            let sweep = sweep.clone();
            Box::pin(async move { sweep::held_matches(&mut session, &sweep, after, limit).await })
        });
        found.await
    }
}

/// Counted in passing, without groups: SQLite would sort the whole table for those.
const OUTBOX: &str = "SELECT count(*) FILTER (WHERE state = 1 OR (state = 0 AND due_at <= $1)),
       min(due_at) FILTER (WHERE state = 0 AND due_at <= $1),
       count(*) FILTER (WHERE state = 6 OR (state = 0 AND due_at > $1)),
       count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4),
       count(*) FILTER (WHERE state = 5), count(*)
FROM outbox";

async fn overview(session: &mut Session<'_>, now: Timestamp) -> Result<Overview, StoreError> {
    let mut overview = Overview { suppressed: suppression::count(session).await?, ..Overview::default() };
    let matches = session.row("SELECT CAST(COALESCE(sum(matches), 0) AS bigint) FROM rule_state", &[]).await?;
    overview.matches = matches.map_or(Ok(0), |row| row.count(0))?;
    if let Some(row) = session.row(OUTBOX, params![now]).await? {
        overview.outbox_due = row.count(0)?;
        overview.oldest_due = row.opt_instant(1)?;
        overview.outbox_waiting = row.count(2)?;
        overview.outbox_sending = row.count(3)?;
        overview.outbox_unknown = row.count(4)?;
        overview.outbox_dead = row.count(5)?;
        overview.held_enrollments = row.count(6)?;
        overview.active_enrollments = row.count(7)? - overview.held_enrollments;
    }
    overview.attempts_today = attempt::outcomes_since(session, now.as_microsecond() - DAY).await?;
    Ok(overview)
}

/// Conditions that grow with a filter, and their values.
struct Conditions {
    sql: String,
    params: Vec<Param>,
}

impl Conditions {
    fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), params: Vec::new() }
    }

    /// Adds `AND …`, where `?` stands for the value.
    fn and(&mut self, condition: &str, value: impl Into<Param>) {
        self.params.push(value.into());
        let place = format!("${}", self.params.len());
        let _ = write!(self.sql, " AND {}", condition.replace('?', &place));
    }

    fn finish(mut self, order: &str, limit: usize) -> (String, Vec<Param>) {
        self.params.push(bounded(limit).into());
        let _ = write!(self.sql, " {order} LIMIT ${}", self.params.len());
        (self.sql, self.params)
    }

    async fn of_enrollments(
        &mut self,
        session: &mut Session<'_>,
        filter: &EnrollmentFilter,
        secret: &InstanceSecret,
    ) -> Result<(), StoreError> {
        self.of_record(session, filter.record.as_ref(), secret).await?;
        if let Some(rule) = &filter.rule {
            self.and("r.rule = ?", rule.as_str());
        }
        if let Some(lane) = filter.lane {
            self.and("r.lane = ?", lane.as_str());
        }
        if let Some(state) = filter.state {
            self.and("e.state = ?", enrollment_code(state));
        }
        if let Some(id) = filter.id {
            self.and("e.id = ?", id);
        }
        if let Some(version) = &filter.other_than {
            self.and("e.version NOT IN (SELECT id FROM rule_version WHERE hash = ?)", version.as_str());
        }
        if let Some(below) = filter.below {
            self.and("e.id < ?", below);
        }
        Ok(())
    }

    /// A record is found by its tracks under every rule, which are indexed; its key alone is not.
    async fn of_record(
        &mut self,
        session: &mut Session<'_>,
        record: Option<&RecordId>,
        secret: &InstanceSecret,
    ) -> Result<(), StoreError> {
        let Some(record) = record else { return Ok(()) };
        let names = "SELECT rule FROM rule_state UNION SELECT rule FROM rule_version";
        let mut tracks = String::new();
        for mut row in session.rows(names, &[]).await? {
            let rule = RuleId::new(row.text(0)?);
            for lane in [Lane::Shadow, Lane::Live] {
                self.params.push((&secret.track(&rule, lane, record)).into());
                let _ = write!(tracks, "{}${}", if tracks.is_empty() { "" } else { ", " }, self.params.len());
            }
        }
        let list = if tracks.is_empty() { "NULL".to_owned() } else { tracks };
        let _ = write!(self.sql, " AND e.track IN ({list})");
        self.and("r.tenant = ?", record.tenant.as_str());
        self.and("e.key = ?", record.key.as_str());
        self.and("e.entity = ?", record.entity.as_str());
        Ok(())
    }
}

async fn enrollments(
    session: &mut Session<'_>,
    filter: &EnrollmentFilter,
    secret: &InstanceSecret,
) -> Result<Vec<EnrollmentView>, StoreError> {
    let mut conditions = Conditions::new(
        "SELECT e.match_id, r.rule, r.lane, r.tenant, e.entity, e.key, e.occasion, e.state, e.ended, e.entered_at,
                e.ended_at, o.node, o.due_at, v.hash, e.id, o.state, e.hold
         FROM enrollment e JOIN rule_state r ON r.id = e.rule_state
         LEFT JOIN rule_version v ON v.id = e.version
         LEFT JOIN outbox o ON o.id = e.id AND e.state <> 2
         WHERE e.state <> 3",
    );
    conditions.of_enrollments(session, filter, secret).await?;
    let (sql, params) = conditions.finish("ORDER BY e.id DESC", filter.limit);
    let read = |mut row: Row| {
        Ok(EnrollmentView {
            id: row.int(14)?,
            match_id: MatchId(row.id(0)?),
            rule: row.text(1)?.as_str().into(),
            lane: lane(&row.text(2)?)?,
            record: attempt::record(&mut row, 3)?,
            occasion: row.opt_text(6)?.map(|occasion| occasion.as_str().into()),
            state: enrollment_named(row.int(7)?),
            ended: row.opt_text(8)?.map(|reason| end_reason(&reason)).transpose()?,
            entered_at: row.instant(9)?,
            ended_at: row.opt_instant(10)?,
            next: row.opt_int(11)?.map(|node| node as usize).zip(row.opt_instant(12)?),
            // A version that nobody is in the steps of any more is forgotten; those who were are not.
            version: row.opt_text(13)?,
            standing: row.opt_int(15)?.map(|state| delivery_name(state).to_owned()),
            hold: row.opt_text(16)?,
        })
    };
    session.rows(&sql, &params).await?.into_iter().map(read).collect()
}

async fn count_enrollments(
    session: &mut Session<'_>,
    filter: &EnrollmentFilter,
    secret: &InstanceSecret,
) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM enrollment e JOIN rule_state r ON r.id = e.rule_state WHERE e.state <> 3";
    let mut conditions = Conditions::new(sql);
    conditions.of_enrollments(session, filter, secret).await?;
    let Conditions { sql, params } = conditions;
    session.row(&sql, &params).await?.map_or(Ok(0), |row| row.count(0))
}

async fn deliveries(
    session: &mut Session<'_>,
    filter: &DeliveryFilter,
    secret: &InstanceSecret,
) -> Result<Vec<DeliveryView>, StoreError> {
    let limit = bounded(filter.limit);
    let mut found = pending(session, filter, secret).await?;
    if found.len() < limit {
        found.extend(finished(session, filter, secret).await?);
    }
    found.sort_by_key(|view| std::cmp::Reverse(view.at));
    found.truncate(limit);
    Ok(found)
}

fn delivery(mut row: Row, state: String) -> Result<DeliveryView, StoreError> {
    Ok(DeliveryView {
        delivery: row.opt_id(0)?.map(DeliveryId),
        rule: row.text(1)?.as_str().into(),
        lane: lane(&row.text(2)?)?,
        record: attempt::record(&mut row, 3)?,
        step: row.text(6)?,
        kind: row.opt_text(7)?.unwrap_or_default(),
        state,
        attempts: row.count(8)? as u32,
        at: row.instant(9)?,
        detail: row.opt_text(10)?.unwrap_or_default(),
    })
}

/// Deliveries that are in the outbox: begun, or waiting to be tried again.
async fn pending(
    session: &mut Session<'_>,
    filter: &DeliveryFilter,
    secret: &InstanceSecret,
) -> Result<Vec<DeliveryView>, StoreError> {
    let mut conditions = Conditions::new(
        "SELECT o.delivery, r.rule, r.lane, r.tenant, e.entity, e.key, COALESCE(o.step, 'step ' || (o.node + 1)),
                o.kind, o.attempts, o.due_at,
                COALESCE(e.hold, (SELECT a.detail FROM attempt a WHERE a.enrollment = o.id ORDER BY a.id DESC LIMIT 1)),
                o.state
         FROM outbox o JOIN enrollment e ON e.id = o.id JOIN rule_state r ON r.id = o.rule_state
         WHERE TRUE",
    );
    if let Some(state) = &filter.state {
        let codes = (0..=6).find(|code| delivery_name(*code) == state);
        let Some(code) = codes else { return Ok(Vec::new()) };
        // Written out, not bound: the indexes are of single states.
        let parked = if code >= 3 { " AND o.state >= 3" } else { "" };
        let _ = write!(conditions.sql, "{parked} AND o.state = {code}");
    } else {
        conditions.sql.push_str(" AND o.delivery IS NOT NULL");
    }
    conditions.of_record(session, filter.record.as_ref(), secret).await?;
    if let Some(rule) = &filter.rule {
        conditions.and("r.rule = ?", rule.as_str());
    }
    if let Some(lane) = filter.lane {
        conditions.and("r.lane = ?", lane.as_str());
    }
    let (sql, params) = conditions.finish("ORDER BY o.due_at DESC, o.id DESC", filter.limit);
    let rows = session.rows(&sql, &params).await?;
    rows.into_iter()
        .map(|row| {
            let state = delivery_name(row.int(11)?).to_owned();
            delivery(row, state)
        })
        .collect()
}

/// The newest attempt of deliveries that have left the outbox.
async fn finished(
    session: &mut Session<'_>,
    filter: &DeliveryFilter,
    secret: &InstanceSecret,
) -> Result<Vec<DeliveryView>, StoreError> {
    let mut conditions = Conditions::new(
        "SELECT a.delivery, r.rule, r.lane, r.tenant, e.entity, e.key, a.step, a.kind, a.number, a.finished_at,
                a.detail, a.outcome
         FROM attempt a JOIN enrollment e ON e.id = a.enrollment JOIN rule_state r ON r.id = e.rule_state
         WHERE NOT EXISTS (SELECT 1 FROM attempt n
                           WHERE n.enrollment = a.enrollment AND n.delivery = a.delivery AND n.id > a.id)
           AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = a.enrollment AND o.delivery = a.delivery)",
    );
    if let Some(state) = &filter.state {
        conditions.and("a.outcome = ?", state.as_str());
    }
    conditions.of_record(session, filter.record.as_ref(), secret).await?;
    if let Some(rule) = &filter.rule {
        conditions.and("r.rule = ?", rule.as_str());
    }
    if let Some(lane) = filter.lane {
        conditions.and("r.lane = ?", lane.as_str());
    }
    let (sql, params) = conditions.finish("ORDER BY a.id DESC", filter.limit);
    let rows = session.rows(&sql, &params).await?;
    rows.into_iter()
        .map(|mut row| {
            let outcome = row.text(11)?;
            delivery(row, outcome)
        })
        .collect()
}

/// What kept the record from matching; occasions that matched after all are left out.
async fn misses(
    session: &mut Session<'_>,
    record: &RecordId,
    secret: &InstanceSecret,
) -> Result<Vec<MissView>, StoreError> {
    let misses = miss::of_record(session, record, USUAL * 10).await?;
    let id = |miss: &MissView| {
        let (rule, occasion) = (miss.rule.clone(), miss.occasion.clone());
        secret.match_id(&MatchIdentity { rule, lane: miss.lane, record: record.clone(), occasion }).0
    };
    let ids: Vec<_> = misses.iter().map(id).enumerate().collect();
    let entered = super::table::ledger::present(session, &ids).await?;
    let entered: HashSet<usize> = entered.into_iter().collect();
    let kept = misses.into_iter().enumerate().filter(|(n, miss)| {
        // Those ignored because the record was in the rule's steps are in the ledger and worth telling.
        !entered.contains(n) || miss.reason.starts_with("already ")
    });
    Ok(kept.map(|(_, miss)| miss).collect())
}
