//! A page: filled from one embedded template, everything escaped, nothing loaded from anywhere, no scripts.

use super::texts::{PageOptions, Texts};
use crate::model::Topic;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const NAME: &str = "page.html";

/// Makes pages for whoever asks.
pub(super) struct Pages {
    options: PageOptions,
    english: Texts,
    sender: String,
    environment: Environment<'static>,
    policy: HeaderValue,
}

/// What stands on one page. What is empty is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    pub title: String,
    /// What has just happened, or why nothing did.
    pub said: String,
    pub question: String,
    pub topics: Vec<TopicBox>,
    /// When the latest of what the page shows was decided; empty: it shows nothing of that.
    pub stood: String,
    /// Of a survey.
    pub scores: Option<Scores>,
    pub buttons: Vec<Button>,
    pub more: Option<More>,
}

#[derive(Debug, Serialize)]
pub(super) struct Scores {
    pub scores: Vec<Score>,
    pub comment: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Score {
    pub score: i64,
    pub chosen: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct TopicBox {
    pub name: String,
    pub label: String,
    pub on: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Button {
    pub scope: &'static str,
    pub label: String,
}

#[derive(Debug, Serialize)]
pub(super) struct More {
    pub href: String,
    pub label: String,
}

/// The words of one reader.
pub(super) struct Words<'p> {
    pages: &'p Pages,
    language: &'p str,
    pub texts: Cow<'p, Texts>,
}

impl Pages {
    pub fn new(options: PageOptions, sender: String) -> Self {
        let mut environment = Environment::new();
        // The name ends in .html, so whatever is printed is escaped.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        // Base64 and what stands above are all that a header can hold.
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        let added = environment.add_template(NAME, TEMPLATE);
        debug_assert!(added.is_ok(), "the template is embedded: {added:?}");
        Self { options, english: Texts::default(), sender, environment, policy }
    }

    /// In the language that the reader's browser asks for.
    pub fn words(&self, headers: &HeaderMap) -> Words<'_> {
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|wanted| wanted.to_str().ok()).unwrap_or_default();
        let (language, texts) = self.options.texts_for(wanted);
        Words { pages: self, language, texts: Cow::Borrowed(texts.unwrap_or(&self.english)) }
    }
}

impl Words<'_> {
    /// A text about a topic.
    pub fn about(&self, text: &str, topic: Option<&Topic>) -> String {
        let label = topic.map_or_else(String::new, |topic| self.label(topic));
        let sender = if self.pages.sender.is_empty() { "us" } else { self.pages.sender.as_str() };
        // In one go, so that what a topic is called can't hold a place of its own.
        let mut filled = String::with_capacity(text.len() + label.len() + sender.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            rest = &rest[start..];
            let (word, length) = if rest.starts_with("{topic}") {
                (label.as_str(), 7)
            } else if rest.starts_with("{sender}") {
                (sender, 8)
            } else {
                ("{", 1)
            };
            filled.push_str(word);
            rest = &rest[length..];
        }
        filled.push_str(rest);
        filled
    }

    pub fn label(&self, topic: &Topic) -> String {
        self.pages.options.label(topic)
    }

    /// The page as an answer that nobody keeps, frames or tells others of.
    pub fn answer(&self, status: StatusCode, page: &Page) -> Response {
        #[derive(Serialize)]
        struct Whole<'a> {
            language: &'a str,
            sender: &'a str,
            style: &'a str,
            comment_label: &'a str,
            send: &'a str,
            #[serde(flatten)]
            page: &'a Page,
        }
        let whole = Whole {
            language: self.language,
            sender: &self.pages.sender,
            style: STYLE,
            comment_label: &self.texts.answer_comment,
            send: &self.texts.answer_send,
            page,
        };
        let rendered = self.pages.environment.get_template(NAME).and_then(|template| template.render(Serde(&whole)));
        let html = match rendered {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                return (StatusCode::INTERNAL_SERVER_ERROR, guarded(&self.pages.policy)).into_response();
            }
        };
        (status, guarded(&self.pages.policy), Html(html)).into_response()
    }
}

fn guarded(policy: &HeaderValue) -> [(HeaderName, HeaderValue); 6] {
    let fixed = HeaderValue::from_static;
    [
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
        (header::CACHE_CONTROL, fixed("no-store")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(sender: &str) -> Pages {
        Pages::new(PageOptions::default(), sender.to_owned())
    }

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn nothing_that_is_printed_can_become_markup() {
        let pages = pages("<b>Acme</b> & Sons");
        let words = pages.words(&HeaderMap::new());
        let evil = "\"><script>alert(1)</script>";
        let page = Page {
            title: evil.into(),
            said: evil.into(),
            question: evil.into(),
            topics: vec![TopicBox { name: evil.into(), label: evil.into(), on: true }],
            stood: evil.into(),
            buttons: vec![Button { scope: "save", label: evil.into() }],
            more: Some(More { href: evil.into(), label: evil.into() }),
            scores: Some(Scores { scores: vec![Score { score: 3, chosen: true }], comment: evil.into() }),
        };
        let html = body(words.answer(StatusCode::OK, &page)).await;
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(html.contains("&lt;b&gt;Acme"), "{html}");
        assert!(!html.contains("http:") && !html.contains("https:"), "nothing is loaded from elsewhere: {html}");
    }

    #[tokio::test]
    async fn the_style_is_the_one_that_the_policy_allows() {
        let pages = pages("Acme");
        let answer = pages.words(&HeaderMap::new()).answer(StatusCode::OK, &Page::default());
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        let html = body(answer).await;
        let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
    }

    #[test]
    fn what_a_topic_is_called_fills_no_other_place() {
        let options =
            PageOptions { topics: [("t".into(), "{sender} {topic}".into())].into(), ..PageOptions::default() };
        let pages = Pages::new(options, "Acme".into());
        let words = pages.words(&HeaderMap::new());
        assert_eq!(words.about("{topic} of {sender} {x}", Some(&"t".into())), "{sender} {topic} of Acme {x}");
    }
}
