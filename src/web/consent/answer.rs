//! Answers to surveys: a link of a mail has the score behind it, the page asks to send it, and only that counts.

use super::form::Form;
use super::page::{Page, Score, Scores, Words};
use super::{Consent, delivery, failed};
use crate::engine::port::{Answered, NewAnswer, StoreError};
use crate::model::{AskedAbout, DeliveryId, Link, LinkPurpose};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::SignedDuration;

/// Longer comments are cut: a column takes only so much, and nobody types more.
const LONGEST: usize = 2_000;

/// What a genuine link asks.
struct Asking {
    link: Link,
    about: AskedAbout,
    delivery: DeliveryId,
}

impl Consent {
    fn asking(&self, token: &str, words: &Words<'_>) -> Result<Asking, Box<Response>> {
        let link = self.link(LinkPurpose::Answer, token, words)?;
        let about = link.topic.as_ref().and_then(AskedAbout::of_topic);
        let (Some(about), Some(delivery)) = (about, link.delivery) else {
            let (title, said) = (words.texts.answer.clone(), words.texts.invalid.clone());
            return Err(Box::new(words.answer(StatusCode::NOT_FOUND, &Page { title, said, ..Page::default() })));
        };
        Ok(Asking { link, about, delivery })
    }

    /// The page to choose and send, with what was answered before.
    async fn choice(&self, asking: &Asking, chosen: Option<i64>) -> Result<Option<Scores>, StoreError> {
        let Some(asked) = self.store.asked(asking.about.enrollment, asking.delivery).await? else { return Ok(None) };
        let (lowest, highest) = (asking.about.lowest, asking.about.highest);
        let given = asked.given.as_ref();
        let chosen = chosen.or(given.map(|given| given.score));
        let scores = (lowest..=highest).map(|score| Score { score, chosen: chosen == Some(score) });
        let comment = given.and_then(|given| given.comment.clone()).unwrap_or_default();
        Ok(Some(Scores { scores: scores.collect(), comment }))
    }

    async fn keep(&self, asking: &Asking, form: &Form) -> Result<Option<Answered>, StoreError> {
        let AskedAbout { enrollment, lowest, highest, change_within, .. } = asking.about;
        let score = form.first("score").and_then(|score| score.trim().parse::<i64>().ok());
        let Some(score) = score.filter(|score| (lowest..=highest).contains(score)) else { return Ok(None) };
        let comment = form.first("comment").map(commented).filter(|comment| !comment.is_empty());
        let answer = NewAnswer {
            enrollment,
            delivery: asking.delivery,
            score,
            comment,
            at: self.clock.now(),
            change_within: SignedDuration::from_secs(change_within),
        };
        let answered = self.store.answer(&answer).await?;
        if matches!(answered, Answered::New | Answered::Changed) {
            let survey = asking.about.survey.clone();
            metrics::counter!("nudged_answers_total", "survey" => survey).increment(1);
            tracing::info!(survey = %asking.about.survey, DELIVERY = delivery(&asking.link), "a survey was answered");
            (self.answered)();
        }
        Ok(Some(answered))
    }
}

/// What people type, without what no column wants.
fn commented(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.trim().chars().filter(|c| !c.is_control() || *c == '\n').take(LONGEST).collect()
}

/// Looking records nothing: mail scanners follow every link.
pub(super) async fn ask_answer(
    State(consent): State<Consent>,
    Path((token, score)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    consent.show(&token, score.parse().ok(), &headers).await
}

pub(super) async fn ask_anew(
    State(consent): State<Consent>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    consent.show(&token, None, &headers).await
}

impl Consent {
    async fn show(&self, token: &str, score: Option<i64>, headers: &HeaderMap) -> Response {
        let words = self.pages.words(headers);
        let asking = match self.asking(token, &words) {
            Ok(asking) => asking,
            Err(page) => return *page,
        };
        let title = words.texts.answer.clone();
        match self.choice(&asking, score).await {
            Ok(Some(scores)) => {
                let question = words.about(&words.texts.answer_question, None);
                words.answer(StatusCode::OK, &Page { title, question, scores: Some(scores), ..Page::default() })
            }
            Ok(None) => gone(&words, title),
            Err(error) => failed(&error, &words, &title),
        }
    }
}

fn gone(words: &Words<'_>, title: String) -> Response {
    words.answer(StatusCode::GONE, &Page { title, said: words.texts.expired.clone(), ..Page::default() })
}

pub(super) async fn answer(
    State(consent): State<Consent>,
    Path((token, _)): Path<(String, String)>,
    request: Request,
) -> Response {
    consent.send(&token, request).await
}

pub(super) async fn answer_anew(
    State(consent): State<Consent>,
    Path(token): Path<String>,
    request: Request,
) -> Response {
    consent.send(&token, request).await
}

impl Consent {
    async fn send(&self, token: &str, request: Request) -> Response {
        let headers = request.headers().clone();
        let words = self.pages.words(&headers);
        let asking = match self.asking(token, &words) {
            Ok(asking) => asking,
            Err(page) => return *page,
        };
        let title = words.texts.answer.clone();
        let form = Form::read(request).await;
        let said = match self.keep(&asking, &form).await {
            Ok(Some(Answered::New | Answered::Same)) => words.about(&words.texts.answered, None),
            Ok(Some(Answered::Changed)) => words.about(&words.texts.answered_anew, None),
            Ok(Some(Answered::TooLate)) => words.about(&words.texts.answered_before, None),
            Ok(Some(Answered::Gone)) => return gone(&words, title),
            // Sent without a score: the page once more.
            Ok(None) => return self.show(token, None, &headers).await,
            Err(error) => return failed(&error, &words, &title),
        };
        words.answer(StatusCode::OK, &Page { title, said, ..Page::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_text_and_not_endless() {
        assert_eq!(commented("  Too slow.\r\nSorry\u{0}!\u{7f} "), "Too slow.\nSorry!");
        assert_eq!(commented(&"ä".repeat(5_000)).chars().count(), LONGEST);
    }
}
