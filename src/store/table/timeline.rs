//! `timeline`: what happened to enrollments between their attempts.

use crate::engine::port::{Happening, Note, StoreError};
use crate::model::DeliveryId;
use crate::store::sql::{Batch, Row, Session};
use jiff::Timestamp;

/// A line to append.
pub struct Line<'a> {
    pub enrollment: i64,
    pub at: i64,
    pub step: Option<&'a str>,
    pub what: &'static str,
    pub detail: &'a str,
    pub until: Option<i64>,
}

impl<'a> Line<'a> {
    pub fn of(enrollment: i64, note: &'a Note) -> Self {
        Self {
            enrollment,
            at: note.at.as_microsecond(),
            step: note.step.as_ref().map(AsRef::as_ref),
            what: note.what.as_str(),
            detail: note.what.detail(),
            until: note.what.until().map(Timestamp::as_microsecond),
        }
    }
}

pub async fn append(session: &mut Session<'_>, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ints("enrollment", lines.iter().map(|l| l.enrollment))
        .ints("at", lines.iter().map(|l| l.at))
        .opt_texts("step", lines.iter().map(|l| l.step))
        .texts("what", lines.iter().map(|l| l.what))
        .texts("detail", lines.iter().map(|l| l.detail))
        .ints("until", lines.iter().map(|l| l.until));
    let sql = "INSERT INTO timeline (enrollment, at, step, what, detail, until, behind)
               SELECT b.enrollment, b.at, b.step, b.what, b.detail, b.until,
                      COALESCE((SELECT max(a.id) FROM attempt a WHERE a.enrollment = b.enrollment), 0)
               FROM {batch}";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Attempts and what happened between them, in the order in which they were written.
pub async fn of(session: &mut Session<'_>, enrollments: &[i64]) -> Result<Vec<Happening>, StoreError> {
    let batch = Batch::new().ints("id", enrollments.iter().copied());
    let noted = session
        .rows_batch(
            "SELECT t.enrollment, t.at, t.step, t.what, t.detail, t.until, t.behind
             FROM {batch} CROSS JOIN timeline t WHERE t.enrollment = b.id ORDER BY t.id",
            &[],
            &batch,
        )
        .await?;
    let tried = session
        .rows_batch(
            "SELECT a.enrollment, a.finished_at, a.step, a.outcome, a.detail, a.kind, a.number, a.delivery, a.id
             FROM {batch} CROSS JOIN attempt a WHERE a.enrollment = b.id ORDER BY a.id",
            &[],
            &batch,
        )
        .await?;
    let mut all = Vec::with_capacity(tried.len() + noted.len());
    for row in tried {
        all.push((row.int(0)?, row.int(8)?, attempt(row)?));
    }
    for row in noted {
        all.push((row.int(0)?, row.int(6)?, note(row)?));
    }
    // A stable sort: attempts were put in first, and notes among themselves are in their order.
    all.sort_by_key(|(enrollment, attempt, _)| (*enrollment, *attempt));
    Ok(all.into_iter().map(|(.., happening)| happening).collect())
}

fn note(mut row: Row) -> Result<Happening, StoreError> {
    Ok(Happening {
        enrollment: row.int(0)?,
        at: row.instant(1)?,
        step: row.opt_text(2)?,
        what: row.text(3)?,
        detail: row.text(4)?,
        until: row.opt_instant(5)?,
        attempt: None,
    })
}

fn attempt(mut row: Row) -> Result<Happening, StoreError> {
    Ok(Happening {
        enrollment: row.int(0)?,
        at: row.instant(1)?,
        step: Some(row.text(2)?),
        what: row.text(3)?,
        detail: row.text(4)?,
        until: None,
        attempt: Some((row.text(5)?, row.count(6)? as u32, DeliveryId(row.id(7)?))),
    })
}
