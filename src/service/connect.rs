//! Opens the databases that a configuration names, and the ways out.

use crate::action::chat::ChatSender;
use crate::action::sms::{Redirected, SmsSender};
use crate::action::{HttpSender, SetupError, email, webhook::WebhookSender};
use crate::catalog;
use crate::config::{Config, StateOptions};
use crate::diagnostic::SourceFile;
use crate::engine::port::{Message, Sender, Sent, Source, SourceError, Store, StoreError};
use crate::model::{Clock, Outcome, Period};
use crate::source::{self, SourceOptions};
use crate::store::postgres::{PostgresStore, Reached};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Database, Replayed, State};
use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Opens the state. `create` is false for commands that only look: they must not leave an empty state
/// behind because a path was wrong.
pub async fn open_state(options: &StateOptions, now: Timestamp, create: bool) -> Result<Arc<dyn Store>, StoreError> {
    let url = options.url.expose_secret();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return with_journal(PostgresStore::open_as(url, reached(options), now).await?, options, create).await;
    }
    let Some(path) = sqlite_path(url) else {
        return Err(StoreError::Broken("state.url must begin with `sqlite:` or `postgres://`".to_owned()));
    };
    if !create && !Path::new(path).exists() {
        return Err(StoreError::Absent { place: path.to_owned() });
    }
    with_journal(SqliteStore::open(Path::new(path), now).await?, options, create).await
}

/// Only who runs on the state brings it in line with its journal; who looks in adds what he changes to it.
async fn with_journal<D: Database>(
    state: State<D>,
    options: &StateOptions,
    replay: bool,
) -> Result<Arc<dyn Store>, StoreError> {
    let Some(place) = super::beside::journal(options, &state.name()) else { return Ok(Arc::new(state)) };
    let state = state.journaled(&place);
    if replay {
        tell(&place.path, &state.replay().await?);
    }
    Ok(Arc::new(state))
}

fn tell(path: &Path, replayed: &Replayed) {
    let journal = path.display();
    let kept = replayed.kept.as_ref().map(|kept| kept.display().to_string()).unwrap_or_default();
    if replayed.foreign {
        tracing::error!(
            %journal, kept,
            "the suppression journal is that of another state: who unsubscribed there is not known here; it was kept aside"
        );
    }
    if replayed.damaged > 0 {
        let (lines, kept) = (replayed.damaged, kept);
        tracing::error!(
            %journal, lines, kept,
            "the suppression journal is damaged: after a restore, people who unsubscribed may be written to again; it was \
             kept aside and written anew from what is known"
        );
    }
    if replayed.torn {
        tracing::warn!(%journal, "the last line of the suppression journal was cut off by a crash; nobody was told that it holds");
    }
    if replayed.changed > 0 {
        let entries = replayed.changed;
        tracing::warn!(%journal, entries, "the state had forgotten entries of the suppression list; they hold again");
    }
}

/// Whether there is nothing where the configuration says the state is: nudged has not run yet.
pub fn state_is_new(options: &StateOptions) -> bool {
    sqlite_path(options.url.expose_secret()).is_some_and(|path| !Path::new(path).exists())
}

/// Copies the state into the new file `to`; there is no file afterwards if there was no state in the server.
pub async fn snapshot_state(options: &StateOptions, to: &Path, now: Timestamp) -> Result<(), StoreError> {
    let url = options.url.expose_secret();
    match sqlite_path(url) {
        Some(path) => SqliteStore::snapshot(Path::new(path), to).await,
        None => store::copy(url, reached(options), to, now).await,
    }
}

const fn reached(options: &StateOptions) -> Reached {
    if options.direct { Reached::Directly } else { Reached::PerhapsPooled }
}

pub(super) fn sqlite_path(url: &str) -> Option<&str> {
    url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path))
}

/// Why there is no source to ask.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`source.url` is not set; it names the CRM database")]
    Unset,
    /// It names no database that there is an adapter for, or can't be read. Connecting comes later.
    #[error("`source.url` can't be used: {0}")]
    Malformed(String),
}

/// Opens the source. Connections are made when something is asked, so a source that is away now is no
/// failure. What must be said at the start of every transaction (the tenant, under row security) stands in
/// the catalog, so that is read here already.
pub fn open_source(config: &Config) -> Result<Arc<dyn Source>, OpenError> {
    let options = &config.source;
    let url = options.url.expose_secret();
    if url.is_empty() {
        return Err(OpenError::Unset);
    }
    let options = SourceOptions {
        connections: options.connections.clamp(2, 100),
        statement_timeout: seconds(options.statement_timeout),
        connect_timeout: seconds(options.connect_timeout),
        per_transaction: per_transaction(&config.rules.directory),
        ..SourceOptions::new(url)
    };
    source::connect(&options).map_err(|error| match error {
        SourceError::Refused(reason) | SourceError::Unavailable(reason) => OpenError::Malformed(reason),
    })
}

fn seconds(period: Period) -> Duration {
    Duration::from_secs(period.max_seconds().unsigned_abs())
}

/// A catalog that can't be read is for the rulebook to report.
fn per_transaction(rules: &Path) -> Option<String> {
    let text = std::fs::read_to_string(rules.join("catalog.yaml")).ok()?;
    let file = Arc::new(SourceFile { path: "catalog.yaml".to_owned(), text });
    catalog::read(&file).catalog?.tenants?.per_transaction
}

/// The senders of emails and of what goes over HTTP, in this order.
pub fn senders(config: &Config, clock: &Arc<dyn Clock>) -> Result<[Arc<dyn Sender>; 2], SetupError> {
    let unset = config.email.from.is_empty();
    let email: Arc<dyn Sender> =
        if unset { Arc::new(NoEmail) } else { email::sender(&config.email, Arc::clone(clock))? };
    let webhooks = WebhookSender::new(&config.webhooks, Arc::clone(clock))?;
    let chats = ChatSender::new(&config.chats, Arc::clone(clock))?;
    let sms = SmsSender::new(&config.sms, redirected(config), Arc::clone(clock))?;
    Ok([email, Arc::new(HttpSender::new(webhooks, chats).with_sms(sms))])
}

/// Where mails go to one address, no text message reaches anybody either.
fn redirected(config: &Config) -> Redirected {
    match (config.sms.redirect_all_to.trim(), config.email.redirect_all_to.trim()) {
        ("", "") => Redirected::No,
        ("", _) => Redirected::KeptBack,
        (number, _) => Redirected::To(number.to_owned()),
    }
}

/// Stands in while the configuration has no `[email]`, for those whose rules only call webhooks. Live rules
/// with emails don't load then; mails of earlier ones wait, as for a mail server that is away.
struct NoEmail;

#[async_trait]
impl Sender for NoEmail {
    fn sessions(&self) -> usize {
        1
    }

    async fn send(&self, _message: Message) -> Sent {
        let reason = "email.from is not set in the configuration".to_owned();
        Sent { outcome: Outcome::Transient { reason, retry_after: None }, answer: None }
    }
}
