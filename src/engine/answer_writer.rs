//! Answers to surveys on their way into the source, by the catalog's recipe. They are kept in the state first, so a source
//! that is away loses none, and one that is told twice has one row.

use super::context::Context;
use super::error::EngineError;
use super::event::Event;
use super::port::{AnswerId, DueAnswer, SourceError};
use crate::model::RecordId;
use crate::rule::answer::{AnswerValues, statements};
use crate::rule::generation::Generation;
use jiff::SignedDuration;
use std::time::Duration;

/// Answers of one look.
const BATCH: usize = 100;
/// Between two looks, if nobody calls.
const EVERY: Duration = Duration::from_secs(20);
/// How long answers are put off that the source or the catalog refuses.
const REFUSED: SignedDuration = SignedDuration::from_mins(10);
/// And those for whom the source is away.
const AWAY: SignedDuration = SignedDuration::from_secs(30);

/// Tells the source of every answer that is due; of how many.
pub(super) async fn tell(context: &Context) -> Result<u64, EngineError> {
    let generation = context.generation()?;
    // The copy of a state has nothing to say to the CRM.
    if !context.gate.is_open(context).await? {
        return Ok(0);
    }
    let mut total = 0;
    loop {
        let now = context.clock.now();
        let due = context.store.take_answers(now, BATCH).await?;
        if due.is_empty() {
            return Ok(total);
        }
        let (mut told, mut refused, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for answer in &due {
            let id = answer.id;
            match write(context, &generation, answer).await {
                Ok(written) => {
                    total += u64::from(written);
                    told.push(id);
                }
                Err(SourceError::Refused(reason)) => {
                    let delivery = id.delivery;
                    context.announce(|| Event::AnswerRefused { delivery, reason });
                    refused.push(id);
                }
                Err(error @ SourceError::Unavailable(_)) => {
                    if let Some(event) = context.health.failed(&error) {
                        context.announce(|| event);
                    }
                    left.push(id);
                }
            }
        }
        let later = |by: SignedDuration| now.saturating_add(by).unwrap_or(jiff::Timestamp::MAX);
        put_off(context, &refused, now, later(REFUSED)).await?;
        put_off(context, &left, now, later(AWAY)).await?;
        if !told.is_empty() {
            context.store.answers_told(&told, now).await?;
        }
    }
}

async fn put_off(
    context: &Context,
    left: &[AnswerId],
    now: jiff::Timestamp,
    until: jiff::Timestamp,
) -> Result<(), EngineError> {
    if !left.is_empty() {
        context.store.put_off_answers(left, now, until).await?;
    }
    Ok(())
}

/// False: there is nothing to tell any more.
async fn write(context: &Context, generation: &Generation, due: &DueAnswer) -> Result<bool, SourceError> {
    let Some((record, asked)) = &due.of else { return Ok(false) };
    let Some(given) = &asked.given else { return Ok(false) };
    let Some(question) = generation.catalog.surveys.get(&asked.survey) else {
        return Err(SourceError::Refused(format!("the catalog has no survey `{}`", asked.survey)));
    };
    let reference = due.id.delivery.to_string();
    let values = AnswerValues {
        reference: &reference,
        record,
        fields: &asked.fields,
        score: given.score,
        comment: given.comment.as_deref(),
        at: given.at,
    };
    let statements = statements(&generation.catalog, context.source.dialect(), question, &values);
    let RecordId { tenant, .. } = record;
    context.source.write(tenant, statements.into()).await.map(|_| true)
}

/// Tells the source whenever somebody has answered, until it is dropped.
pub(super) async fn run(context: &Context) {
    loop {
        match tell(context).await {
            Ok(_) | Err(EngineError::NoGeneration) => {}
            Err(error) => context.announce(|| Event::StateFailed { reason: error.to_string() }),
        }
        let _ = tokio::time::timeout(EVERY, context.answered.notified()).await;
    }
}
