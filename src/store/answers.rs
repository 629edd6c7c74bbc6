//! Answers to surveys: with their enrollment, and due until the source has them.

use super::database::Database;
use super::sql::Session;
use super::state::State;
use super::table::answer as table;
use crate::engine::port::{AnswerId, Answered, Answers, Asked, DueAnswer, Given, NewAnswer, StoreError};
use crate::model::DeliveryId;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

#[async_trait]
impl<D: Database> Answers for State<D> {
    async fn asked(&self, enrollment: i64, delivery: DeliveryId) -> Result<Option<Asked>, StoreError> {
        let saved = self
            .database
            .read(move |mut session| Box::pin(async move { table::saved(&mut session, enrollment).await }));
        Ok(saved.await?.and_then(|saved| asked(&saved, delivery)))
    }

    async fn answer(&self, answer: &NewAnswer) -> Result<Answered, StoreError> {
        let (answer, lease) = (Arc::new(answer.clone()), self.lease_micros());
        let answered = self.database.write(move |mut session| {
            let answer = Arc::clone(&answer);
            Box::pin(async move { keep(&mut session, &answer, lease).await })
        });
        answered.await
    }

    async fn take_answers(&self, now: Timestamp, limit: usize) -> Result<Vec<DueAnswer>, StoreError> {
        let at = now.as_microsecond();
        // Mostly there is nothing, and the writer is left alone.
        let any =
            self.database.read(move |mut session| Box::pin(async move { table::is_any_due(&mut session, at).await }));
        if !any.await? {
            return Ok(Vec::new());
        }
        let until = at.saturating_add(self.lease_micros());
        let due = self
            .database
            .write(move |mut session| Box::pin(async move { table::take(&mut session, (at, until), limit).await }));
        let read = |row: table::Due| {
            let delivery = DeliveryId(row.delivery);
            let id = AnswerId { delivery, enrollment: row.enrollment, version: row.version };
            DueAnswer { id, of: row.of.and_then(|(record, saved)| Some((record, asked(&saved, delivery)?))) }
        };
        Ok(due.await?.into_iter().map(read).collect())
    }

    async fn answers_told(&self, told: &[AnswerId], now: Timestamp) -> Result<(), StoreError> {
        let (told, now): (Arc<[AnswerId]>, i64) = (told.into(), now.as_microsecond());
        let done = self.database.write(move |mut session| {
            let told = Arc::clone(&told);
            Box::pin(async move { table::told(&mut session, &told, now).await })
        });
        done.await
    }

    async fn put_off_answers(&self, left: &[AnswerId], now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        let (left, now, until): (Arc<[AnswerId]>, i64, i64) =
            (left.into(), now.as_microsecond(), until.as_microsecond());
        let done = self.database.write(move |mut session| {
            let left = Arc::clone(&left);
            Box::pin(async move { table::put_off(&mut session, &left, now, until).await })
        });
        done.await
    }
}

/// Under which name an enrollment keeps what was asked. No template can write it.
fn name(delivery: DeliveryId) -> String {
    format!("@{delivery}")
}

fn asked(saved: &Map<String, Json>, delivery: DeliveryId) -> Option<Asked> {
    let kept = saved.get(&name(delivery))?;
    Some(Asked {
        survey: kept["survey"].as_str()?.to_owned(),
        fields: kept["fields"].as_object().cloned().unwrap_or_default(),
        given: given(&kept["given"]),
    })
}

fn given(kept: &Json) -> Option<Given> {
    Some(Given {
        score: kept["score"].as_i64()?,
        comment: kept["comment"].as_str().map(str::to_owned),
        at: kept["at"].as_str()?.parse().ok()?,
    })
}

/// The row of the outbox is locked as well: whoever settles a step writes what is saved, too.
async fn keep(session: &mut Session<'_>, answer: &NewAnswer, lease: i64) -> Result<Answered, StoreError> {
    let Some(mut saved) = table::lock(session, answer.enrollment).await? else { return Ok(Answered::Gone) };
    let Some(question) = asked(&saved, answer.delivery) else { return Ok(Answered::Gone) };
    let first = question.given.as_ref().map_or(answer.at, |given| given.at);
    let answered = match &question.given {
        None => Answered::New,
        Some(given) if given.score == answer.score && given.comment == answer.comment => return Ok(Answered::Same),
        Some(_) if answer.at.duration_since(first) > answer.change_within => return Ok(Answered::TooLate),
        Some(_) => Answered::Changed,
    };
    if let Some(kept) = saved.get_mut(&name(answer.delivery)).and_then(Json::as_object_mut) {
        let given = json!({"score": answer.score, "comment": answer.comment, "at": first.to_string()});
        kept.insert("given".to_owned(), given);
    }
    table::save(session, answer.enrollment, &Json::Object(saved).to_string()).await?;
    table::enter(session, answer.delivery, answer.enrollment, answer.at.as_microsecond(), lease).await?;
    Ok(answered)
}
