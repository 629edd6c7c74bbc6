//! Answers to surveys: with their enrollment, and due until the source has them.

use super::database::Database;
use super::sql::Session;
use super::state::State;
use super::table::answer as table;
use crate::engine::port::{Answered, Answers, Asked, DueAnswer, Given, NewAnswer, StoreError};
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
        let answer = Arc::new(answer.clone());
        let answered = self.database.write(move |mut session| {
            let answer = Arc::clone(&answer);
            Box::pin(async move { keep(&mut session, &answer).await })
        });
        answered.await
    }

    async fn answers_due(&self, now: Timestamp, limit: usize) -> Result<Vec<DueAnswer>, StoreError> {
        let at = now.as_microsecond();
        let due =
            self.database.read(move |mut session| Box::pin(async move { table::due(&mut session, at, limit).await }));
        let read = |row: table::Due| DueAnswer {
            delivery: DeliveryId(row.delivery),
            version: row.version,
            of: row.of.and_then(|(record, saved)| Some((record, asked(&saved, DeliveryId(row.delivery))?))),
        };
        Ok(due.await?.into_iter().map(read).collect())
    }

    async fn answers_told(&self, told: &[(DeliveryId, i64)]) -> Result<(), StoreError> {
        let told: Arc<[(DeliveryId, i64)]> = told.into();
        let done = self.database.write(move |mut session| {
            let told = Arc::clone(&told);
            Box::pin(async move { table::told(&mut session, &told).await })
        });
        done.await
    }

    async fn put_off_answers(&self, left: &[(DeliveryId, i64)], until: Timestamp) -> Result<(), StoreError> {
        let (left, until): (Arc<[(DeliveryId, i64)]>, i64) = (left.into(), until.as_microsecond());
        let done = self.database.write(move |mut session| {
            let left = Arc::clone(&left);
            Box::pin(async move { table::put_off(&mut session, &left, until).await })
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
async fn keep(session: &mut Session<'_>, answer: &NewAnswer) -> Result<Answered, StoreError> {
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
    table::enter(session, answer.delivery, answer.enrollment, answer.at.as_microsecond()).await?;
    Ok(answered)
}
