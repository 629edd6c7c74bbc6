//! The pages behind the links of mails: unsubscribe, preferences, confirm, and the answers to surveys.
//!
//! Looking changes nothing: mail scanners follow every link of a mail. Only a POST acts, from the page's own button or
//! from a mail program's (RFC 8058, one click). What a link may do is signed into it; whoever holds it needs no login.
//! Acting twice is harmless, and the page says so. A no counts whenever it comes. A yes counts once: the link to confirm works
//! once, and a page of preferences that is older than what was decided last, or a copy of what it once sent, gives none.

mod answer;
mod form;
mod page;
mod texts;

pub use texts::{PageOptions, Texts};

use crate::engine::port::{Store, StoreError};
use crate::model::{
    BadLink, COPIED_LINK, Channel, Clock, InstanceSecret, Link, LinkPurpose, Preference, PreferenceSource, Topic,
    preferences_for,
};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use form::Form;
use jiff::Timestamp;
use page::{Button, More, Page, Pages, TopicBox, Words};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the pages work with.
#[derive(Clone)]
pub struct Consent {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    topics: Arc<BTreeSet<Topic>>,
    pages: Arc<Pages>,
    /// Told after an answer to a survey was kept.
    answered: Arc<dyn Fn() + Send + Sync>,
}

impl Consent {
    /// `sender` is who the pages speak of.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        topics: BTreeSet<Topic>,
        options: PageOptions,
        sender: String,
    ) -> Self {
        let pages = Arc::new(Pages::new(options, sender));
        Self { store, clock, topics: Arc::new(topics), pages, answered: Arc::new(|| {}) }
    }

    /// With somebody who is told when an answer to a survey was kept.
    #[must_use]
    pub fn telling(self, answered: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { answered, ..self }
    }

    /// The routes, for the public listener.
    pub fn router(self) -> Router {
        Router::new()
            .route("/u/{token}", get(ask_unsubscribe).post(unsubscribe))
            .route("/p/{token}", get(show_preferences).post(save_preferences))
            .route("/c/{token}", get(ask_confirm).post(confirm))
            .route("/a/{token}", get(answer::ask_anew).post(answer::answer_anew))
            .route("/a/{token}/{score}", get(answer::ask_answer).post(answer::answer))
            .with_state(self)
    }

    fn secret(&self) -> &InstanceSecret {
        self.store.secret()
    }

    /// The link, or the page that says why it isn't one.
    fn link(&self, purpose: LinkPurpose, token: &str, words: &Words<'_>) -> Result<Link, Box<Response>> {
        let title = match purpose {
            LinkPurpose::Unsubscribe => &words.texts.unsubscribe,
            LinkPurpose::Preferences => &words.texts.preferences,
            LinkPurpose::Confirm => &words.texts.confirm,
            LinkPurpose::Answer => &words.texts.answer,
        };
        let page = |status, said: &String| {
            Box::new(words.answer(status, &Page { title: title.clone(), said: said.clone(), ..Page::default() }))
        };
        if token == COPIED_LINK {
            return Err(page(StatusCode::OK, &words.texts.copied));
        }
        self.secret().read_link(purpose, token, self.clock.now()).map_err(|bad| {
            metrics::counter!("nudged_links_refused_total", "why" => match bad {
                BadLink::Forged => "forged",
                BadLink::Expired => "expired",
            })
            .increment(1);
            let (status, said) = match bad {
                BadLink::Forged => (StatusCode::NOT_FOUND, &words.texts.invalid),
                BadLink::Expired => (StatusCode::GONE, &words.texts.expired),
            };
            page(status, said)
        })
    }

    /// What the address said, of all topics.
    async fn said(&self, link: &Link) -> Result<Vec<Preference>, StoreError> {
        self.store.preferences(&[link.address]).await
    }

    fn entry(&self, link: &Link, topic: Option<Topic>, allowed: bool, source: PreferenceSource) -> Preference {
        let (hash, channel, since) = (link.address, Channel::Email, self.clock.now());
        Preference { hash, channel, topic, allowed, since, source, delivery: link.delivery }
    }

    /// Leads from one page to the other, below whatever path a proxy has put us.
    fn to_preferences(&self, link: &Link, words: &Words<'_>) -> More {
        let link = Link { purpose: LinkPurpose::Preferences, issued: None, expires: None, ..link.clone() };
        let href = format!("../p/{}", self.secret().sign_link(&link));
        More { href, label: words.texts.preferences.clone() }
    }
}

/// When the latest of this was decided, in microseconds. It is another one after each decision.
fn stood(said: &[Preference]) -> String {
    said.iter().map(|said| said.since.as_microsecond()).max().unwrap_or_default().to_string()
}

fn allows(said: &[Preference], link: &Link, topic: &Topic) -> Option<bool> {
    preferences_for(topic, said.iter().cloned()).get(&link.address).map(|said| said.allowed)
}

fn failed(error: &StoreError, words: &Words<'_>, title: &str) -> Response {
    tracing::error!(%error, "what a reader decided could not be kept");
    let page = Page { title: title.to_owned(), said: words.texts.failed.clone(), ..Page::default() };
    words.answer(StatusCode::SERVICE_UNAVAILABLE, &page)
}

fn count(said: &'static str, topic: Option<&Topic>, source: PreferenceSource) {
    let topic = topic.map_or("all", Topic::as_str).to_owned();
    metrics::counter!("nudged_preferences_total", "said" => said, "topic" => topic, "by" => source.as_str())
        .increment(1);
}

// ---- unsubscribe ---------------------------------------------------------------------------------

async fn ask_unsubscribe(State(consent): State<Consent>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let words = consent.pages.words(&headers);
    let link = match consent.link(LinkPurpose::Unsubscribe, &token, &words) {
        Ok(link) => link,
        Err(page) => return *page,
    };
    let (texts, topic) = (&words.texts, link.topic.as_ref());
    let said = match consent.said(&link).await {
        Ok(said) => said,
        Err(error) => return failed(&error, &words, &texts.unsubscribe),
    };
    let more = Some(consent.to_preferences(&link, &words));
    let done = topic.is_some_and(|topic| allows(&said, &link, topic) == Some(false));
    let page = if done {
        let said = words.about(&texts.unsubscribed_already, topic);
        Page { title: texts.unsubscribe.clone(), said, more, ..Page::default() }
    } else {
        let buttons = vec![
            Button { scope: "topic", label: words.about(&texts.unsubscribe_topic, topic) },
            Button { scope: "all", label: texts.unsubscribe_all.clone() },
        ];
        let question = words.about(&texts.unsubscribe_question, topic);
        Page { title: texts.unsubscribe.clone(), question, buttons, more, ..Page::default() }
    };
    words.answer(StatusCode::OK, &page)
}

async fn unsubscribe(State(consent): State<Consent>, Path(token): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let words = consent.pages.words(&headers);
    let link = match consent.link(LinkPurpose::Unsubscribe, &token, &words) {
        Ok(link) => link,
        Err(page) => return *page,
    };
    let form = Form::read(request).await;
    let source = if form.is_one_click() { PreferenceSource::OneClick } else { PreferenceSource::Page };
    let all = form.first("scope") == Some("all") || link.topic.is_none();
    let title = words.texts.unsubscribe.clone();
    let said = match consent.refuse(&link, all, source).await {
        Ok(changed) => match (all, changed) {
            (true, _) => words.about(&words.texts.unsubscribed_all, None),
            (false, true) => words.about(&words.texts.unsubscribed, link.topic.as_ref()),
            (false, false) => words.about(&words.texts.unsubscribed_already, link.topic.as_ref()),
        },
        Err(error) => return failed(&error, &words, &title),
    };
    let more = Some(consent.to_preferences(&link, &words));
    words.answer(StatusCode::OK, &Page { title, said, more, ..Page::default() })
}

impl Consent {
    /// A no to the link's topic, or to all of them. Whether that changed anything.
    async fn refuse(&self, link: &Link, all: bool, source: PreferenceSource) -> Result<bool, StoreError> {
        let mut topics: Vec<Option<Topic>> = vec![link.topic.clone()];
        if all {
            topics.extend(self.topics.iter().cloned().map(Some));
            topics.push(None);
        }
        let entries: Vec<Preference> = topics.into_iter().map(|topic| self.entry(link, topic, false, source)).collect();
        let changed = self.store.prefer(&entries).await? > 0;
        if changed {
            count("no", link.topic.as_ref().filter(|_| !all), source);
            let topic = if all { "all" } else { link.topic.as_ref().map_or("all", Topic::as_str) };
            tracing::info!(topic, by = source.as_str(), DELIVERY = delivery(link), "somebody unsubscribed");
        }
        Ok(changed)
    }
}

fn delivery(link: &Link) -> String {
    link.delivery.map_or_else(String::new, |delivery| delivery.to_string())
}

// ---- preferences ---------------------------------------------------------------------------------

async fn show_preferences(State(consent): State<Consent>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let words = consent.pages.words(&headers);
    match consent.link(LinkPurpose::Preferences, &token, &words) {
        Ok(link) => consent.preferences(&link, &words, None).await,
        Err(page) => *page,
    }
}

async fn save_preferences(State(consent): State<Consent>, Path(token): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let words = consent.pages.words(&headers);
    let link = match consent.link(LinkPurpose::Preferences, &token, &words) {
        Ok(link) => link,
        Err(page) => return *page,
    };
    let form = Form::read(request).await;
    let saved = if form.first("scope") == Some("all") {
        consent.refuse(&link, true, PreferenceSource::Page).await.map(|_| true)
    } else {
        consent.choose(&link, &form).await
    };
    let told = match saved {
        Ok(true) => &words.texts.saved,
        Ok(false) => &words.texts.outdated,
        Err(error) => return failed(&error, &words, &words.texts.preferences),
    };
    consent.preferences(&link, &words, Some(told.clone())).await
}

impl Consent {
    /// Every topic with its tick. One that nothing was said about has a tick, which is no yes: leaving it says nothing,
    /// and the CRM goes on to decide.
    async fn preferences(&self, link: &Link, words: &Words<'_>, told: Option<String>) -> Response {
        let said = match self.said(link).await {
            Ok(said) => said,
            Err(error) => return failed(&error, words, &words.texts.preferences),
        };
        let topics = self.topics.iter().map(|topic| TopicBox {
            name: topic.to_string(),
            label: words.label(topic),
            on: allows(&said, link, topic).unwrap_or(true),
        });
        let buttons = vec![
            Button { scope: "chosen", label: words.texts.save.clone() },
            Button { scope: "all", label: words.texts.unsubscribe_all.clone() },
        ];
        let page = Page {
            title: words.texts.preferences.clone(),
            said: told.unwrap_or_default(),
            question: words.about(&words.texts.preferences_intro, None),
            topics: topics.collect(),
            stood: stood(&said),
            buttons,
            ..Page::default()
        };
        words.answer(StatusCode::OK, &page)
    }

    /// Keeps only what differs from how things stood: a tick that was there and stays is no statement. False where a yes
    /// was left out, since the page that it was given on had been overtaken.
    async fn choose(&self, link: &Link, form: &Form) -> Result<bool, StoreError> {
        let said = self.said(link).await?;
        let ticked: BTreeSet<&str> = form.all("topic").collect();
        let shown: BTreeSet<&str> = form.all("shown").collect();
        let known = self.topics.iter().filter(|topic| shown.contains(topic.as_str()));
        let changed = known.filter_map(|topic| {
            let (stood, wants) = (allows(&said, link, topic).unwrap_or(true), ticked.contains(topic.as_str()));
            (stood != wants).then(|| self.entry(link, Some(topic.clone()), wants, PreferenceSource::Page))
        });
        let mut changed: Vec<Preference> = changed.collect();
        let is_current = form.first("stood") == Some(stood(&said).as_str());
        let wanted = changed.len();
        changed.retain(|entry| is_current || !entry.allowed);
        let whole = changed.len() == wanted;
        if changed.is_empty() {
            return Ok(whole);
        }
        self.store.prefer(&changed).await?;
        for entry in &changed {
            count(if entry.allowed { "yes" } else { "no" }, entry.topic.as_ref(), entry.source);
        }
        tracing::info!(topics = changed.len(), DELIVERY = delivery(link), "somebody changed what they get");
        Ok(whole)
    }
}

// ---- double opt-in -------------------------------------------------------------------------------

async fn ask_confirm(State(consent): State<Consent>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let words = consent.pages.words(&headers);
    let link = match consent.link(LinkPurpose::Confirm, &token, &words) {
        Ok(link) => link,
        Err(page) => return *page,
    };
    let question = words.about(&words.texts.confirm_question, link.topic.as_ref());
    let buttons = vec![Button { scope: "topic", label: words.texts.confirm_yes.clone() }];
    words.answer(StatusCode::OK, &Page { title: words.texts.confirm.clone(), question, buttons, ..Page::default() })
}

async fn confirm(State(consent): State<Consent>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let words = consent.pages.words(&headers);
    let link = match consent.link(LinkPurpose::Confirm, &token, &words) {
        Ok(link) => link,
        Err(page) => return *page,
    };
    let title = words.texts.confirm.clone();
    let entry = consent.entry(&link, link.topic.clone(), true, PreferenceSource::Confirmed);
    let (status, said) = match consent.store.confirm(&entry, link.issued.unwrap_or(Timestamp::MIN)).await {
        Ok(true) => {
            count("yes", link.topic.as_ref(), PreferenceSource::Confirmed);
            tracing::info!(DELIVERY = delivery(&link), "somebody confirmed a topic");
            (StatusCode::OK, words.about(&words.texts.confirmed, link.topic.as_ref()))
        }
        Ok(false) => (StatusCode::GONE, words.texts.confirmed_already.clone()),
        Err(error) => return failed(&error, &words, &title),
    };
    words.answer(status, &Page { title, said, more: Some(consent.to_preferences(&link, &words)), ..Page::default() })
}
